package smtpd

import (
	"errors"
	"io"
	"mime"
	"net/mail"
	"strings"

	"github.com/emersion/go-smtp"

	"postern/internal/message"
	"postern/routing"
)

// maxHops is how many Received fields a message may have (RFC 5321 section 6.3).
const maxHops = 50

// looped reports whether a message has passed too many servers.
func looped(h message.Header) bool { return len(h.Values("Received")) > maxHops }

// checkAuthors makes sure that a person writes under their own name: every address
// in From and Sender must be one of the account's (RFC 6409 section 6.1). A message
// without From is given one later. It is strict, for what it cannot read it has to
// refuse; for devices, which may write anything, routing only asks whether the
// addresses it can read are the account's (nameSender).
func checkAuthors(h message.Header, account routing.Account) *smtp.SMTPError {
	for _, f := range h.Fields {
		if !f.Is("From") && !f.Is("Sender") {
			continue
		}
		authors, err := readAuthors(f.Value())
		if err != nil {
			return reply(550, 5, 6, 0, oneLine(f.Name+": "+err.Error()))
		}
		for _, a := range authors {
			if !account.Owns(a) {
				return reply(553, 5, 7, 1, oneLine(f.Name+": <"+a.String()+"> is not an address of your account"))
			}
		}
	}
	return nil
}

// readAuthors returns the addresses of From or Sender.
func readAuthors(value string) (authors []routing.Address, err error) {
	list, err := addressParser.ParseList(value)
	if err != nil {
		return readAuthor(value)
	}
	for _, m := range list {
		a, err := routing.ParseUnquoted(m.Address)
		if err != nil {
			return nil, err
		}
		authors = append(authors, a)
	}
	return authors, nil
}

var errAuthors = errors.New("is no list of addresses: put a name with special characters into double quotes")

// readAuthor reads what is no list by the grammar, and is meant for one all the same: a
// mailbox whose name has what should have been quoted, such as its own address. Nobody must
// be able to read another address there than is returned. So every @ has to be that of a
// plain address, alone or in angle brackets, and nothing may look like a list or a group.
func readAuthor(value string) (authors []routing.Address, err error) {
	if strings.ContainsAny(value, ",;:") {
		return nil, errAuthors
	}
	for rest := value; ; {
		at := strings.IndexByte(rest, '@')
		if at < 0 {
			break
		}
		start, end := strings.LastIndexAny(rest[:at], " \t<>")+1, len(rest)
		if n := strings.IndexAny(rest[at:], " \t<>"); n >= 0 {
			end = at + n
		}
		before, after := strings.TrimRight(rest[:start], " \t"), strings.TrimLeft(rest[end:], " \t")
		if before != "" && !strings.HasSuffix(before, "<") || after != "" && strings.Trim(after[:1], "<>") != "" {
			return nil, errAuthors
		}
		a, err := routing.ParseAddress(rest[start:end])
		if err != nil {
			return nil, errAuthors
		}
		authors, rest = append(authors, a), after
	}
	if len(authors) == 0 {
		return nil, errAuthors
	}
	return authors, nil
}

// addressParser does not care about the names beside the addresses, in whatever
// charset they are.
var addressParser = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
}}
