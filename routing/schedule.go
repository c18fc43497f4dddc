package routing

import (
	"errors"
	"fmt"
	"math"
	"net/mail"
	"strconv"
	"strings"
	"time"
)

// Schedule is a list of waits between tries, each used Times times, the last one
// for ever. In text: "1m, 5m*2, 15m*4, 1h*".
type Schedule []Wait

// Wait is one entry of a Schedule.
type Wait struct {
	For   time.Duration
	Times int // 0: for ever
}

const (
	maxWaits      = 64
	maxTimes      = 1_000_000
	maxDuration   = 366 * day
	fallbackRetry = 30 * time.Minute // RFC 5321 section 4.5.4.1
	day           = 24 * time.Hour
)

// ParseSchedule reads a list of waits, "1m, 5m*2, 15m*4, 1h*": one minute once,
// five minutes twice, and so on. "*" alone is for ever and may only end the list;
// the last wait is for ever however it is written.
func ParseSchedule(text string) (Schedule, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the schedule is empty; write waits, such as 1m, 5m*2, 1h*")
	}
	entries := strings.Split(text, ",")
	if len(entries) > maxWaits {
		return nil, fmt.Errorf("the schedule has more than %d waits", maxWaits)
	}
	s := make(Schedule, len(entries))
	for i, entry := range entries {
		wait, times, starred := strings.Cut(entry, "*")
		times = strings.TrimSpace(times)
		d, err := ParseDuration(wait)
		if err != nil {
			return nil, err
		}
		s[i] = Wait{For: d, Times: 1}
		last := i == len(entries)-1
		switch {
		case starred && times == "" && !last:
			return nil, fmt.Errorf("%s is for ever, but another wait follows it", quoted(entry))
		case starred && times != "":
			n, err := strconv.Atoi(times)
			if err != nil || n < 1 || n > maxTimes {
				return nil, fmt.Errorf("%s does not say how often; write a number from 1 to %d after the *", quoted(entry), maxTimes)
			}
			s[i].Times = n
		}
		if last {
			s[i].Times = 0
		}
	}
	return s, nil
}

// String writes s as ParseSchedule reads it.
func (s Schedule) String() string {
	waits := make([]string, len(s))
	for i, w := range s {
		waits[i] = FormatDuration(w.For)
		switch {
		case i == len(s)-1 || w.Times == 0:
			waits[i] += "*"
		case w.Times != 1:
			waits[i] += "*" + strconv.Itoa(w.Times)
		}
	}
	return strings.Join(waits, ", ")
}

// Wait returns how long to wait after the nth try, 1 for the first. The zero
// Schedule waits half an hour each time.
func (s Schedule) Wait(n int) time.Duration {
	if len(s) == 0 {
		return fallbackRetry
	}
	for _, w := range s[:len(s)-1] {
		if n <= w.Times || w.Times == 0 {
			return w.For
		}
		n -= w.Times
	}
	return s[len(s)-1].For
}

// MarshalText writes s as String does.
func (s Schedule) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSchedule reads; the empty text is the zero
// Schedule.
func (s *Schedule) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*s = nil
		return nil
	}
	*s, err = ParseSchedule(string(b))
	return err
}

// durationUnits are the units of a duration, largest first.
var durationUnits = []struct {
	letter byte
	unit   time.Duration
}{{'d', day}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// ParseDuration reads a duration of whole days, hours, minutes and seconds, larger
// units first: 30s, 10m, 4h, 2d, 1d12h. It is at least a second and at most 366
// days.
func ParseDuration(text string) (time.Duration, error) {
	rest := strings.ToLower(strings.TrimSpace(text))
	if rest == "" {
		return 0, errors.New("a duration is missing; write 30s, 10m, 4h, 2d or 1d12h")
	}
	var total time.Duration
	units := durationUnits
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || digits == len(rest) {
			return 0, badDuration(text)
		}
		for len(units) > 0 && units[0].letter != rest[digits] {
			units = units[1:]
		}
		if len(units) == 0 {
			return 0, badDuration(text)
		}
		if n > int64(math.MaxInt64/2/units[0].unit) || total+time.Duration(n)*units[0].unit > maxDuration {
			return 0, fmt.Errorf("%s is longer than 366 days", quoted(text))
		}
		total += time.Duration(n) * units[0].unit
		units, rest = units[1:], rest[digits+1:]
	}
	if total == 0 {
		return 0, fmt.Errorf("%s is no time at all", quoted(text))
	}
	return total, nil
}

func badDuration(text string) error {
	return fmt.Errorf("%s is no duration; write 30s, 10m, 4h, 2d or 1d12h", quoted(text))
}

// FormatDuration writes d as ParseDuration reads it, a fraction of a second left
// out: "1d12h". Less than a second is "0s".
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range durationUnits {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.letter)
			d -= n * u.unit
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// ParseDate reads a date-time of RFC 5322 section 3.3, comments and obsolete forms
// included.
func ParseDate(text string) (time.Time, error) {
	text = strings.TrimSpace(text)
	// Nearly all have this form, and net/mail tries a dozen.
	t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", text)
	if err != nil {
		t, err = mail.ParseDate(text)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is no date; write it as in Date: 24 Nov 2026 18:00:00 +0100", quoted(text))
	}
	return t, nil
}

// ParseWhen reads a point in time: a duration counted from now, or a date.
func ParseWhen(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	d, fault := ParseDuration(text)
	if fault == nil {
		return now.Add(d), nil
	}
	t, err := ParseDate(text)
	switch {
	case err == nil:
	case text != "" && strings.Trim(strings.ToLower(text), "0123456789dhms") == "":
		return time.Time{}, fault
	default:
		return time.Time{}, fmt.Errorf("%s is neither a duration (4h, 2d) nor a date (24 Nov 2026 18:00:00 +0100)", quoted(text))
	}
	return t, nil
}
