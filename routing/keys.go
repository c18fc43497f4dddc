package routing

import "time"

// KeyState is what is known of the keys of an address besides those that may be used.
type KeyState struct {
	// Pending is the fingerprint of a key that was found where another key is known: it
	// waits for a person to confirm it. "" for none.
	Pending string
	// Next is when the web may be asked again; zero where it never was.
	Next time.Time
	// Failing: the last time, somebody could not be asked.
	Failing bool
	// Reason says for people why nothing was found the last time; "" where something was.
	Reason string
}

// KeyLookup is what one look at the web came to.
type KeyLookup struct {
	Found   []FoundKey
	Next    time.Time // when to look again
	Failing bool      // somebody could not be asked
	Reason  string    // why nothing was found
}

// FoundKey is a certificate that was found for an address.
type FoundKey struct {
	Fingerprint string // upper-case hexadecimal
	Public      []byte // as packets
}

// Filing is what became of a found key.
type Filing string

// The ways to file a found key.
const (
	FiledFirst   Filing = "first"   // no other is known for the address: it is used
	FiledSame    Filing = "same"    // it is known, and was brought up to date
	FiledPending Filing = "pending" // another is known: it waits for a person
	FiledRevoked Filing = "revoked" // a person has revoked it here: it is not used
)
