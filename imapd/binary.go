package imapd

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"reflect"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// decoded is what BINARY asks for of one message, in the order of the items.
type decoded struct {
	sections [][]byte
	sizes    []uint32
}

// decodeSections undoes the transfer encoding of the parts that are asked for.
func decodeSections(m *opened, options *imap.FetchOptions) (d decoded, err error) {
	for _, item := range options.BinarySection {
		b, err := binarySection(m, item.Part)
		if err != nil {
			return d, err
		}
		d.sections = append(d.sections, partial(b, item.Partial))
	}
	for _, item := range options.BinarySectionSize {
		b, err := binarySection(m, item.Part)
		if err != nil {
			return d, err
		}
		d.sizes = append(d.sizes, uint32(len(b)))
	}
	return d, nil
}

// binarySection is BINARY[…] (RFC 3516 section 4.2): the content of a part. What has
// no content of its own, a multipart or a message, is given as it is.
func binarySection(m *opened, path []int) ([]byte, error) {
	if len(path) == 0 {
		return m.whole(), nil
	}
	p := m.parts().at(path)
	if p == nil {
		return nil, nil
	}
	if p.children != nil || p.message != nil {
		return p.body, nil
	}
	content, err := decodeTransfer(p)
	if errors.Is(err, errUnknownEncoding) {
		return nil, no("UNKNOWN-CTE", "A part has a transfer encoding that is not known here; fetch it with BODY")
	}
	if err != nil {
		return p.body, nil
	}
	return content, nil
}

// errUnknownEncoding is a Content-Transfer-Encoding that is in no standard.
var errUnknownEncoding = errors.New("unknown transfer encoding")

// decodeTransfer undoes the transfer encoding of a part (RFC 2045 section 6).
func decodeTransfer(p *part) ([]byte, error) {
	name, _, _ := strings.Cut(fieldValue(p.header, "Content-Transfer-Encoding"), ";")
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "", "7bit", "8bit", "binary":
		return p.body, nil
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(bytes.NewReader(p.body)))
	case "base64":
		// RFC 2045 section 6.8: what is not of the alphabet is passed over.
		packed := slices.DeleteFunc(bytes.Clone(p.body), func(c byte) bool {
			return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '+' && c != '/'
		})
		return base64.RawStdEncoding.AppendDecode(nil, packed)
	}
	return nil, errUnknownEncoding
}

// writeBinary writes the items of BINARY that the library writes as they should be.
func writeBinary(m *imapserver.FetchResponseWriter, options *imap.FetchOptions, d decoded) error {
	for k, item := range options.BinarySectionSize {
		m.WriteBinarySectionSize(item, d.sizes[k])
	}
	for k, item := range options.BinarySection {
		if item.Partial != nil {
			continue
		}
		w := m.WriteBinarySection(item, int64(len(d.sections[k])))
		_, err := w.Write(d.sections[k])
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
	}
	return nil
}

// isPiece reports whether an item is a piece of a section.
func isPiece(item *imap.FetchItemBinarySection) bool { return item.Partial != nil }

// onlyPieces reports whether nothing is asked for but pieces of sections.
func onlyPieces(r *response, options *imap.FetchOptions) bool {
	if len(options.BinarySection) == 0 || r.flags || slices.ContainsFunc(options.BinarySection, func(item *imap.FetchItemBinarySection) bool {
		return !isPiece(item)
	}) {
		return false
	}
	rest := *options
	rest.BinarySection, rest.UID = nil, false
	return reflect.DeepEqual(rest, imap.FetchOptions{})
}

// writePieces writes the pieces that were asked for, in a response of their own: the
// library leaves out where a piece begins (RFC 3516 section 4.2).
func (s *session) writePieces(seq, uid uint32, options *imap.FetchOptions, d decoded) error {
	if !slices.ContainsFunc(options.BinarySection, isPiece) {
		return nil
	}
	b := fmt.Appendf(nil, "* %d FETCH (", seq)
	if options.UID {
		b = fmt.Appendf(b, "UID %d ", uid)
	}
	for k, item := range options.BinarySection {
		if !isPiece(item) {
			continue
		}
		b = append(b, "BINARY["...)
		for i, n := range item.Part {
			if i > 0 {
				b = append(b, '.')
			}
			b = fmt.Append(b, n)
		}
		b = fmt.Appendf(b, "]<%d> ~{%d}\r\n", item.Partial.Offset, len(d.sections[k]))
		b = append(append(b, d.sections[k]...), ' ')
	}
	_, err := s.guard.wire.Write(append(b[:len(b)-1], ")\r\n"...))
	return err
}
