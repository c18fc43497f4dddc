package routing

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

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

const (
	tokenVersion = '1'
	macBytes     = 12 // 96 bits
	idBytes      = 8
	// maxAttempt is the largest attempt number a token holds.
	maxAttempt = 1<<16 - 1
)

// tokenText is base32 in lower case: it survives hosts that fold case, and has
// none of the characters that some take for their own ("+", "=").
var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Tokens makes and checks tokens. Keys are secret; the first makes new tokens, and
// all of them are good for checking, so that a key can be replaced while mail that
// carries the old one is on its way.
type Tokens struct {
	Keys [][]byte
}

// Report returns the local part of the return path of one attempt.
func (t *Tokens) Report(a AttemptID) string { return t.make(TokenReport, attemptBytes(a)) }

// Reply returns the local part of the Reply-To of a delivery's copy.
func (t *Tokens) Reply(d DeliveryID) string {
	return t.make(TokenReply, attemptBytes(AttemptID{Delivery: d}))
}

// ForMessage returns the local part of the Reply-To that all copies of a message
// share.
func (t *Tokens) ForMessage(m MessageID) string {
	id, err := messageBytes(m)
	if err != nil {
		return ""
	}
	return t.make(TokenMessage, id)
}

// Parse checks a local part, in either case, before anything is looked up. The
// error is ErrVoidToken, whatever is wrong.
func (t *Tokens) Parse(local string) (Token, error) {
	local = strings.ToLower(local)
	if len(local) < 3 || local[1] != tokenVersion {
		return Token{}, ErrVoidToken
	}
	kind := TokenKind(local[0])
	raw, err := tokenText.DecodeString(local[2:])
	if err != nil || len(raw) != idBytes+macBytes || tokenText.EncodeToString(raw) != local[2:] {
		return Token{}, ErrVoidToken
	}
	id, mac := raw[:idBytes], raw[idBytes:]
	good := 0
	for _, key := range t.Keys {
		// Every key is tried, and hmac.Equal takes the same time for all.
		if hmac.Equal(mac, tokenMAC(key, kind, id)) {
			good++
		}
	}
	if good == 0 {
		return Token{}, ErrVoidToken
	}
	n := binary.BigEndian.Uint64(id)
	switch kind {
	case TokenReport, TokenReply:
		return Token{Kind: kind, Attempt: AttemptID{Delivery: DeliveryID(n >> 16), N: int(n & maxAttempt)}}, nil
	case TokenMessage:
		return Token{Kind: kind, Message: messageFrom(id)}, nil
	}
	return Token{}, ErrVoidToken
}

func (t *Tokens) make(kind TokenKind, id []byte) string {
	if len(t.Keys) == 0 {
		return ""
	}
	raw := append(id, tokenMAC(t.Keys[0], kind, id)...)
	return string([]byte{byte(kind), tokenVersion}) + tokenText.EncodeToString(raw)
}

// tokenMAC signs an id. The kind and the version are signed with it, so that a
// token of one kind never serves for another.
func tokenMAC(key []byte, kind TokenKind, id []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("postern token"))
	h.Write([]byte{byte(kind), tokenVersion})
	h.Write(id)
	return h.Sum(nil)[:macBytes]
}

// attemptBytes packs an attempt into eight bytes: 48 bits of delivery, 16 of
// attempt. An attempt beyond the last that fits shares its token.
func attemptBytes(a AttemptID) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(a.Delivery)<<16|uint64(min(a.N, maxAttempt)))
}

// messageIDLen is the length of a MessageID: eight bytes in base32.
const messageIDLen = 13

// NewMessageID makes an id of the time and of random bytes: 42 bits of
// milliseconds, 22 of chance. The store refuses one that is taken, and the message
// is given another.
func NewMessageID(now time.Time, random [3]byte) MessageID {
	chance := uint64(random[0])<<16 | uint64(random[1])<<8 | uint64(random[2])
	id := uint64(now.UnixMilli())<<22 | chance&(1<<22-1)
	return messageFrom(binary.BigEndian.AppendUint64(nil, id))
}

func messageFrom(id []byte) MessageID { return MessageID(tokenText.EncodeToString(id)) }

func messageBytes(m MessageID) ([]byte, error) {
	id, err := tokenText.DecodeString(string(m))
	if err != nil || len(id) != idBytes {
		return nil, errors.New("not a message id")
	}
	return id, nil
}
