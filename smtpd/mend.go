package smtpd

import "bytes"

// mender gives content the line ends that RFC 5321 section 2.3.8 asks for: what
// brings a report may be broken, and the report still says what it says. A bare CR
// and a bare LF become CRLF, and so do several CRs before an LF. It never makes what
// was no end of the content into one: a dot that comes to stand at the start of a
// line, or alone on it, is doubled (section 4.5.2). Lines that are longer than any
// server may send are broken.
type mender struct {
	chunks bool // of BDAT: dots mean nothing
	broken bool // something was not as it should be
	crs    int  // that were seen, and not what follows them
	column int  // octets in the line so far
	made   bool // the line begins where no CRLF stood
	lone   bool // the line is a single dot
	out    []byte
}

// longLine is how long a line may be before it is broken, in octets: far longer than
// any may be (RFC 5321 section 4.5.3.1.6), and what the guard takes.
const longLine = maxLine / 2

// mend returns part with its lines mended. end says that part ends the content. The
// result is valid until the next call.
func (m *mender) mend(part []byte, end bool) []byte {
	m.broken = m.broken || bytes.IndexByte(part, 0) >= 0 // which stays, and is not for the wire
	if m.crs == 0 && !m.made && m.column+len(part) <= longLine && wellEnded(part) {
		m.column, m.lone = tail(part, m.column, m.lone)
		return part
	}
	m.broken = true
	m.out = m.out[:0]
	body := part
	if end && !m.chunks {
		body = part[:len(part)-len(".\r\n")] // its dot is the sender's
	}
	for _, c := range body {
		switch {
		case c == '\n':
			m.endLine(m.crs == 0)
		case c == '\r':
			m.crs++ // the LF may still come
		default:
			m.endLines()
			if m.column == longLine {
				m.endLine(true)
			}
			if c == '.' && m.column == 0 && m.made && !m.chunks {
				m.out = append(m.out, '.')
			}
			m.lone = c == '.' && m.column == 0 && !m.made
			m.column++
			m.made = false
			m.out = append(m.out, c)
		}
	}
	if end {
		m.endLines()
	}
	return append(m.out, part[len(body):]...)
}

// endLines ends a line for each CR that no LF came to.
func (m *mender) endLines() {
	for n := m.crs; n > 0; n-- {
		m.endLine(true)
	}
}

// endLine ends the line. made says that the next begins where no CRLF stood.
func (m *mender) endLine(made bool) {
	if m.lone && !m.chunks {
		m.out = append(m.out, '.')
	}
	m.out = append(m.out, '\r', '\n')
	m.crs, m.lone, m.column, m.made = 0, false, 0, made
}

// wellEnded reports whether every CR of part has its LF and every LF its CR.
func wellEnded(part []byte) bool {
	n := bytes.Count(part, []byte("\r\n"))
	return bytes.Count(part, []byte{'\n'}) == n && bytes.Count(part, []byte{'\r'}) == n
}

// tail returns where the last line of part stands, which follows on column and lone.
func tail(part []byte, column int, lone bool) (int, bool) {
	if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
		part, column, lone = part[i+1:], 0, false
	}
	if len(part) == 0 {
		return column, lone
	}
	return column + len(part), column == 0 && len(part) == 1 && part[0] == '.'
}
