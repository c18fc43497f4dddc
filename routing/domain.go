package routing

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"

	"postern/internal/message"
)

// domainProfile maps and checks internationalised names as RFC 5891 section 5 has
// a client do it before a look-up.
var domainProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(true),
	idna.CheckJoiners(true), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// parseDomain reads a Domain or an address-literal and returns its canonical form.
func parseDomain(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("nothing stands after the @")
	case strings.Contains(s, "@"):
		return "", errors.New("the address has more than one @")
	case s[0] == '[':
		return parseLiteral(s)
	case len(s) > maxDomain:
		return "", fmt.Errorf("the domain is longer than %d octets", maxDomain)
	case s[len(s)-1] == '.':
		return "", errors.New("the domain ends with a dot")
	}
	if !message.IsASCII(s) {
		return parseIDN(s)
	}
	s = strings.ToLower(s)
	international := false
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
		international = international || strings.HasPrefix(label, "xn--")
	}
	if international {
		if ascii, err := domainProfile.ToASCII(s); err != nil || ascii != s {
			return "", errors.New("the domain holds an xn-- label that stands for no valid name")
		}
	}
	return s, checkTop(s)
}

// checkLabel obeys RFC 5321 section 4.1.2 (sub-domain) and RFC 1035 section 2.3.4.
func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("the domain has an empty label")
	case len(label) > maxLabel:
		return fmt.Errorf("a label of the domain is longer than %d octets", maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("a label of the domain begins or ends with a hyphen")
	}
	for i := range len(label) {
		c := label[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return fmt.Errorf("the domain holds %q", c)
		}
	}
	return nil
}

// checkTop keeps an IP address without brackets from passing for a name.
func checkTop(domain string) error {
	top := domain[strings.LastIndexByte(domain, '.')+1:]
	if strings.Trim(top, "0123456789") == "" {
		return errors.New("the last label of the domain is a number; an IP address stands in brackets")
	}
	return nil
}

// parseIDN reads a domain with U-labels, which RFC 6531 section 3.3 allows, and
// returns it with every label as U-label, normalised and in lower case.
func parseIDN(s string) (string, error) {
	ascii, err := domainProfile.ToASCII(s)
	if err != nil {
		return "", errors.New("the domain is not a valid internationalised name")
	}
	if strings.HasSuffix(ascii, ".") {
		return "", errors.New("the domain ends with a dot") // whichever dot it was
	}
	name, err := domainProfile.ToUnicode(ascii)
	if err != nil || len(name) > maxDomain {
		return "", errors.New("the domain is not a valid internationalised name")
	}
	if again, err := domainProfile.ToASCII(name); err != nil || again != ascii {
		return "", errors.New("the domain is not a valid internationalised name")
	}
	return name, checkTop(ascii)
}

// parseLiteral reads an address-literal (RFC 5321 section 4.1.3). The general form,
// for which no tag was ever registered, is refused.
func parseLiteral(s string) (string, error) {
	inner, closed := strings.CutSuffix(s[1:], "]")
	if !closed {
		return "", errors.New("the address literal is not closed")
	}
	const tag = "ipv6:"
	if len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag) {
		ip, err := netip.ParseAddr(inner[len(tag):])
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", errors.New("the address literal is not an IPv6 address")
		}
		return "[IPv6:" + ip.String() + "]", nil
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || !ip.Is4() {
		return "", errors.New("the address literal is neither [192.0.2.1] nor [IPv6:2001:db8::1] in form")
	}
	return "[" + ip.String() + "]", nil
}
