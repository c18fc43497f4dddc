package routing

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// Explain writes the plan that a submission would get, as a person reads it.
func Explain(w io.Writer, s *Submission, p *Policy, cfg *Config) error {
	x := &explainer{Writer: bufio.NewWriter(w), s: s, p: p, cfg: cfg}
	x.message()
	for i := range p.Recipients {
		x.recipient(&p.Recipients[i])
	}
	if len(p.Warnings) > 0 {
		x.printf("\nWarnings\n")
		for _, warning := range p.Warnings {
			x.printf("  %s\n", warning)
		}
	}
	if err := x.Flush(); err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	return nil
}

type explainer struct {
	*bufio.Writer
	s   *Submission
	p   *Policy
	cfg *Config
}

// printf leaves errors to Flush, as bufio.Writer remembers them.
func (x *explainer) printf(format string, args ...any) { fmt.Fprintf(x, format, args...) }

func (x *explainer) line(name, format string, args ...any) {
	x.printf("%-12s %s\n", name, fmt.Sprintf(format, args...))
}

func (x *explainer) message() {
	s, p := x.s, x.p
	kind := "a person: what is wrong is refused"
	switch {
	case s.Account.Device && s.Account.Strict:
		kind = "a strict device: what is wrong is refused"
	case s.Account.Device:
		kind = "a device: what is wrong is ignored, with a warning"
	}
	x.line("Account", "%s (%s)", s.Account.Name, kind)
	from := "<>"
	if !s.From.IsZero() {
		from = s.From.String()
	}
	x.line("From", "%s, %d bytes", from, len(s.Raw))
	if p.Subject != "" {
		x.line("Subject", "%s", p.Subject)
	}
	lowered := ""
	if p.Lowered {
		lowered = ", lowered to what the account may"
	}
	x.line("Priority", "%s (%d), from: %s%s", p.Priority.Name(), p.Priority, p.Source, lowered)
	x.line("Stamp", "%s", x.stamp())
	x.line("Status", "%s", audience(p.Audience))
	if p.Dedup != "" {
		x.line("Dedup", "%q; the same key within %s is the same message", p.Dedup, FormatDuration(x.cfg.DedupWindow))
	}
	if p.Supersedes != "" {
		x.line("Recalls", "%s", p.Supersedes)
	}
}

func (x *explainer) stamp() string {
	fields := []string{"id, time, account, sequence number"} // the number always: a gap means something
	named := func(bit StampFields, text, value string) {
		switch {
		case x.p.Stamp&bit == 0:
		case value == "":
			fields = append(fields, text+" (none is named)")
		default:
			fields = append(fields, fmt.Sprintf("%s %q", text, value))
		}
	}
	named(StampDevice, "device", x.p.Device)
	named(StampLocation, "location", x.p.Location)
	if x.p.Stamp&StampClient != 0 {
		fields = append(fields, "client")
	}
	return strings.Join(fields, ", ")
}

func audience(a Audience) string {
	var who []string
	for _, one := range []struct {
		bit  Audience
		name string
	}{{ShowSender, "sender"}, {ShowRecipients, "recipients"}, {ShowAlternates, "alternates"}} {
		if a&one.bit != 0 {
			who = append(who, one.name)
		}
	}
	if who == nil {
		return "shown to nobody"
	}
	return "shown to " + strings.Join(who, ", ")
}

func (x *explainer) recipient(r *Recipient) {
	hidden := ""
	if r.Hidden {
		hidden = " (in no To or Cc: nobody else is told)"
	}
	x.printf("\nTo %s%s\n", r.Address, hidden)
	in := func(name, format string, args ...any) { x.line("  "+name, format, args...) }
	in("goal", "%s", r.Goal)
	for i, step := range r.Chain {
		in(fmt.Sprintf("step %d", i), "%s", x.step(i, step))
	}
	t := &r.Terms
	if !t.NotBefore.IsZero() {
		in("not before", "%s", x.cfg.show(t.NotBefore))
	}
	in("retry", "%s; %s", t.Retry, x.patience(t))
	if !t.Expires.IsZero() {
		in("expires", "%s, %s after acceptance", x.cfg.show(t.Expires), FormatDuration(t.Expires.Sub(x.s.At)))
	}
	for i, response := range t.Responses {
		name := "on failure"
		if i > 0 {
			name = ""
		}
		in(name, "%s", response)
	}
	if t.StandDown {
		in("stand down", "who has a copy is told once another has acknowledged")
	}
	in("reports", "%s", reports(r.Notify))
}

func (x *explainer) patience(t *Terms) string {
	text := "it has failed when still deferred after " + FormatDuration(t.Patience)
	if t.Responses.Retry() {
		text += ", or as the responses below say"
	}
	if t.Warn > 0 {
		text += ", and the sender is told after " + FormatDuration(t.Warn)
	}
	return text
}

// step says who is tried, sealed how, and when.
func (x *explainer) step(i int, s Step) string {
	who := make([]string, len(s.Addresses))
	for j, a := range s.Addresses {
		who[j] = a.String() + " " + x.sealing(a)
	}
	text := strings.Join(who, " and ")
	if i == 0 {
		return text
	}
	var when []string
	for _, on := range s.On {
		when = append(when, startsWhen(on, i-1, s.After))
	}
	return text + ", when " + strings.Join(when, ", or ")
}

func startsWhen(on Trigger, before int, after time.Duration) string {
	if on == OnFail {
		return fmt.Sprintf("all of step %d has failed", before)
	}
	what := map[Trigger]string{OnUnsent: "no server has taken", OnUndelivered: "nothing says that it arrived of",
		OnUnread: "nobody has read", OnUnacked: "nobody has acknowledged"}[on]
	return fmt.Sprintf("%s step %d within %s", what, before, FormatDuration(after))
}

// sealing says how mail to a leaves: the stronger of what is configured for its
// domain and what is asked for.
func (x *explainer) sealing(a Address) string {
	switch x.cfg.Security(a, x.p.Encrypt) {
	case Require:
		return "(sealed)"
	case Prefer:
		return "(sealed if there is a key, else in clear)"
	case Signed:
		return "(in clear, signed)"
	}
	return "(in clear)"
}

func reports(n Notify) string {
	if n == 0 {
		return "to the sender on failure and delay"
	}
	if n&NotifyNever != 0 {
		return "none to the sender"
	}
	var on []string
	for _, one := range []struct {
		bit  Notify
		name string
	}{{NotifySuccess, "success"}, {NotifyFailure, "failure"}, {NotifyDelay, "delay"}} {
		if n&one.bit != 0 {
			on = append(on, one.name)
		}
	}
	return "to the sender on " + strings.Join(on, ", ")
}
