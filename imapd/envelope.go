package imapd

import (
	"strings"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// maxAddresses bounds the addresses shown of one field.
const maxAddresses = 1000

// fieldsOf is what an ENVELOPE is made of (RFC 3501 section 7.4.2). Encoded words stay as
// they are: the client decodes them.
type fieldsOf struct {
	date, subject, inReplyTo, messageID text
	from, sender, replyTo, to, cc, bcc  []imap.Address
}

// text is the first field of a name: one that is there and empty is an empty string, and
// one that is missing is NIL.
type text struct {
	value string
	there bool
}

// readEnvelope reads the fields of a header that have a part in its ENVELOPE.
func readEnvelope(header []byte) *fieldsOf {
	e := &fieldsOf{}
	lists := [...]struct {
		name string
		dst  *[]imap.Address
	}{{"from", &e.from}, {"sender", &e.sender}, {"reply-to", &e.replyTo}, {"to", &e.to}, {"cc", &e.cc}, {"bcc", &e.bcc}}
	singles := [...]struct {
		name string
		dst  *text
	}{{"date", &e.date}, {"subject", &e.subject}, {"in-reply-to", &e.inReplyTo}, {"message-id", &e.messageID}}
	for field := range rawFields(header) {
		for i := range lists {
			if isNamed(field, lists[i].name) && len(*lists[i].dst) < maxAddresses {
				*lists[i].dst = append(*lists[i].dst, parseAddresses(valueOf(field))...)
			}
		}
		for i := range singles {
			if isNamed(field, singles[i].name) && !singles[i].dst.there {
				*singles[i].dst = text{valueOf(field), true}
			}
		}
	}
	return e
}

// library is e as the library can write it: with the date written anew, and without what
// stands around the message ids.
func (e *fieldsOf) library() *imap.Envelope {
	l := &imap.Envelope{Subject: e.subject.value, From: e.from, Sender: e.sender, ReplyTo: e.replyTo, To: e.to, Cc: e.cc, Bcc: e.bcc,
		InReplyTo: messageIDs(e.inReplyTo.value)}
	l.Date, _ = routing.ParseDate(e.date.value)
	if ids := messageIDs(e.messageID.value); len(ids) > 0 {
		l.MessageID = ids[0]
	}
	return l
}

// messageIDs finds what stands between angle brackets.
func messageIDs(value string) []string {
	var ids []string
	for len(ids) < 100 {
		_, rest, ok := strings.Cut(value, "<")
		if !ok {
			break
		}
		id, after, ok := strings.Cut(rest, ">")
		if !ok {
			break
		}
		if id = strings.TrimSpace(id); id != "" {
			ids = append(ids, id)
		}
		value = after
	}
	return ids
}

// addressParser collects the addresses of a field (RFC 5322 section 3.4), and makes
// the best of what is none.
type addressParser struct {
	list    []imap.Address
	phrase  strings.Builder // outside of angle brackets, unquoted
	comment string
	angle   string
	angled  bool
	group   bool
}

func parseAddresses(v string) []imap.Address {
	var p addressParser
	for len(v) > 0 && len(p.list) < maxAddresses {
		switch c := v[0]; c {
		case '"':
			n := quotedLen([]byte(v))
			p.phrase.Write(unquote([]byte(v[:n])))
			v = v[n:]
			continue
		case '(':
			n := commentLen(v)
			p.comment = strings.Trim(v[:n], "() \t")
			v = v[n:]
			continue
		case '<':
			n := angleLen(v)
			p.angle, p.angled = strings.Trim(v[:n], "<> \t"), true
			v = v[n:]
			continue
		case ',':
			p.flush()
		case ';':
			p.flush()
			if p.group {
				p.list, p.group = append(p.list, imap.Address{}), false
			}
		case ':':
			if !p.group && !p.angled && !strings.Contains(p.phrase.String(), "@") {
				name := strings.TrimSpace(p.phrase.String())
				if name == "" {
					name = "group"
				}
				p.list, p.group = append(p.list, imap.Address{Mailbox: name}), true
				p.reset()
			}
		default:
			p.phrase.WriteByte(c)
		}
		v = v[1:]
	}
	p.flush()
	if p.group {
		p.list = append(p.list, imap.Address{})
	}
	return p.list
}

func (p *addressParser) reset() {
	p.phrase.Reset()
	p.comment, p.angle, p.angled = "", "", false
}

// flush takes in the address that ends here, if there is one.
func (p *addressParser) flush() {
	defer p.reset()
	name, addr := strings.TrimSpace(p.phrase.String()), p.angle
	if !p.angled {
		name, addr = p.comment, name
	} else if i := strings.LastIndexByte(addr, ':'); i >= 0 && strings.HasPrefix(addr, "@") {
		addr = addr[i+1:] // RFC 5322 section 4.4: a route is not looked at
	}
	if addr == "" && name == "" {
		return
	}
	a := imap.Address{Name: name, Mailbox: addr}
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		a.Mailbox, a.Host = addr[:i], addr[i+1:]
	}
	if q := a.Mailbox; len(q) > 1 && q[0] == '"' && q[len(q)-1] == '"' {
		a.Mailbox = string(unquote([]byte(q)))
	}
	// Without a host it would be the begin of a group, without either its end.
	if a.Host == "" {
		a.Host = "missing.invalid"
	}
	if a.Mailbox == "" {
		a.Mailbox = "missing"
	}
	p.list = append(p.list, a)
}

// commentLen is the length of the comment that v begins with; comments nest.
func commentLen(v string) int {
	depth := 0
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(v)
}

// angleLen is the length of the address in angle brackets that v begins with.
func angleLen(v string) int {
	for i := 1; i < len(v); i++ {
		switch v[i] {
		case '"':
			i += quotedLen([]byte(v[i:])) - 1
		case '>':
			return i + 1
		}
	}
	return len(v)
}
