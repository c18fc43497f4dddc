// Package pgp seals messages with OpenPGP (RFC 9580) and keeps the gateway's own
// secrets sealed on disk.
//
// A Sealer encrypts the content of a message once, signed inside by the gateway's
// key, under a fresh session key. The copy for an address is that address's key
// packet in front of the shared packet, as PGP/MIME (RFC 3156): no copy names the
// key of another. The session key is kept wrapped by a Spool until the message is
// final; once it is erased, nobody who has the disk and the spool key can read what
// was relayed.
//
// Nothing here falls back to plaintext. Where no certificate of an address will do,
// the error is a *NoKeyError, which says why in words for people. Certificates are
// foreign data: they are read within limits, and a panic of the library on a
// malformed one becomes an error.
//
// The clock and the randomness are passed in, and there is no network: Discovery, which
// looks for keys on the web (WKD, key servers), is given a Fetcher by its caller.
package pgp
