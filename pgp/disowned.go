package pgp

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// An owner who no longer reads an address revokes its user id and keeps the key (RFC 9580
// section 5.2.1.13): it is good for the addresses that are left, and no longer for that one.

// disowned returns the mailboxes that the owner of a certificate has taken back by now: those of
// user ids that are revoked, but for those that another user id has.
func disowned(e *openpgp.Entity, now time.Time) []string {
	config := strict(now)
	var taken, kept []string
	for _, id := range identities(e) {
		a := mailboxOf(id.UserId.Email)
		if a == "" {
			continue
		}
		sig, err := id.LatestValidSelfCertification(now, config)
		switch {
		case id.Revoked(sig, now, config):
			taken = append(taken, a)
		case err == nil:
			kept = append(kept, a)
		}
	}
	return slices.DeleteFunc(taken, func(a string) bool { return slices.Contains(kept, a) })
}

// disowns is a *NoKeyError where address is among the mailboxes that the owner of the key has
// taken back.
func disowns(keyID string, taken []string, address string) error {
	if len(taken) == 0 || !slices.Contains(taken, mailboxOf(address)) {
		return nil
	}
	return &NoKeyError{Address: address, Reason: "the key " + keyID + " is no longer for " + address + ": its owner has revoked the user id of that address"}
}

// mailboxOf returns what two addresses have in common where they are the same mailbox: the
// local part in lower case, and the domain as A-labels; "" for what is no address.
func mailboxOf(s string) string {
	if s = addressOf(s); s == "" {
		return ""
	}
	at := strings.LastIndexByte(s, '@')
	domain := s[at+1:]
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		domain = ascii
	}
	return strings.ToLower(s[:at]) + "@" + domain
}
