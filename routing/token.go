package routing

import "time"

// TokenKind says what a token may be used for. A token of one kind never serves
// for another.
type TokenKind byte

// The kinds, by the letter a token begins with.
const (
	TokenReport  TokenKind = 'b' // return path of one attempt: bounces, reports, receipts
	TokenReply   TokenKind = 'r' // Reply-To of one delivery's copy
	TokenMessage TokenKind = 'm' // Reply-To inside the sealed content, shared by all copies
)

// Token is what an unguessable local part stood for, after its signature was
// checked.
type Token struct {
	Kind    TokenKind
	Attempt AttemptID // of a report token, or, with N 0, of a reply token
	Message MessageID // of a message token
}

// TokenLife is how long after its attempt a report token is good for: remote
// queues live five days, and reports are queued in their turn.
const TokenLife = 14 * 24 * time.Hour
