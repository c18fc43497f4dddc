package smtpd

import (
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
// without From is given one later.
func checkAuthors(h message.Header, account routing.Account) *smtp.SMTPError {
	for _, f := range h.Fields {
		if !strings.EqualFold(f.Name, "From") && !strings.EqualFold(f.Name, "Sender") {
			continue
		}
		list, err := addressParser.ParseList(f.Value())
		if err != nil {
			return reply(550, 5, 6, 0, f.Name+": is no list of addresses")
		}
		for _, m := range list {
			a, err := routing.ParseUnquoted(m.Address)
			if err != nil {
				return reply(550, 5, 6, 0, oneLine(f.Name+": "+err.Error()))
			}
			if !account.Owns(a) {
				return reply(553, 5, 7, 1, oneLine(f.Name+": <"+a.String()+"> is not an address of your account"))
			}
		}
	}
	return nil
}

// addressParser does not care about the names beside the addresses, in whatever
// charset they are.
var addressParser = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
}}
