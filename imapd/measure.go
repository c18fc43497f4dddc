package imapd

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"postern/routing"
)

// renderVersion changes with what an entry looks like: sizes that were kept of an older
// one no longer hold. TestRenderVersion says when.
const renderVersion = 5

// Rendering is a number for how entries are shown: while it stays the same, each has the
// same octets. It follows from this program and from what is known of the time zone.
func Rendering(loc *time.Location) uint32 {
	if loc == nil {
		loc = time.UTC
	}
	h := sha256.New()
	fmt.Fprintln(h, "rendering", renderVersion)
	// What a zone's clocks were set to, and when, is the zone; its name may be "Local".
	for t := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); t.Year() < 2045; t = t.Add(12 * time.Hour) {
		name, offset := t.In(loc).Zone()
		fmt.Fprintln(h, name, offset)
	}
	return binary.BigEndian.Uint32(h.Sum(nil))>>1 | 1 // the store has 31 bits, and 0 is none
}

// shape is what BODYSTRUCTURE says of an entry beyond its header: its three parts, the
// text, the HTML and the report for programs.
type shape [3]struct {
	encoding      byte // an index of shapeEncodings
	octets, lines uint32
}

// The encodings that parts have, by what is kept for them.
var shapeEncodings = [...]string{"7bit", "quoted-printable", "8bit"}

// shapeOf finds the shape of a rendered entry; false where it has none.
func shapeOf(root *part) (s shape, ok bool) {
	if len(root.children) != 2 || len(root.children[0].children) != 2 {
		return s, false
	}
	for i, p := range [...]*part{root.children[0].children[0], root.children[0].children[1], root.children[1]} {
		encoding := fieldValue(p.header, "Content-Transfer-Encoding")
		for n, name := range shapeEncodings {
			if encoding == name {
				s[i].encoding = byte(n)
			}
		}
		s[i].octets, s[i].lines = uint32(len(p.body)), uint32(bytes.Count(p.body, []byte{'\n'}))
	}
	return s, true
}

func (s *shape) marshal() []byte {
	b := make([]byte, 0, 18)
	for i := range s {
		b = append(b, s[i].encoding)
		b = binary.AppendUvarint(b, uint64(s[i].octets))
		b = binary.AppendUvarint(b, uint64(s[i].lines))
	}
	return b
}

// parseShape reads what marshal wrote; false where it is something else.
func parseShape(b []byte) (s shape, ok bool) {
	for i := range s {
		if len(b) == 0 || int(b[0]) >= len(shapeEncodings) {
			return s, false
		}
		s[i].encoding, b = b[0], b[1:]
		for _, to := range [...]*uint32{&s[i].octets, &s[i].lines} {
			n, k := binary.Uvarint(b)
			if k <= 0 || n > maxEntry {
				return s, false
			}
			*to, b = uint32(n), b[k:]
		}
	}
	return s, len(b) == 0
}

// structure is the BODYSTRUCTURE of an entry of that shape: see Render.
func (s *shape) structure(boundary string) *structure {
	leaf := func(i int, main, sub string) *structure {
		p := &structure{main: main, sub: sub, encoding: shapeEncodings[s[i].encoding], octets: s[i].octets, lines: int64(s[i].lines)}
		if main == "text" {
			p.params = map[string]string{"charset": "utf-8"}
		}
		return p
	}
	status := "delivery-status"
	if shapeEncodings[s[2].encoding] == "8bit" {
		status = "global-delivery-status"
	}
	texts := &structure{main: "multipart", sub: "alternative", params: map[string]string{"boundary": boundary + "-a"},
		children: []*structure{leaf(0, "text", "plain"), leaf(1, "text", "html")}}
	return &structure{main: "multipart", sub: "report", params: map[string]string{"report-type": "delivery-status", "boundary": boundary + "-r"},
		children: []*structure{texts, leaf(2, "message", status)}}
}

// measure is what is kept of how large an entry is.
func (o *opened) measure() routing.Measure {
	m := routing.Measure{UID: o.uid, Size: uint32(len(o.whole()))}
	if s, ok := shapeOf(o.parts()); ok {
		m.Shape = s.marshal()
	}
	return m
}

// recall makes the digest of an entry of which only the head was read, from what was kept
// of its measure; false where that is not enough.
func (o *opened) recall(structure bool) bool {
	e := o.entry
	s, ok := parseShape(e.Measure.Shape)
	if e.Measure.Size == 0 || structure && !ok {
		return false
	}
	o.digestHead()
	o.digest.size = e.Measure.Size
	if structure {
		o.digest.setStructure(nil, s.structure(entryBoundary(e)))
	}
	return true
}
