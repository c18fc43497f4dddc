package pgp

import (
	"encoding/base64"
	"errors"
	"io"
)

// armoredMail is a mail around an armored message, which is encoded while it is read, as
// often as that is: what is sealed may be large, and is not held a second time for it. It
// is an io.ReadSeeker, for one reader at a time.
type armoredMail struct {
	before, after []byte // what stands around the lines of data
	key, data     []byte // the data, one after the other
	at            int64
	line          [armorOctets]byte // one that begins in key and ends in data
	text          [armorLine]byte   // one that is read in parts
}

// armorLine is the length of a full line with its end.
const armorLine = armorWidth + len(crlf)

func newArmoredMail(before, after []byte, key keyPacket, data []byte) *armoredMail {
	m := &armoredMail{before: before, key: key.octets, data: data}
	m.before = append(m.before, "-----BEGIN "+armorMessage+"-----"+crlf+crlf...)
	if key.sum {
		c := crc24(crc24(crcInit, key.octets), data)
		m.after = base64.StdEncoding.AppendEncode(append(m.after, '='), []byte{byte(c >> 24), byte(c >> 16), byte(c >> 8)})
		m.after = append(m.after, crlf...)
	}
	m.after = append(append(m.after, "-----END "+armorMessage+"-----"+crlf...), after...)
	return m
}

func (m *armoredMail) octets() int { return len(m.key) + len(m.data) }

// armored is the length of the lines of data.
func (m *armoredMail) armored() int64 {
	size := int64(m.octets()/armorOctets) * int64(armorLine)
	if rest := m.octets() % armorOctets; rest > 0 {
		size += int64(base64.StdEncoding.EncodedLen(rest) + len(crlf))
	}
	return size
}

// Size returns the length of the whole in octets.
func (m *armoredMail) Size() int64 { return int64(len(m.before)) + m.armored() + int64(len(m.after)) }

// Read is that of io.Reader.
func (m *armoredMail) Read(p []byte) (n int, err error) {
	for n < len(p) {
		took := m.read(p[n:])
		if took == 0 {
			break
		}
		n, m.at = n+took, m.at+int64(took)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// read copies what is next, as far as it stands in one place; 0 at the end.
func (m *armoredMail) read(p []byte) int {
	at := m.at
	if at < int64(len(m.before)) {
		return copy(p, m.before[at:])
	}
	at -= int64(len(m.before))
	if at >= m.armored() {
		return copy(p, m.after[min(at-m.armored(), int64(len(m.after))):])
	}
	line, column := int(at/int64(armorLine)), int(at%int64(armorLine))
	n := 0
	for column == 0 && len(p)-n >= armorLine && line < m.octets()/armorOctets {
		encodeLine((*[armorWidth]byte)(p[n:]), (*[armorOctets]byte)(m.source(line)))
		n += armorWidth
		n += copy(p[n:], crlf)
		line++
	}
	if n > 0 {
		return n
	}
	text := append(base64.StdEncoding.AppendEncode(m.text[:0], m.source(line)), crlf...)
	return copy(p, text[column:])
}

// source returns what is encoded in a line.
func (m *armoredMail) source(line int) []byte {
	from := line * armorOctets
	to := min(from+armorOctets, m.octets())
	switch k := len(m.key); {
	case from >= k:
		return m.data[from-k : to-k]
	case to <= k:
		return m.key[from:to]
	}
	n := copy(m.line[:], m.key[from:])
	n += copy(m.line[n:to-from], m.data)
	return m.line[:n]
}

// Seek is that of io.Seeker.
func (m *armoredMail) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += m.at
	case io.SeekEnd:
		offset += m.Size()
	}
	if offset < 0 {
		return m.at, errors.New("seek before the beginning of a mail")
	}
	m.at = offset
	return offset, nil
}
