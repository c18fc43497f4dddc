package routing

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func tokens(keys ...string) *Tokens {
	t := new(Tokens)
	for _, k := range keys {
		t.Keys = append(t.Keys, []byte(k))
	}
	return t
}

func TestTokenRoundTrip(t *testing.T) {
	tk := tokens("a secret of thirty-two bytes long")
	rapid.Check(t, func(t *rapid.T) {
		a := AttemptID{Delivery: DeliveryID(rapid.Int64Range(1, 1<<47).Draw(t, "delivery")), N: rapid.IntRange(1, maxAttempt).Draw(t, "attempt")}
		local := tk.Report(a)
		if len(local) > 64 || strings.Trim(local, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Fatalf("%q is not a plain local part", local)
		}
		got, err := tk.Parse(strings.ToUpper(local))
		if err != nil || got != (Token{Kind: TokenReport, Attempt: a}) {
			t.Fatalf("%+v, %v", got, err)
		}
		reply, err := tk.Parse(tk.Reply(a.Delivery))
		if err != nil || reply != (Token{Kind: TokenReply, Attempt: AttemptID{Delivery: a.Delivery}}) {
			t.Fatalf("%+v, %v", reply, err)
		}
	})
	id := NewMessageID(t0, [3]byte{1, 2, 3})
	if got, err := tk.Parse(tk.ForMessage(id)); err != nil || got != (Token{Kind: TokenMessage, Message: id}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// T1 (a): a token with any one bit changed, or of another kind, is void.
func TestT1ForgedTokens(t *testing.T) {
	tk := tokens("a secret of thirty-two bytes long")
	good := tk.Report(AttemptID{Delivery: 77, N: 3})
	for i := range len(good) {
		for bit := range 8 {
			forged := []byte(good)
			forged[i] ^= 1 << bit
			if strings.EqualFold(string(forged), good) {
				continue
			}
			if _, err := tk.Parse(string(forged)); !errors.Is(err, ErrVoidToken) {
				t.Fatalf("%q passed for %q", forged, good)
			}
		}
	}
	for _, kind := range "rm" {
		if _, err := tk.Parse(string(kind) + good[1:]); !errors.Is(err, ErrVoidToken) {
			t.Errorf("a report token served as %c", kind)
		}
	}
	for _, void := range []string{"", "b", "b1", "b1aaaa", good + "a", good[:len(good)-1], "b2" + good[2:], "b1" + strings.Repeat("=", 32)} {
		if _, err := tk.Parse(void); !errors.Is(err, ErrVoidToken) {
			t.Errorf("%q passed", void)
		}
	}
}

// T1 (f): two keys are live, so that one can be replaced; the third is not.
func TestT1RotatedKeys(t *testing.T) {
	old := tokens("first").Report(AttemptID{Delivery: 1, N: 1})
	if _, err := tokens("second", "first").Parse(old); err != nil {
		t.Errorf("after one rotation: %v", err)
	}
	if _, err := tokens("third", "second").Parse(old); !errors.Is(err, ErrVoidToken) {
		t.Errorf("after two rotations: %v", err)
	}
	if _, err := tokens().Parse(old); !errors.Is(err, ErrVoidToken) {
		t.Errorf("without keys: %v", err)
	}
}

func FuzzParseToken(f *testing.F) {
	tk := tokens("a secret of thirty-two bytes long")
	f.Add(tk.Report(AttemptID{Delivery: 1, N: 1}))
	f.Add("b1")
	f.Fuzz(func(t *testing.T, local string) {
		tok, err := tk.Parse(local)
		if err != nil {
			return
		}
		// Only what was signed comes back, so it can be signed again.
		switch tok.Kind {
		case TokenReport:
			if tk.Report(tok.Attempt) != strings.ToLower(local) {
				t.Fatalf("%q parsed as %+v", local, tok)
			}
		case TokenReply:
			if tk.Reply(tok.Attempt.Delivery) != strings.ToLower(local) {
				t.Fatalf("%q parsed as %+v", local, tok)
			}
		}
	})
}

func TestMessageIDsDiffer(t *testing.T) {
	seen := map[MessageID]bool{}
	for i := range 1000 {
		id := NewMessageID(t0.Add(time.Duration(i)*time.Millisecond), [3]byte{byte(i)})
		if len(id) != messageIDLen || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
}
