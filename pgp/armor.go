package pgp

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// The types of armored blocks (RFC 9580 section 6.2).
const (
	armorMessage   = "PGP MESSAGE"
	armorSignature = "PGP SIGNATURE"
	armorPublic    = "PGP PUBLIC KEY BLOCK"
	armorSecret    = "PGP PRIVATE KEY BLOCK"
)

// The line ends of armor: what travels has CRLF, what stays in a file has LF.
const (
	crlf = "\r\n"
	lf   = "\n"
)

const (
	armorOctets = 48 // of data in a line
	armorWidth  = armorOctets / 3 * 4
)

// armoredSize returns how many octets appendArmor adds for n octets of data.
func armoredSize(kind, eol string, sum bool, n int) int {
	lines := (n + armorOctets - 1) / armorOctets
	size := len("-----BEGIN -----") + len("-----END -----") + 2*len(kind) +
		base64.StdEncoding.EncodedLen(n) + (lines+3)*len(eol)
	if sum {
		size += len("=") + 4 + len(eol)
	}
	return size
}

// appendArmor appends the data of the parts, one after the other, as one armored
// block, with a checksum if sum says so.
//
// The library's encoder breaks lines by recursion and with LF only, and computes the
// checksum bit by bit; this one is ten times as fast.
func appendArmor(dst []byte, kind, eol string, sum bool, parts ...[]byte) []byte {
	dst = append(dst, "-----BEGIN "+kind+"-----"+eol+eol...)
	var line [armorOctets]byte // a line that is not full at the end of a part
	n := 0
	crc := uint32(crcInit)
	for _, part := range parts {
		if sum {
			crc = crc24(crc, part)
		}
		if n > 0 {
			m := copy(line[n:], part)
			n, part = n+m, part[m:]
			if n < armorOctets {
				continue
			}
			dst = append(appendLine(dst, &line), eol...)
		}
		for ; len(part) >= armorOctets; part = part[armorOctets:] {
			dst = append(appendLine(dst, (*[armorOctets]byte)(part)), eol...)
		}
		n = copy(line[:], part)
	}
	if n > 0 {
		dst = append(base64.StdEncoding.AppendEncode(dst, line[:n]), eol...)
	}
	if sum {
		dst = base64.StdEncoding.AppendEncode(append(dst, '='), []byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8)})
		dst = append(dst, eol...)
	}
	return append(dst, "-----END "+kind+"-----"+eol...)
}

// pairs are the two characters of base64 for each 12 bits, the first one in the upper half.
var pairs = sync.OnceValue(func() *[1 << 12]uint16 {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var t [1 << 12]uint16
	for i := range t {
		t[i] = uint16(alphabet[i>>6])<<8 | uint16(alphabet[i&63])
	}
	return &t
})

// appendLine appends a full line in base64.
func appendLine(dst []byte, line *[armorOctets]byte) []byte {
	n := len(dst)
	dst = slices.Grow(dst, armorWidth)[:n+armorWidth]
	encodeLine((*[armorWidth]byte)(dst[n:]), line)
	return dst
}

// encodeLine writes a full line in base64: 12 bits at a time, in twice the speed of
// encoding/base64.
func encodeLine(out *[armorWidth]byte, line *[armorOctets]byte) {
	t := pairs()
	for i := range armorOctets / 6 {
		// Two octets more than are wanted, the last time two octets earlier.
		var v uint64
		if i < armorOctets/6-1 {
			v = binary.BigEndian.Uint64(line[6*i:]) >> 16
		} else {
			v = binary.BigEndian.Uint64(line[6*i-2:]) & (1<<48 - 1)
		}
		binary.BigEndian.PutUint64(out[8*i:], uint64(t[v>>36])<<48|uint64(t[v>>24&0xFFF])<<32|uint64(t[v>>12&0xFFF])<<16|uint64(t[v&0xFFF]))
	}
}

// wantsChecksum says whether armor for the reader of a key or signature of the given
// version has a checksum. RFC 9580 section 6.1 has none written, unless a reader may
// need it: GnuPG 2.2 takes data without one for broken whenever its length is a
// multiple of 3, and older Java libraries refuse it always. Who reads version 6 needs
// none, and must not get one.
func wantsChecksum(version int) bool { return version < 6 }

// The checksum of armor, CRC-24 (RFC 9580 section 6.1.1), is kept in the upper 24 of
// 32 bits.
const (
	crcInit = 0xB704CE << 8
	crcPoly = 0x864CFB << 8
)

// crcTables are made when first needed: table k holds what an octet does to the
// checksum k octets further on.
var crcTables = sync.OnceValue(func() *[16][256]uint32 {
	var t [16][256]uint32
	for i := range t[0] {
		c := uint32(i) << 24
		for range 8 {
			top := c >> 31
			c <<= 1
			if top != 0 {
				c ^= crcPoly
			}
		}
		t[0][i] = c
	}
	for k := 1; k < len(t); k++ {
		for i, c := range t[k-1] {
			t[k][i] = c<<8 ^ t[0][c>>24]
		}
	}
	return &t
})

// crc24 goes on with a checksum over p, sixteen octets at a time.
func crc24(c uint32, p []byte) uint32 {
	t := crcTables()
	for ; len(p) >= 16; p = p[16:] {
		a, b := binary.BigEndian.Uint64(p)^uint64(c)<<32, binary.BigEndian.Uint64(p[8:])
		c = t[15][a>>56] ^ t[14][a>>48&0xFF] ^ t[13][a>>40&0xFF] ^ t[12][a>>32&0xFF] ^
			t[11][a>>24&0xFF] ^ t[10][a>>16&0xFF] ^ t[9][a>>8&0xFF] ^ t[8][a&0xFF] ^
			t[7][b>>56] ^ t[6][b>>48&0xFF] ^ t[5][b>>40&0xFF] ^ t[4][b>>32&0xFF] ^
			t[3][b>>24&0xFF] ^ t[2][b>>16&0xFF] ^ t[1][b>>8&0xFF] ^ t[0][b&0xFF]
	}
	for _, b := range p {
		c = c<<8 ^ t[0][byte(c>>24)^b]
	}
	return c
}

// ArmorPublic returns a certificate as text for a file.
func ArmorPublic(public []byte) []byte { return armorKey(armorPublic, public) }

// ArmorSecret returns a secret key as text for a file, which should have mode 0600.
func ArmorSecret(secret []byte) []byte { return armorKey(armorSecret, secret) }

func armorKey(kind string, key []byte) []byte {
	sum := wantsChecksum(keyVersion(key))
	return appendArmor(make([]byte, 0, armoredSize(kind, lf, sum, len(key))), kind, lf, sum, key)
}

// HoldsSecret reports whether a key ring, armored or as packets, looks like one of secret
// keys.
func HoldsSecret(ring []byte) bool {
	if bytes.Contains(ring, []byte("-----BEGIN "+armorSecret+"-----")) {
		return true
	}
	p, err := guard(packet.NewReader(bytes.NewReader(ring)).Next)
	_, secret := p.(*packet.PrivateKey)
	return err == nil && secret
}

// keyVersion returns the version of the key that packets begin with, 0 if they do not
// begin with one.
func keyVersion(packets []byte) int {
	p, err := packet.Read(bytes.NewReader(packets))
	if err != nil {
		return 0
	}
	switch p := p.(type) {
	case *packet.PublicKey:
		return p.Version
	case *packet.PrivateKey:
		return p.Version
	}
	return 0
}

// dearmorKeys returns the packets of the key blocks in b, one element for each block;
// b itself if it is not armored.
func dearmorKeys(b []byte) ([][]byte, error) {
	// RFC 9580 section 4.2: the first bit of a packet is always set.
	if len(b) > 0 && b[0]&0x80 != 0 && !bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
		return [][]byte{b}, nil
	}
	var blocks [][]byte
	for {
		block, rest, ok := cutArmor(b)
		if !ok {
			break
		}
		b = rest
		d, err := armor.Decode(bytes.NewReader(block))
		if err != nil {
			return nil, errors.New("an armored block is broken: want an empty line before the data, and an end line")
		}
		if d.Type != armorPublic && d.Type != armorSecret {
			continue
		}
		packets, err := io.ReadAll(d.Body)
		if err != nil {
			return nil, fmt.Errorf("read armored key: %w", err)
		}
		blocks = append(blocks, packets)
	}
	if len(blocks) == 0 {
		return nil, errors.New("there is no OpenPGP key in it: want packets, or text with a line -----BEGIN PGP PUBLIC KEY BLOCK-----")
	}
	return blocks, nil
}

// cutArmor returns the first armored block of b, from its begin line to its end line,
// and what follows. Where a begin line has no end line, block is empty.
func cutArmor(b []byte) (block, rest []byte, ok bool) {
	begin := []byte("-----BEGIN PGP ")
	if !bytes.Contains(b, begin) {
		return nil, nil, false
	}
	end := bytes.Index(b, []byte("-----END PGP "))
	if end < 0 {
		return nil, nil, true
	}
	rest = b[end:]
	if n := bytes.IndexByte(rest, '\n'); n >= 0 {
		rest = rest[n+1:]
	} else {
		rest = nil
	}
	// The begin line that is next to it: others before it were none.
	return b[max(bytes.LastIndex(b[:end], begin), 0) : len(b)-len(rest)], rest, true
}
