package smtpd

import (
	"bytes"

	"github.com/emersion/go-sasl"
)

// The replies to a SASL exchange that went wrong before anything was checked
// (RFC 4954 section 4).
var (
	replyBadBase64 = reply(501, 5, 5, 2, "not valid base64")
	replyBadSASL   = reply(501, 5, 5, 2, "not a valid response of this mechanism")
	replyCancelled = reply(501, 5, 7, 0, "authentication cancelled")
)

// checker checks a name and a password and returns nil or a reply.
type checker func(name, password string) error

// newSASL returns the server side of a mechanism, or nil for one that is not
// offered.
func newSASL(mechanism string, check checker) sasl.Server {
	switch mechanism {
	case sasl.Plain:
		return &plainServer{check: check}
	case sasl.Login:
		return &loginServer{check: check}
	}
	return nil
}

// plainServer speaks PLAIN (RFC 4616). It differs from go-sasl's in that all its
// errors are replies.
type plainServer struct {
	check checker
}

func (p *plainServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return []byte{}, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return nil, false, replyBadSASL
	}
	authzid, authcid := string(parts[0]), string(parts[1])
	if authzid != "" && authzid != authcid {
		// Nobody may act for another. It takes the time and counts as a failure.
		if err := p.check("", ""); err != nil {
			return nil, false, err
		}
		return nil, false, replyAuth
	}
	return nil, true, p.check(authcid, string(parts[2]))
}

// loginServer speaks LOGIN (draft-murchison-sasl-login), which was never a standard
// and is all that many devices know.
type loginServer struct {
	check checker
	asked bool // for the name
	named bool
	name  string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case bytes.IndexByte(response, 0) >= 0:
		return nil, false, replyBadSASL
	case !l.named:
		l.asked, l.named, l.name = true, true, string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.name, string(response))
}
