package pgp

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"
)

// TestClockBehindKey: a machine whose clock is behind the birth of the gateway's key, because
// it was ahead when the key was made, signs and opens all the same; and it opens what it has
// sealed before its clock was set back.
func TestClockBehindKey(t *testing.T) {
	s := newSealer(t)
	now := noon
	s.Now = func() time.Time { return now }
	content := []byte("hello\r\n")
	readers := [][][]byte{{keyOf(t, "rsa-3072").public}}
	before, beforeKey, err := s.Seal("id", readers, content)
	if err != nil {
		t.Fatal(err)
	}
	for _, now = range []time.Time{noon.Add(-24 * time.Hour), born, born.Add(-time.Hour), born.AddDate(-20, 0, 0), noon.AddDate(20, 0, 0)} {
		data, wrapped, err := s.Seal("id", readers, content)
		if err != nil {
			t.Errorf("%v: %v", now, err)
			continue
		}
		for _, b := range [][2][]byte{{data, wrapped}, {before, beforeKey}} {
			if got, err := s.Open(nil, "id", b[0], b[1]); err != nil || !bytes.Equal(got, content) {
				t.Errorf("opened at %v: %q, %v", now, got, err)
			}
		}
		if _, err := s.Sign(nil, []byte("Content-Type: text/plain\r\n\r\nhello\r\n"), now); err != nil {
			t.Errorf("signed in clear at %v: %v", now, err)
		}
	}
	if _, form, err := s.Signer.sign([][]byte{content}, born.Add(-time.Hour), rand.Reader); err != nil || form.said.CreationTime.Before(born) {
		t.Errorf("a signature that is older than its key: %v", err)
	}
}
