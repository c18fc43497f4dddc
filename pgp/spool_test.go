package pgp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
)

func mustSpool(t testing.TB, keys ...[]byte) *Spool {
	t.Helper()
	s, err := NewSpool(rand.Reader, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSpool(t *testing.T) {
	oldKey, newKey := bytes.Repeat([]byte{1}, SpoolKeySize), bytes.Repeat([]byte{2}, SpoolKeySize)
	before, after, without := mustSpool(t, oldKey), mustSpool(t, newKey, oldKey), mustSpool(t, newKey)
	for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("CANARY"), 1000)} {
		sealed, err := before.Wrap("head/1", plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != spoolOverhead+len(plain) || cap(sealed) != len(sealed) {
			t.Errorf("sealed: length %d, capacity %d, want %d", len(sealed), cap(sealed), spoolOverhead+len(plain))
		}
		if bytes.Contains(sealed, []byte("CANARY")) {
			t.Error("plaintext shows")
		}
		again, err := before.Wrap("head/1", plain)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(sealed, again) {
			t.Error("two seals of the same are equal: the nonce did not change")
		}
		for name, test := range map[string]struct {
			spool   *Spool
			context string
			ok      bool
		}{
			"the same":        {before, "head/1", true},
			"after rotation":  {after, "head/1", true},
			"key removed":     {without, "head/1", false},
			"another context": {before, "head/2", false},
			"shorter context": {before, "head/", false},
			"no context":      {before, "", false},
		} {
			got, err := test.spool.Unwrap(test.context, sealed)
			switch {
			case test.ok && (err != nil || !bytes.Equal(got, plain)):
				t.Errorf("%s: %q, %v", name, got, err)
			case !test.ok && (!errors.Is(err, ErrSpoolKey) || got != nil):
				t.Errorf("%s: %q, %v, want %v", name, got, err, ErrSpoolKey)
			}
		}
		if !before.Current(sealed) || after.Current(sealed) {
			t.Error("Current does not tell what was sealed with the current key")
		}
	}
}

func TestSpoolDamage(t *testing.T) {
	s := mustSpool(t, make([]byte, SpoolKeySize))
	sealed, err := s.Wrap("context", []byte("a secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if plain, err := s.Unwrap("context", bad); !errors.Is(err, ErrSpoolKey) || plain != nil {
			t.Errorf("octet %d changed: %q, %v", i, plain, err)
		}
		if plain, err := s.Unwrap("context", sealed[:i]); !errors.Is(err, ErrSpoolKey) || plain != nil {
			t.Errorf("cut to %d octets: %q, %v", i, plain, err)
		}
	}
}

func TestSpoolKeys(t *testing.T) {
	a, b := bytes.Repeat([]byte{0xab}, SpoolKeySize), bytes.Repeat([]byte{0x01}, SpoolKeySize)
	keys, err := ParseSpoolKeys(FormatSpoolKeys(a, b))
	if err != nil || len(keys) != 2 || !bytes.Equal(keys[0], a) || !bytes.Equal(keys[1], b) {
		t.Errorf("round trip: %x, %v", keys, err)
	}
	digits := strings.Repeat("ab", SpoolKeySize)
	for _, test := range []struct{ name, text, err string }{
		{"comments and empty lines", "# one\n\n  " + strings.ToUpper(digits) + " \r\n#end", ""},
		{"nothing", "", "no spool key"},
		{"only comments", "# a\n# b\n", "no spool key"},
		{"too short", "# a\n" + digits[2:] + "\n", "line 2"},
		{"too long", digits + "ab", "line 1"},
		{"no digits", digits + "\n" + strings.Repeat("zz", SpoolKeySize), "line 2"},
		{"two on a line", digits + " " + digits, "line 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys, err := ParseSpoolKeys([]byte(test.text))
			if test.err == "" {
				if err != nil || len(keys) != 1 || !bytes.Equal(keys[0], a) {
					t.Fatalf("%x, %v", keys, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want one with %q", err, test.err)
			}
			if strings.Contains(err.Error(), "abab") || strings.Contains(err.Error(), "zz") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
	if _, err := NewSpool(rand.Reader); err == nil {
		t.Error("a spool without a key was made")
	}
	if _, err := NewSpool(rand.Reader, a, a[:16]); err == nil || !strings.Contains(err.Error(), "key 2") {
		t.Errorf("a short key: %v", err)
	}
}

func BenchmarkSpoolWrap(b *testing.B) {
	s := mustSpool(b, make([]byte, SpoolKeySize))
	plain := make([]byte, 4<<10)
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Wrap("head/1", plain); err != nil {
			b.Fatal(err)
		}
	}
}
