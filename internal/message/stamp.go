package message

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// StampType is the media type of a stamp for programs. Its body is what Stamp.JSON
// returns.
const StampType = "application/vnd.postern.stamp+json"

// Stamp says what the gateway knows of a submission: who, from where, when, as which
// number. It travels inside the encryption, for the recipients alone. Each stamp
// holds the digest of the account's stamp before it, so that a recipient can prove a
// gap.
type Stamp struct {
	ID        string
	Account   string
	Device    string // as the sender calls it
	Location  string // a geo: URI (RFC 5870)
	Client    string // IP address
	HELO      string
	Submitted time.Time // what the Date field says, zero if there was none
	Accepted  time.Time // by the gateway's clock
	Priority  string
	Sequence  int64    // of the account, from 1
	SHA256    [32]byte // of the message as submitted
	Previous  []byte   // digest of the account's previous stamp, nil for the first
	Warnings  []string
	Gateway   string // name of the host
}

// ErrStamp is what every error of ParseStamp is.
var ErrStamp = errors.New("not a stamp")

// stampVersion is raised when a field changes its meaning.
const stampVersion = 1

// stampJSON is the order and the names of the fields; neither may ever change within
// one version, because digests are made over them.
type stampJSON struct {
	Version   int      `json:"version"`
	ID        string   `json:"id"`
	Gateway   string   `json:"gateway,omitempty"`
	Account   string   `json:"account,omitempty"`
	Device    string   `json:"device,omitempty"`
	Location  string   `json:"location,omitempty"`
	Client    string   `json:"client,omitempty"`
	HELO      string   `json:"helo,omitempty"`
	Submitted string   `json:"submitted,omitempty"`
	Accepted  string   `json:"accepted,omitempty"`
	Priority  string   `json:"priority,omitempty"`
	Sequence  int64    `json:"sequence"`
	SHA256    string   `json:"sha256"`
	Previous  string   `json:"previous,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
}

// JSON returns the stamp in its canonical form: keys in a fixed order, no blanks
// between tokens, times in UTC as RFC 3339 has them, digests in lower-case hex,
// empty members left out. Bytes that are not UTF-8 become U+FFFD.
func (s *Stamp) JSON() []byte { return s.appendJSON(nil) }

func (s *Stamp) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"version":`...), stampVersion, 10)
	b = appendJSON(append(b, `,"id":`...), s.ID)
	for _, m := range [...]struct{ key, value string }{
		{"gateway", s.Gateway}, {"account", s.Account}, {"device", s.Device}, {"location", s.Location}, {"client", s.Client}, {"helo", s.HELO},
	} {
		b = appendMember(b, m.key, m.value)
	}
	b = appendTime(b, "submitted", s.Submitted)
	b = appendTime(b, "accepted", s.Accepted)
	b = appendMember(b, "priority", s.Priority)
	b = strconv.AppendInt(append(b, `,"sequence":`...), s.Sequence, 10)
	b = hex.AppendEncode(append(b, `,"sha256":"`...), s.SHA256[:])
	if len(s.Previous) > 0 {
		b = hex.AppendEncode(append(b, `","previous":"`...), s.Previous)
	}
	b = append(b, '"')
	for i, w := range s.Warnings {
		if i == 0 {
			b = append(b, `,"warnings":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendJSON(b, w)
	}
	if len(s.Warnings) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendMember appends a member of an object behind others, nothing where it is empty.
func appendMember(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, `,"`...), key...), `":`...)
	return appendJSON(b, value)
}

func appendTime(b []byte, key string, t time.Time) []byte {
	if t = t.UTC(); !hasStampForm(t) {
		return b
	}
	b = append(append(append(b, `,"`...), key...), `":"`...)
	return append(t.AppendFormat(b, time.RFC3339Nano), '"')
}

// appendJSON appends a string as JSON.
func appendJSON(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		plain = plain && ' ' <= s[i] && s[i] <= '~' && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string cannot fail to encode, nor can a Buffer be full
	return append(b, bytes.TrimSuffix(w.Bytes(), []byte("\n"))...)
}

// Digest returns the SHA-256 of the canonical form: what the next stamp's Previous is.
func (s *Stamp) Digest() [sha256.Size]byte {
	var room [1 << 10]byte // a stamp is rarely longer
	return sha256.Sum256(s.appendJSON(room[:0]))
}

// ParseStamp reads a stamp in its canonical form, white space around it allowed. It
// refuses any other form of the same stamp, whose digest would be another.
func ParseStamp(b []byte) (*Stamp, error) {
	b = bytes.TrimSpace(b)
	var j stampJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStamp, err)
	}
	if j.Version != stampVersion {
		return nil, fmt.Errorf("%w: version %d is not known here", ErrStamp, j.Version)
	}
	s := &Stamp{ID: j.ID, Gateway: j.Gateway, Account: j.Account, Device: j.Device, Location: j.Location, Client: j.Client,
		HELO: j.HELO, Priority: j.Priority, Sequence: j.Sequence, Warnings: j.Warnings}
	sum, err := hex.DecodeString(j.SHA256)
	if err != nil || copy(s.SHA256[:], sum) != len(s.SHA256) || len(sum) != len(s.SHA256) {
		return nil, fmt.Errorf("%w: sha256 is no SHA-256 digest", ErrStamp)
	}
	if j.Previous != "" {
		if s.Previous, err = hex.DecodeString(j.Previous); err != nil {
			return nil, fmt.Errorf("%w: previous is not in hex", ErrStamp)
		}
	}
	if s.Submitted, err = parseStampTime(j.Submitted); err != nil {
		return nil, fmt.Errorf("%w: submitted: %w", ErrStamp, err)
	}
	if s.Accepted, err = parseStampTime(j.Accepted); err != nil {
		return nil, fmt.Errorf("%w: accepted: %w", ErrStamp, err)
	}
	if !bytes.Equal(s.JSON(), b) {
		return nil, fmt.Errorf("%w: it is not in canonical form", ErrStamp)
	}
	return s, nil
}

// hasStampForm reports whether a stamp can say a time in UTC: not the zero Time, nor a year
// that RFC 3339 has no form for; a Date field may claim any.
func hasStampForm(t time.Time) bool { return !t.IsZero() && t.Year() >= 1 && t.Year() <= 9999 }

func parseStampTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

// Text returns the stamp for people: a few plain lines, with CRLF, times in loc
// (UTC if nil).
func (s *Stamp) Text(loc *time.Location) string { return string(s.appendText(nil, loc)) }

func (s *Stamp) appendText(b []byte, loc *time.Location) []byte {
	if loc == nil {
		loc = time.UTC
	}
	line := func(name, value string) {
		if value != "" {
			b = appendWrapped(b, name+": ", Plain(value))
		}
	}
	at := func(name string, t time.Time) {
		if hasStampForm(t.UTC()) {
			line(name, t.In(loc).Format("2006-01-02 15:04:05 -0700"))
		}
	}
	b = appendWrapped(b, "", "The gateway "+Plain(s.Gateway)+" passed this message on, and adds:")
	b = append(b, crlf...)
	line("Account", s.Account)
	if s.Sequence > 0 {
		line("Number", strconv.FormatInt(s.Sequence, 10)+" of this account")
	}
	line("Device", s.Device)
	line("Location", s.Location)
	line("Priority", s.Priority)
	at("Submitted", s.Submitted)
	at("Accepted", s.Accepted)
	client := s.Client
	if s.HELO != "" {
		client = strings.TrimSpace(client + " as " + s.HELO)
	}
	line("From the host", client)
	line("Id", s.ID)
	line("SHA-256 of the original", hex.EncodeToString(s.SHA256[:]))
	switch {
	case len(s.Previous) > 0:
		line("SHA-256 of the stamp before", hex.EncodeToString(s.Previous))
	case s.Sequence > 0:
		line("SHA-256 of the stamp before", "none, this is the account's first")
	}
	for _, w := range s.Warnings {
		line("Warning", w)
	}
	return b
}

// wrap breaks start and text into lines of 78 octets at blanks, and in words that
// are longer than a line may be. What follows the first line is indented.
func wrap(start, text string) string { return string(appendWrapped(nil, start, text)) }

func appendWrapped(b []byte, start, text string) []byte {
	const indent = "    "
	b = append(b, start...)
	length, empty := len(start), true
	for word := range strings.FieldsSeq(text) {
		for {
			if !empty && length+1+len(word) > wantLine {
				b = append(b, crlf+indent...)
				length, empty = len(indent), true
			}
			if !empty {
				b = append(b, ' ')
				length++
			}
			if len(word) <= maxLine/2 {
				break
			}
			head := strings.ToValidUTF8(word[:maxLine/2], "")
			b = append(b, head...)
			word, length, empty = word[len(head):], wantLine, false
		}
		b = append(b, word...)
		length += len(word)
		empty = false
	}
	return append(bytes.TrimRight(b, " "), crlf...)
}
