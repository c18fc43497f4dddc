package imapd

import (
	"fmt"
	"strings"
	"time"
)

// clock says times as people do, in one zone.
type clock struct {
	sent time.Time
	loc  *time.Location
}

func newClock(sent time.Time, loc *time.Location) clock {
	if loc == nil {
		loc = time.UTC
	}
	return clock{sent: sent.In(loc), loc: loc}
}

func (c clock) dayOf(t time.Time) string { return t.In(c.loc).Format("Mon 2 Jan 2006") }

// at is "at 14:03", with the day where that is not the day the message was sent.
func (c clock) at(t time.Time) string {
	if c.dayOf(t) == c.dayOf(c.sent) {
		return "at " + t.In(c.loc).Format("15:04")
	}
	return "on " + c.on(t)
}

// by is like at, for a time that must not pass.
func (c clock) by(t time.Time) string {
	if c.dayOf(t) == c.dayOf(c.sent) {
		return "by " + t.In(c.loc).Format("15:04")
	}
	return "by " + c.on(t)
}

// on is day and time, the year only where it is another.
func (c clock) on(t time.Time) string {
	t = t.In(c.loc)
	if t.Year() == c.sent.Year() {
		return t.Format("Mon 2 Jan 15:04")
	}
	return t.Format("Mon 2 Jan 2006 15:04")
}

// since is how long after the message was sent, or submitted, something happened.
func (c clock) since(t time.Time, what string) string {
	if d := t.Sub(c.sent); d >= time.Second {
		return duration(d) + " after it was " + what
	}
	return "within a second"
}

// zone names the zone as it was when the message was sent.
func (c clock) zone() string {
	name, offset := c.sent.Zone()
	if offset == 0 && (name == "UTC" || name == "") {
		return "UTC"
	}
	utc := c.sent.Format("UTC-07:00")
	if name == "" || strings.ContainsAny(name, "+-") {
		return utc
	}
	return name + " (" + utc + ")"
}

// duration says how long, in at most two units.
func duration(d time.Duration) string {
	units := []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}}
	var parts []string
	for i, u := range units {
		if n := d / u.of; n > 0 {
			parts = append(parts, plural(int64(n), u.name))
			if d -= n * u.of; len(parts) == 2 || i > 0 && n >= 10 {
				break
			}
		} else if len(parts) > 0 {
			break
		}
	}
	if len(parts) == 0 {
		return "no time"
	}
	return strings.Join(parts, " ")
}

func plural(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
