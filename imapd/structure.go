package imapd

import (
	"bytes"
	"mime"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// structure is what BODYSTRUCTURE says of a part (RFC 3501 section 7.4.2).
type structure struct {
	main, sub string
	params    map[string]string
	children  []*structure // of a multipart; it has none of the five below

	id, description, encoding string
	octets                    uint32
	lines                     int64      // of a text, or a message
	envelope                  *fieldsOf  // of a message
	message                   *structure // likewise

	disposition *imap.BodyStructureDisposition
	languages   []string
	location    string
}

func structureOf(p *part) *structure {
	value := func(name string) string { return fieldValue(p.header, name) }
	s := &structure{params: p.params, disposition: disposition(p), languages: languages(p), location: value("Content-Location")}
	s.main, s.sub, _ = strings.Cut(p.kind, "/")
	if p.children != nil {
		for _, child := range p.children {
			s.children = append(s.children, structureOf(child))
		}
		return s
	}
	s.id, s.description = value("Content-Id"), value("Content-Description")
	s.encoding, _, _ = strings.Cut(value("Content-Transfer-Encoding"), " ")
	s.octets, s.lines = uint32(len(p.body)), int64(bytes.Count(p.body, []byte{'\n'}))
	switch {
	case p.message != nil:
		s.envelope, s.message = readEnvelope(p.message.header), structureOf(p.message)
	case s.main == "text" && len(s.params) == 0:
		s.params = map[string]string{"charset": "us-ascii"} // RFC 2046 section 4.1.2
	}
	return s
}

// library is s as the library can write it.
func (s *structure) library() imap.BodyStructure {
	if s.children != nil {
		multi := &imap.BodyStructureMultiPart{Subtype: s.sub, Extended: &imap.BodyStructureMultiPartExt{
			Params: s.params, Disposition: s.disposition, Language: s.languages, Location: s.location,
		}}
		for _, child := range s.children {
			multi.Children = append(multi.Children, child.library())
		}
		return multi
	}
	single := &imap.BodyStructureSinglePart{
		Type: s.main, Subtype: s.sub, Params: s.params, ID: s.id, Description: s.description, Encoding: s.encoding, Size: s.octets,
		Extended: &imap.BodyStructureSinglePartExt{Disposition: s.disposition, Language: s.languages, Location: s.location},
	}
	switch {
	case s.message != nil:
		single.MessageRFC822 = &imap.BodyStructureMessageRFC822{
			Envelope: s.envelope.library(), BodyStructure: s.message.library(), NumLines: s.lines,
		}
	case s.main == "text":
		single.Text = &imap.BodyStructureText{NumLines: s.lines}
	}
	return single
}

func disposition(p *part) *imap.BodyStructureDisposition {
	value := fieldValue(p.header, "Content-Disposition")
	if value == "" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(value)
	if err != nil {
		kind, _, _ = strings.Cut(value, ";")
		kind = strings.TrimSpace(kind)
	}
	return &imap.BodyStructureDisposition{Value: kind, Params: params}
}

func languages(p *part) []string {
	var all []string
	for tag := range strings.SplitSeq(fieldValue(p.header, "Content-Language"), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			all = append(all, tag)
		}
	}
	return all
}
