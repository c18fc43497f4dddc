package relay

import (
	"bytes"
	"testing"
)

func TestHasEightBit(t *testing.T) {
	for n := range 40 {
		b := bytes.Repeat([]byte{0x7f}, n)
		if hasEightBit(b) {
			t.Errorf("%d octets of 7 bits have one of 8", n)
		}
		for i := range b {
			b[i] = 0x80
			if !hasEightBit(b) {
				t.Errorf("octet %d of %d was overlooked", i, n)
			}
			b[i] = 0x7f
		}
	}
}
