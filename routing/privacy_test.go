package routing

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/quotedprintable"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// party is somebody in the world of the privacy test. Two words name him, one in the
// local part and one in the domain, and occur nowhere else.
type party struct {
	address Address
	words   [2]string
}

// privacyWorld is one random message with all who have to do with it.
type privacyWorld struct {
	t          *rapid.T
	g          *gateway
	log        bytes.Buffer
	now        time.Time
	sender     party
	parties    []party // all but the sender
	recipients []party
	visible    map[string]bool  // by key: named in To or Cc
	third      map[string]party // by key: who is notified of a recipient's failure
	fate       map[string]int   // by key: how its server behaves
	fields     []string
}

// someone makes a party, here or elsewhere, in ASCII or not.
func (w *privacyWorld) someone(name string) party {
	n := len(w.parties)
	words := [2]string{fmt.Sprintf("zqloc%cal%c", 'a'+n%26, 'a'+n/26), fmt.Sprintf("zqdom%cain%c", 'a'+n%26, 'a'+n/26)}
	form := rapid.SampledFrom([]string{"%s@%s.test", "%s@%s.test", "jö%s@bü%s.test", "%s@bü%s.test", `"a %s"@%s.test`, "local"}).Draw(w.t, name)
	p := party{words: words}
	if form == "local" {
		p.address = Address{Local: words[0], Domain: "gw.test"}
		p.words[1] = words[0] // the domain is everybody's
		w.g.owners[p.address.Key()] = words[0]
	} else {
		a, err := ParseAddress(fmt.Sprintf(form, words[0], words[1]))
		if err != nil {
			w.t.Fatalf("%s: %v", form, err)
		}
		p.address = a
		w.g.certs[a.ASCIIDomain()] = [][]byte{[]byte("the key of the reader")}
	}
	w.fate[p.address.Key()] = rapid.IntRange(0, 7).Draw(w.t, name+"'s server")
	w.parties = append(w.parties, p)
	return p
}

// shown writes an address in one of the ways in which mail programs do.
func (w *privacyWorld) shown(p party) string {
	a := p.address.String()
	switch rapid.IntRange(0, 4).Draw(w.t, "written as") {
	case 0:
		return "<" + a + ">"
	case 1:
		return `"Name, Some" <` + a + ">"
	case 2:
		return "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte("Ä "+a)) + "?= <" + a + ">"
	case 3:
		return "(a comment)\r\n <" + a + ">"
	}
	return a
}

// add writes a field, with its name in any case, and folded often.
func (w *privacyWorld) add(name, value string) {
	switch rapid.IntRange(0, 3).Draw(w.t, "field") {
	case 0:
		name = strings.ToUpper(name)
	case 1:
		name = strings.ToLower(name)
	case 2:
		value = strings.ReplaceAll(value, "; ", ";\r\n\t")
	}
	w.fields = append(w.fields, name+": "+value)
}

func newPrivacyWorld(t *testing.T, rt *rapid.T) *privacyWorld {
	w := &privacyWorld{t: rt, g: newGateway(t), now: t0, visible: map[string]bool{}, third: map[string]party{}, fate: map[string]int{}}
	g, clock := w.g, func() time.Time { return w.now }
	log := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	g.memory.now, g.gate.Now, g.runner.Now, g.reports.Now = clock, clock, clock, clock
	g.gate.Log, g.runner.Log, g.reports.Log = log, log, log
	g.gate.Config.NeutralSubj = rapid.SampledFrom([]string{"", "..."}).Draw(rt, "neutral subject")
	g.gate.Config.StandDown = rapid.Bool().Draw(rt, "stand down")
	g.hop.answer = w.answer
	g.runner.Queue, g.runner.Keys = &forgetful{memory: g.memory}, lostKeys{g.memory, w}
	w.sender = w.someone("sender")
	w.parties = nil
	w.parties = append(w.parties, w.sender)
	return w
}

// forgetful is a store that fails now and then: what is logged then is looked at too.
type forgetful struct {
	*memory
	calls int
}

func (f *forgetful) Apply(ctx context.Context, id DeliveryID, e Event) ([]Record, error) {
	// What was sent is not forgotten: a report of it would wait for its outcome.
	if f.calls++; f.calls%7 == 0 && e.Outcome.Verdict != Sent {
		return nil, errors.New("the disk is on fire")
	}
	return f.memory.Apply(ctx, id, e)
}

// lostKeys cannot look up the keys of some.
type lostKeys struct {
	Keys
	w *privacyWorld
}

func (l lostKeys) Certs(ctx context.Context, a Address) ([][]byte, error) {
	if l.w.fate[a.Key()] == 7 && a.Key() != l.w.sender.address.Key() {
		return nil, errors.New("the directory does not answer")
	}
	return l.Keys.Certs(ctx, a)
}

// answer is how the world's servers take a copy: many say the address they refuse.
func (w *privacyWorld) answer(p *Parcel) Outcome {
	to := p.To[0].Address
	o := Outcome{Verdict: Sent, Code: 250, Remote: to.ASCIIDomain() + "[192.0.2.1]:25", Text: "queued for " + to.String(), DSN: w.fate[to.Key()] == 2}
	switch w.fate[to.Key()] {
	case 0:
		o.Verdict, o.Code, o.Text = Refused, 550, "<"+to.String()+">: no such user here"
	case 1:
		o.Verdict, o.Code, o.Text = Deferred, 451, to.ASCIIDomain()+" is busy"
	case 6:
		o.Verdict, o.Code, o.Text = Misconfigured, 535, "who are you, writing to "+to.String()+"?"
	}
	return o
}

// write makes up a message.
func (w *privacyWorld) write() (*Submission, bool) {
	rt := w.t
	s := &Submission{Account: Account{Name: "alice", MaxPriority: 9, Addresses: []Address{w.sender.address}}, From: w.sender.address, At: w.now, UTF8: true,
		EnvID: rapid.SampledFrom([]string{"", "QQ31"}).Draw(rt, "envid"), Ret: rapid.SampledFrom([]string{"", "FULL", "HDRS"}).Draw(rt, "ret")}
	var to []string
	for i := range rapid.IntRange(1, 3).Draw(rt, "recipients") {
		p := w.someone("recipient")
		w.recipients = append(w.recipients, p)
		e := Envelope{Address: p.address, Notify: rapid.SampledFrom([]Notify{0, NotifySuccess | NotifyFailure | NotifyDelay, NotifyNever}).Draw(rt, "notify")}
		if rapid.Bool().Draw(rt, "orcpt") && !p.address.NeedsUTF8() && !strings.Contains(p.address.Local, " ") {
			e.ORCPT = "rfc822;" + p.address.String()
		}
		if i == 0 && !strings.HasPrefix(p.address.Local, `"`) && rapid.Bool().Draw(rt, "tag") {
			e.Address.Local += "+p-urgent-ack10m"
		}
		s.To = append(s.To, e)
		if rapid.Bool().Draw(rt, "visible") {
			w.visible[p.address.Key()] = true
			to = append(to, w.shown(p))
		} else if rapid.Bool().Draw(rt, "in Bcc") {
			w.add(rapid.SampledFrom([]string{"Bcc", "Bcc ", "Resent-Bcc", "X-Envelope-To", "Apparently-To"}).Draw(rt, "blind"), w.shown(p))
		}
	}
	if to != nil {
		w.add(rapid.SampledFrom([]string{"To", "Cc"}).Draw(rt, "to"), strings.Join(to, ",\r\n "))
	}
	for range rapid.IntRange(0, 3).Draw(rt, "alternates") {
		p := w.someone("alternate")
		params := rapid.SampledFrom([]string{"", "; on=unsent; after=5m", "; on=unread,fail; after=10m", "; on=unacked; after=10m; step=1", "; step=2"}).Draw(rt, "params")
		if rapid.Bool().Draw(rt, "for") {
			params += "; for=" + w.recipients[0].address.String()
		}
		w.add("Postern-Alternate", w.shown(p)+params)
	}
	if rapid.Bool().Draw(rt, "shorthand") {
		w.add("Postern-Alternates", w.shown(w.someone("alternate"))+",\r\n "+w.shown(w.someone("alternate")))
	}
	if rapid.Bool().Draw(rt, "telling parameters") {
		// What a client writes into the envelope can name anybody.
		told := rapid.SampledFrom(w.parties).Draw(rt, "named in ENVID").address
		s.EnvID = "id=" + strings.ToUpper(told.String())
		if told = rapid.SampledFrom(w.parties).Draw(rt, "named in ORCPT").address; !told.NeedsUTF8() {
			s.To[0].ORCPT = "rfc822;" + strings.ReplaceAll(strings.ReplaceAll(told.String(), "@", "+40"), " ", "+20")
		}
	}
	if rapid.Bool().Draw(rt, "policy") {
		w.g.gate.Config.Policies = map[string]Named{"night": {Alternates: []Alternate{{Address: w.someone("of the policy").address}}, StandDown: true}}
		w.add("Postern-Policy", "night")
	}
	if rapid.Bool().Draw(rt, "responses") {
		p := w.someone("third party")
		w.third[p.address.Key()] = p
		w.add("Postern-On-Failure", "any=alternate,"+rapid.SampledFrom([]string{"notify", "return"}).Draw(rt, "response")+",notify("+p.address.String()+")")
	}
	if rapid.Bool().Draw(rt, "goal") {
		w.add("Postern-Goal", rapid.SampledFrom([]string{"read", "acked"}).Draw(rt, "which"))
	}
	w.fields = append(w.fields, "From: "+w.sender.address.String(), "Subject: A subject", "Disposition-Notification-To: "+w.sender.address.String(),
		"Message-ID: <orig@gw.test>", "X-Long: "+strings.Repeat("word ", 150), "Content-Type: text/plain; charset=utf-8")
	s.Raw = []byte(strings.Join(w.fields, "\r\n") + "\r\n\r\nThe body.\r\n")
	if _, err := w.g.gate.Submit(context.Background(), s); err != nil {
		// Chains that contradict each other are refused: that is not what is looked at.
		if _, refused := err.(*Refusal); !refused {
			rt.Fatalf("submit: %v\n%s", err, s.Raw)
		}
		return s, false
	}
	return s, true
}

// play lets some hours pass, in which servers report and people answer.
func (w *privacyWorld) play() {
	ctx := context.Background()
	for range 12 {
		for range 5 {
			jobs, err := w.g.Claim(ctx, 50, MinPriority, w.now.Add(time.Hour))
			if err != nil {
				w.t.Fatal(err)
			}
			for _, job := range jobs {
				w.g.runner.attempt(ctx, job, time.Hour)
			}
			if err := w.g.runner.writeNotices(ctx); err != nil {
				w.t.Fatal(err)
			}
			if _, _, err := w.g.Tick(ctx, 100); err != nil {
				w.t.Fatal(err)
			}
		}
		for _, p := range w.g.hop.parcels {
			w.report(p)
		}
		w.now = w.now.Add(20 * time.Minute)
	}
}

// report is what comes back for a copy.
func (w *privacyWorld) report(p sentParcel) {
	local, _, _ := strings.Cut(p.from, "@")
	tok, err := w.g.gate.Tokens.Parse(local)
	if err != nil {
		return
	}
	to := p.target.Address
	raw := ""
	switch w.fate[to.Key()] {
	case 2:
		raw = strings.Replace(statusReport("failed", "5.1.1", to.String()), "Status:", "Diagnostic-Code: smtp; 550 <"+to.String()+"> unknown\r\nStatus:", 1)
	case 3:
		raw = receiptOf("displayed")
	case 4:
		_, reply, found := strings.Cut(p.raw, "Reply-To: <"+string(TokenReply))
		if !found {
			return
		}
		answered, _, _ := strings.Cut(reply, "@")
		if tok, err = w.g.gate.Tokens.Parse(string(TokenReply) + answered); err != nil {
			w.t.Fatal(err)
		}
		raw = "From: " + to.String() + "\r\nSubject: Re: A subject\r\n\r\nSeen.\r\n"
	default:
		return
	}
	if err := w.g.reports.Receive(context.Background(), tok, to, []byte(raw)); err != nil {
		w.t.Fatalf("receive: %v", err)
	}
}

// check looks for everybody in every byte that left for anybody.
func (w *privacyWorld) check(s *Submission) {
	for _, p := range w.g.hop.parcels {
		seen := strings.Join([]string{p.raw, p.from, p.envID, p.target.ORCPT}, "\r\n")
		w.search("a copy for "+p.to, seen, p.target.Address, s)
	}
	for account, box := range w.g.boxes {
		for _, d := range box {
			raw, err := seals{}.Unwrap(SealedMail+account, d.Sealed)
			if err != nil {
				w.t.Fatal(err)
			}
			w.search("mail here for "+account, string(raw), Address{Local: account, Domain: "gw.test"}, s)
		}
	}
	for _, p := range w.parties {
		if form := named(w.log.String(), p); form != "" {
			w.t.Fatalf("the log names %s, %s:\n%s", p.address, form, w.log.String())
		}
	}
}

// search looks in what one reader gets for everybody whom he must not be told of.
func (w *privacyWorld) search(what, seen string, reader Address, s *Submission) {
	if reader.Key() == w.sender.address.Key() {
		return // the sender may know everything
	}
	_, third := w.third[reader.Key()]
	for _, p := range w.parties {
		key := p.address.Key()
		switch {
		case key == reader.Key(), key == w.sender.address.Key(), w.visible[key]:
			continue
		case third && w.isRecipient(key):
			continue // he is told of the recipient that the message did not reach
		}
		if form := named(seen, p); form != "" {
			w.t.Fatalf("%s names %s, %s:\n%s\n--- of\n%s", what, p.address, form, seen, s.Raw)
		}
	}
}

func (w *privacyWorld) isRecipient(key string) bool {
	for _, p := range w.recipients {
		if p.address.Key() == key {
			return true
		}
	}
	return false
}

// named returns the form in which a party is named in a text, "" for none: as it is, in
// any case, folded, in base64 at each alignment, in quoted-printable. The ASCII words
// are the same in punycode, xtext and encoded words.
func named(seen string, p party) string {
	seen += "\n" + decodeXtext(seen)
	joined := strings.NewReplacer("\r\n", "", "\t", "", " ", "").Replace(seen)
	decoded, _ := io.ReadAll(quotedprintable.NewReader(strings.NewReader(strings.ReplaceAll(seen, "_", " "))))
	lower := []string{strings.ToLower(seen), strings.ToLower(joined), strings.ToLower(string(decoded))}
	for _, word := range p.words {
		for i, form := range []string{"plain", "folded", "quoted-printable"} {
			if strings.Contains(lower[i], word) {
				return form
			}
		}
		for _, cased := range []string{word, strings.ToUpper(word)} {
			for shift := range 3 {
				encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + cased))
				// The first and last characters also hold bits of what is beside the word.
				core := encoded[(shift*8+5)/6 : len(encoded)-1]
				if strings.Contains(joined, core) {
					return "base64"
				}
			}
		}
	}
	return ""
}

// No copy, notice, envelope parameter or log line tells an alternate's or a Bcc's
// address to anyone else, whatever was written and whatever came of it.
func TestPrivacy(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newPrivacyWorld(t, rt)
		s, taken := w.write()
		if !taken {
			return
		}
		w.play()
		w.check(s)
	})
}

// The search finds what it looks for.
func TestPrivacySearchFinds(t *testing.T) {
	p := party{words: [2]string{"zqlocaalb", "zqdomaainb"}}
	for form, text := range map[string]string{
		"plain": "x ZQLOCAALB@y", "folded": "zqlo\r\n caalb", "quoted-printable": "z=71loc=\r\naalb",
		"base64": "aa" + base64.StdEncoding.EncodeToString([]byte("ab<zqdomaainb@x.test>")),
	} {
		if got := named(text, p); got != form {
			t.Errorf("%q is found %q, want %s", text, got, form)
		}
	}
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + "zqlocaalb and more"))
		if named(text, p) != "base64" {
			t.Errorf("not found at alignment %d", shift)
		}
	}
	if got := named("nothing of the kind", p); got != "" {
		t.Errorf("found %s", got)
	}
}
