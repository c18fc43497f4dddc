package routing

import (
	"time"
)

// reference is a second, independent account of a chain, by which Next and Plan are
// judged. It keeps no states: it keeps what is known of each delivery, and reads the
// state off that. Its times are minutes after t0.
type reference struct {
	goal    Goal
	on      [][]Trigger // by step
	after   int         // of every timed trigger
	expires int         // 0: never
	retry   int         // how long 5.1.1 is tried again
	hold    bool        // any=hold
	silent  bool        // any=notify: no alternate is asked for
	all     []fact
}

// fact is what is known of one delivery.
type fact struct {
	step                       int
	begun, due, taken          int // -1: not
	tries                      int
	sending, waiting, unsure   bool // unsure: the last try was lost after the dot
	relayed, arrived, read     bool
	acked, here, closed, timed bool   // timed: it is held because the time is up
	asked                      bool   // a person had it tried after it had ended
	over                       int    // when it ended
	end                        string // failed, expired, cancelled, unused or held
	alternate                  bool   // the failure asks for the alternate
}

const refWindow, refPatience, refRetry, refLease = 5 * 24 * 60, 60, 1, 10

func (f *fact) state() string {
	switch {
	case f.acked:
		return "acked"
	case f.read:
		return "read"
	case f.arrived:
		return "delivered"
	case f.relayed:
		return "relayed"
	case f.end != "":
		return f.end
	case f.sending:
		return "sending"
	case f.waiting:
		return "queued"
	}
	return "standby"
}

func (f *fact) is(states ...string) bool {
	for _, s := range states {
		if f.state() == s {
			return true
		}
	}
	return false
}

// idle reports whether its step may still begin. One that was not needed may be needed
// again, after a bounce that contradicts an earlier report.
func (f *fact) idle() bool { return f.begun < 0 && f.is("standby", "unused") }

func (f *fact) clear() {
	f.sending, f.waiting, f.relayed, f.arrived, f.end, f.timed = false, false, false, false, "", false
}

func (f *fact) wait(due int) {
	f.clear()
	f.waiting, f.due = true, due
}

func (m *reference) late(f *fact, now int) bool {
	return m.expires > 0 && now >= m.expires && f.begun < m.expires
}

func (m *reference) claim(f *fact, now int) bool {
	if !f.is("queued") || now < f.due || m.late(f, now) {
		return false
	}
	f.clear()
	f.sending, f.due = true, now+refLease
	f.tries++
	return true
}

func (m *reference) giveUp(f *fact, alternate bool, now int) {
	f.clear()
	f.end, f.alternate, f.over = "failed", alternate, now
	if m.hold {
		f.end = "held"
	}
}

// fail takes in a permanent failure with status 5.1.1.
func (m *reference) fail(f *fact, now int) {
	if end := f.begun + m.retry; m.retry > 0 && now < end {
		f.wait(min(now+refRetry, end))
		return
	}
	m.giveUp(f, !m.silent || m.retry > 0, now)
}

func (m *reference) outcome(f *fact, try int, v Verdict, now int) {
	taken := v == Sent || v == Stored
	if try != f.tries || try == 0 || !f.is("sending") && !(taken && f.is("queued", "cancelled", "unused", "expired")) {
		return
	}
	f.unsure = v == Unknown
	switch v {
	case Sent, Stored:
		f.closed = f.closed && !f.is("expired")
		f.clear()
		f.relayed, f.arrived, f.here, f.taken = true, v == Stored, v == Stored, now
	case Deferred, Unknown:
		if end := f.begun + refPatience; now < end {
			f.wait(min(now+refRetry, end))
		} else {
			m.giveUp(f, !m.silent, now)
		}
	case Refused:
		m.fail(f, now)
	case NoKey:
		m.giveUp(f, !m.silent, now)
	case Misconfigured:
		f.clear()
		f.end = "held"
	}
}

func (m *reference) bounce(f *fact, try, now int) {
	lost := f.is("queued") && f.unsure
	if try != f.tries || try == 0 || f.closed || !f.is("relayed", "sending") && !(f.is("delivered") && !f.here) && !lost {
		return
	}
	if f.taken < 0 {
		f.taken = now
	}
	f.unsure = false
	m.fail(f, now)
}

func (m *reference) report(f *fact, k EventKind, try int) {
	switch {
	case k == EventConfirmed && f.is("relayed") && try == f.tries:
		f.arrived = true
	case k == EventReceipt && f.is("relayed", "delivered"):
		f.read = true
	case k == EventAcknowledged && f.is("relayed", "delivered", "read"):
		f.acked = true
	}
}

func (m *reference) steer(f *fact, k EventKind, now int) {
	switch {
	case k == EventCancel && f.is("standby", "held", "queued", "sending"):
		f.clear()
		f.end = "cancelled"
	case k == EventCancel && f.relayed:
		for i := range m.all {
			if m.all[i].is("standby") {
				m.all[i].end = "cancelled"
			}
		}
	case k == EventHold && f.is("queued"):
		f.clear()
		f.end = "held"
	case k == EventRelease && f.is("held", "queued", "failed", "expired"):
		if !f.waiting {
			f.begun = now
		}
		if f.is("failed", "expired") {
			f.asked, f.closed = true, false
		}
		f.wait(now)
	}
}

// turn takes back what lost workers had.
func (m *reference) turn(now int) {
	for i := range m.all {
		if f := &m.all[i]; f.is("sending") && now >= f.due {
			f.wait(now)
			f.unsure = true
		}
	}
}

// done reports whether somebody of step n, or of any if n is -1, has reached the goal.
func (m *reference) done(n int) bool {
	for _, f := range m.all {
		met := [...]bool{f.arrived || f.read || f.acked, f.read || f.acked, f.acked}[m.goal]
		if met && (n < 0 || f.step == n) {
			return true
		}
	}
	return false
}

func (m *reference) has(states ...string) bool {
	for i := range m.all {
		if m.all[i].is(states...) {
			return true
		}
	}
	return false
}

// next is the step that comes next, and when it is to start: -1 for now, -2 for never.
func (m *reference) next() (n, at int) {
	for i := range m.all {
		if m.all[i].begun >= 0 {
			n = max(n, m.all[i].step)
		}
	}
	failed, wanted, first := true, false, -1
	for i := range m.all {
		if f := &m.all[i]; f.step == n {
			failed = failed && f.is("failed")
			wanted = wanted || f.alternate
			if first < 0 || f.begun < first {
				first = f.begun
			}
		}
	}
	n++
	ready := false
	for i := range m.all {
		ready = ready || m.all[i].step == n && m.all[i].idle()
	}
	if !ready || m.has("cancelled") {
		return n, -2
	}
	at = -2
	for _, on := range m.on[n] {
		missing := on != OnFail
		for _, f := range m.all {
			reached := map[Trigger]bool{OnUnsent: f.taken >= 0 && f.taken <= first+m.after, OnUndelivered: f.arrived || f.read || f.acked,
				OnUnread: f.read || f.acked, OnUnacked: f.acked}[on]
			missing = missing && !(f.step == n-1 && reached)
		}
		if on == OnFail && failed && wanted {
			return n, -1
		}
		if missing {
			at = first + m.after
		}
	}
	return n, at
}

func (m *reference) open() bool {
	if m.done(-1) {
		return false
	}
	for i := range m.all {
		if f := &m.all[i]; f.is("queued", "sending", "held") || f.relayed && !f.acked && !f.closed || f.acked {
			return true
		}
	}
	_, at := m.next()
	return at != -2
}

// fate is how the chain stands as a whole.
func (m *reference) fate() Fate {
	switch {
	case m.done(-1):
		return Satisfied
	case m.open():
		return Open
	case m.has("relayed") && m.goal == GoalDelivered:
		return Satisfied
	case m.has("expired"):
		return FateExpired
	case m.has("cancelled"):
		return FateCancelled
	}
	return Exhausted
}

// settle does all that follows.
func (m *reference) settle(now int) {
	for m.timeUp(now) || m.begin(now) || m.spare() {
	}
}

// timeUp ends all at once what the clock ends.
func (m *reference) timeUp(now int) (changed bool) {
	open, fate := m.open(), m.fate()
	for i := range m.all {
		f := &m.all[i]
		if f.is("failed", "expired") && !f.closed && (fate == Satisfied || fate == FateCancelled || fate != Open && now >= f.over+refWindow) {
			f.closed, changed = true, true
		}
		if f.relayed && !f.acked && !f.closed && (now >= f.taken+refWindow || f.here && !open) {
			f.closed, changed = true, true
		}
		if m.late(f, now) && (f.is("standby", "queued") || open && f.idle() || f.is("held") && !f.timed) {
			begun := !f.idle()
			f.clear()
			f.end, f.over = "expired", now
			if m.hold && begun {
				f.end, f.timed = "held", true
			}
			changed = true
		}
	}
	return changed
}

// begin starts the next step of a chain that is open, where its time has come.
func (m *reference) begin(now int) bool {
	if n, at := m.next(); m.open() && at != -2 && now >= at {
		for i := range m.all {
			if f := &m.all[i]; f.step == n && f.idle() {
				f.begun = now
				f.wait(now)
			}
		}
		return true
	}
	return false
}

// spare takes out what nobody needs any more.
func (m *reference) spare() bool {
	for i := range m.all {
		if f := &m.all[i]; !m.open() && (f.is("standby") || f.is("queued", "held") && !m.done(f.step) && !f.asked) {
			f.clear()
			f.end = "unused"
			return true
		}
	}
	return false
}

// minutes is a time of the reference.
func minutes(t time.Time) int {
	if t.IsZero() {
		return -1
	}
	return int(t.Sub(t0) / time.Minute)
}
