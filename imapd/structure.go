package imapd

import (
	"bytes"
	"mime"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// bodyStructure is the BODYSTRUCTURE of a part (RFC 3501 section 7.4.2).
func bodyStructure(p *part) imap.BodyStructure {
	main, sub, _ := strings.Cut(p.kind, "/")
	value := func(name string) string { return fieldValue(p.header, name) }
	if p.children != nil {
		multi := &imap.BodyStructureMultiPart{
			Subtype: sub,
			Extended: &imap.BodyStructureMultiPartExt{
				Params: p.params, Disposition: disposition(p), Language: languages(p), Location: value("Content-Location"),
			},
		}
		for _, child := range p.children {
			multi.Children = append(multi.Children, bodyStructure(child))
		}
		return multi
	}
	encoding, _, _ := strings.Cut(value("Content-Transfer-Encoding"), " ")
	single := &imap.BodyStructureSinglePart{
		Type: main, Subtype: sub, Params: p.params,
		ID: value("Content-Id"), Description: value("Content-Description"), Encoding: encoding,
		Size: uint32(len(p.body)),
		Extended: &imap.BodyStructureSinglePartExt{
			Disposition: disposition(p), Language: languages(p), Location: value("Content-Location"),
		},
	}
	lines := int64(bytes.Count(p.body, []byte{'\n'}))
	switch {
	case p.message != nil:
		single.MessageRFC822 = &imap.BodyStructureMessageRFC822{
			Envelope: envelope(p.message.header), BodyStructure: bodyStructure(p.message), NumLines: lines,
		}
	case main == "text":
		single.Text = &imap.BodyStructureText{NumLines: lines}
		if len(single.Params) == 0 {
			single.Params = map[string]string{"charset": "us-ascii"} // RFC 2046 section 4.1.2
		}
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
