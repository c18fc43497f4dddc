// Package keyring finds the OpenPGP keys of addresses: those on file, and those that the
// web has. It fetches over HTTPS, from public addresses alone; keeps what was found, and
// that nothing was, for a while; and has what was held for want of a key tried again when
// one comes.
//
// What a found key may do is decided by the store, in one commit: a first key is used,
// the same key is brought up to date, and another key than the one known waits for a
// person to confirm it (docs/decisions/0014).
package keyring
