package message

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
func (s *Stamp) JSON() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	// Strings and numbers alone cannot fail to encode, nor can a Buffer be full.
	_ = e.Encode(stampJSON{
		Version: stampVersion, ID: s.ID, Gateway: s.Gateway, Account: s.Account, Device: s.Device, Location: s.Location,
		Client: s.Client, HELO: s.HELO, Submitted: formatStampTime(s.Submitted), Accepted: formatStampTime(s.Accepted),
		Priority: s.Priority, Sequence: s.Sequence, SHA256: hex.EncodeToString(s.SHA256[:]),
		Previous: hex.EncodeToString(s.Previous), Warnings: s.Warnings,
	})
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Digest returns the SHA-256 of the canonical form: what the next stamp's Previous is.
func (s *Stamp) Digest() [sha256.Size]byte { return sha256.Sum256(s.JSON()) }

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

// formatStampTime returns "" for the zero Time and for a year that RFC 3339 has no
// form for: a Date field may claim any.
func formatStampTime(t time.Time) string {
	t = t.UTC()
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func parseStampTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

// Text returns the stamp for people: a few plain lines, with CRLF, times in loc
// (UTC if nil).
func (s *Stamp) Text(loc *time.Location) string {
	if loc == nil {
		loc = time.UTC
	}
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			b.WriteString(wrap(name+": ", Plain(value)))
		}
	}
	at := func(t time.Time) string {
		if formatStampTime(t) == "" {
			return ""
		}
		return t.In(loc).Format("2006-01-02 15:04:05 -0700")
	}
	b.WriteString(wrap("", "The gateway "+Plain(s.Gateway)+" passed this message on, and adds:"))
	b.WriteString("\r\n")
	line("Account", s.Account)
	if s.Sequence > 0 {
		line("Number", fmt.Sprintf("%d of this account", s.Sequence))
	}
	line("Device", s.Device)
	line("Location", s.Location)
	line("Priority", s.Priority)
	line("Submitted", at(s.Submitted))
	line("Accepted", at(s.Accepted))
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
	return b.String()
}

// wrap breaks start and text into lines of 78 octets at blanks, and in words that
// are longer than a line may be. What follows the first line is indented.
func wrap(start, text string) string {
	const indent = "    "
	var b strings.Builder
	b.WriteString(start)
	length, empty := len(start), true
	for word := range strings.FieldsSeq(text) {
		for {
			if !empty && length+1+len(word) > wantLine {
				b.WriteString("\r\n" + indent)
				length, empty = len(indent), true
			}
			if !empty {
				b.WriteByte(' ')
				length++
			}
			if len(word) <= maxLine/2 {
				break
			}
			head := strings.ToValidUTF8(word[:maxLine/2], "")
			b.WriteString(head)
			word, length, empty = word[len(head):], wantLine, false
		}
		b.WriteString(word)
		length += len(word)
		empty = false
	}
	return strings.TrimRight(b.String(), " ") + "\r\n"
}
