package routing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// keyPending is an error of keyring: a changed key waits for a person.
type keyPending string

func (e keyPending) Error() string      { return string(e) }
func (e keyPending) KeyPending() string { return string(e) }

// locks is a keyring whose answer is known by domain; others have a key.
type locks struct {
	*memory
	faults map[string]error
}

func (l locks) Certs(ctx context.Context, a Address) ([][]byte, error) {
	if err := l.faults[a.ASCIIDomain()]; err != nil {
		if _, none := err.(noKey); none {
			return nil, nil
		}
		return nil, err
	}
	return l.memory.Certs(ctx, a)
}

func (l locks) Ready(_ context.Context, a Address) error { return l.faults[a.ASCIIDomain()] }

// faults are the answers of the keyring in the tests below.
func faults() map[string]error {
	return map[string]error{
		"none.test":    noKey("no key is on file"),
		"changed.test": keyPending("another key waits to be confirmed"),
		"unknown.test": keyUnknown("the directory does not answer"),
		"broken.test":  errors.New("out of order"),
	}
}

// TestLevels goes through how a copy leaves: by its domain's level, what the sender asked
// for, and what is known of its key.
func TestLevels(t *testing.T) {
	for _, test := range []struct {
		domain Security
		asked  string // Postern-Encrypt
		to     string
		want   string // the state, or how it left
	}{
		{Require, "", "ok.test", "sealed"},
		{Require, "", "none.test", "failed"},
		{Require, "", "changed.test", "held"},
		{Require, "", "unknown.test", "queued"},
		{Require, "", "broken.test", "queued"},
		{Prefer, "", "ok.test", "sealed"},
		{Prefer, "", "none.test", "clear"},
		{Prefer, "sign", "none.test", "signed"},
		{Prefer, "require", "none.test", "failed"},
		{Prefer, "", "changed.test", "held"},
		{Prefer, "", "unknown.test", "queued"},
		{Prefer, "", "broken.test", "queued"},
		{Signed, "", "ok.test", "signed"},
		{Signed, "require", "none.test", "failed"},
		{Plain, "", "ok.test", "clear"},
		{Plain, "sign", "ok.test", "signed"},
		{Plain, "require", "ok.test", "sealed"},
		{Plain, "require", "changed.test", "held"},
	} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprint(test.domain, " ", test.asked, " ", test.to, " later:", later), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { leaves(t, test.domain, test.asked, test.to, later, test.want) })
			})
		}
	}
}

// leaves submits a message, and compares how it left. Later says that it is read back
// before it is sent.
func leaves(t *testing.T, domain Security, asked, to string, later bool, want string) {
	g := newGateway(t)
	g.later = later
	g.runner.Config.Domains = map[string]Security{"*": domain, "gw.test": Require}
	g.runner.Keys = locks{g.memory, faults()}
	g.run(t)
	raw := "Subject: Hello\n\nCanary\n"
	if asked != "" {
		raw = "Postern-Encrypt: " + asked + "\n" + raw
	}
	g.submit(t, "alice@gw.test", raw, "x@"+to)
	synctest.Wait()
	got := strings.Fields(g.states())[1]
	for _, p := range g.hop.parcels {
		switch {
		case strings.Contains(p.raw, "sealed for"):
			got = "sealed"
		case strings.Contains(p.raw, "multipart/signed"):
			got = "signed"
		case strings.Contains(p.raw, "Canary"):
			got = "clear"
		}
	}
	if got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
	if want == "held" || want == "failed" || want == "queued" {
		for _, p := range g.hop.parcels {
			if strings.Contains(p.raw, "Canary") {
				t.Errorf("the content left:\n%s", p.raw)
			}
		}
	}
}

// keyUnknown is an error as a keyring has it that cannot ask.
type keyUnknown string

func (k keyUnknown) Error() string      { return string(k) }
func (k keyUnknown) KeyUnknown() string { return string(k) }

// TestWhyItWaits: what waits for a key says so, and for an answer that it is one; a fault of
// our own says nothing.
func TestWhyItWaits(t *testing.T) {
	for domain, want := range map[string]string{
		"changed.test": "4.7.5 key another key waits to be confirmed",
		"unknown.test": "4.7.5 key whether there is a key is not known yet: the directory does not answer",
		"broken.test":  "4.3.0 local the gateway could not prepare the copy; it will try again",
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t)
			g.runner.Keys = locks{g.memory, faults()}
			g.run(t)
			g.submit(t, "alice@gw.test", "Subject: Hello\n\nCanary\n", "x@"+domain)
			synctest.Wait()
			last := g.deliveries[0].Last
			if got := fmt.Sprint(last.Status, " ", last.Phase, " ", last.Text); got != want {
				t.Errorf("%s: %s, want %s", domain, got, want)
			}
		})
	}
}

// TestRefuseKeyless: where the configuration says so, what cannot be sealed for anybody in
// a chain is refused before it is taken.
func TestRefuseKeyless(t *testing.T) {
	for _, test := range []struct {
		name    string
		keyless map[string]bool
		domains map[string]Security
		header  string
		to      []string
		status  string // "" for taken
	}{
		{"taken by default", nil, nil, "", []string{"x@none.test"}, ""},
		{"a key", map[string]bool{"*": true}, nil, "", []string{"x@ok.test"}, ""},
		{"no key", map[string]bool{"*": true}, nil, "", []string{"x@none.test"}, "5.7.5"},
		{"one of two", map[string]bool{"*": true}, nil, "", []string{"x@ok.test", "x@none.test"}, "5.7.5"},
		{"another domain's rule", map[string]bool{"*": true, "none.test": false}, nil, "", []string{"x@none.test"}, ""},
		{"not known yet", map[string]bool{"*": true}, nil, "", []string{"x@unknown.test"}, "4.7.5"},
		{"a changed key", map[string]bool{"*": true}, nil, "", []string{"x@changed.test"}, "5.7.5"},
		{"an alternate with a key", map[string]bool{"*": true}, nil, "Postern-Alternate: y@ok.test\n", []string{"x@none.test"}, ""},
		{"an alternate without", map[string]bool{"*": true}, nil, "Postern-Alternate: y@none.test\n", []string{"x@none.test"}, "5.7.5"},
		{"an alternate not known yet", map[string]bool{"*": true}, nil, "Postern-Alternate: y@unknown.test\n", []string{"x@none.test"}, "4.7.5"},
		{"needs no key", map[string]bool{"*": true}, map[string]Security{"*": Signed}, "", []string{"x@none.test"}, ""},
		{"needs one because it was asked", map[string]bool{"*": true}, map[string]Security{"*": Signed}, "Postern-Encrypt: require\n", []string{"x@none.test"}, "5.7.5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGateway(t)
			g.gate.Config.Keyless = test.keyless
			if test.domains != nil {
				g.gate.Config.Domains = test.domains
			}
			g.gate.Keys = locks{g.memory, faults()}
			s := &Submission{Account: Account{Name: "alice", MaxPriority: 9, Addresses: []Address{mustAddress(t, "alice@gw.test")}},
				Client: Client{Addr: netip.MustParseAddr("192.0.2.7"), Auth: true}, From: mustAddress(t, "alice@gw.test"),
				Raw: []byte(strings.ReplaceAll(test.header+"Subject: Hello\n\nCanary\n", "\n", "\r\n")), At: g.gate.Now()}
			for _, to := range test.to {
				s.To = append(s.To, Envelope{Address: mustAddress(t, to)})
			}
			_, err := g.gate.Submit(t.Context(), s)
			var refusal *Refusal
			switch {
			case test.status == "" && err != nil, test.status != "" && !errors.As(err, &refusal):
				t.Fatalf("%v, want %q", err, test.status)
			case test.status == "":
				return
			case refusal.Status != test.status || refusal.Code/100 != int(test.status[0]-'0'):
				t.Errorf("%d %s %s, want %s", refusal.Code, refusal.Status, refusal.Text, test.status)
			}
			if len(g.messages) > 0 || len(g.voids) > 0 {
				t.Errorf("%d messages were taken, the numbers %d drawn", len(g.messages), g.voids)
			}
		})
	}
}

// TestAccountLevel: an account can be held to more than its messages ask for, never to less.
func TestAccountLevel(t *testing.T) {
	for _, test := range []struct {
		account Security
		asked   string
		want    Security
	}{{"", "", ""}, {Require, "", Require}, {Signed, "", Signed}, {Signed, "require", Require}, {Require, "sign", Require}} {
		g := newGateway(t)
		g.gate.Config.Accounts = map[string]Security{"alice": test.account, "bob": Require}
		raw := "Subject: Hello\n\nCanary\n"
		if test.asked != "" {
			raw = "Postern-Encrypt: " + test.asked + "\n" + raw
		}
		g.submit(t, "alice@gw.test", raw, "x@ok.test")
		if got := g.recipients[0].Terms.Encrypt; got != test.want {
			t.Errorf("account %q, asked %q: %q, want %q", test.account, test.asked, got, test.want)
		}
	}
}

// notes is a sealer that notes who is to read.
type notes struct {
	seals
	readers *[]string
}

func (n notes) Seal(id string, readers [][][]byte, content ...[]byte) (data, wrapped []byte, err error) {
	for _, certs := range readers {
		*n.readers = append(*n.readers, string(slices.Concat(certs...)))
	}
	return n.seals.Seal(id, nil, content...)
}

// TestReaders: what a message is sealed in is decided by the keys of all whom it may be
// sealed for, alternates and the sender's own copy included, and of nobody else.
func TestReaders(t *testing.T) {
	const letter = "From: alice@gw.test\nSubject: hello\n\nhello\n"
	for _, test := range []struct {
		name, raw string
		to        []string
		self      bool
		want      string
		clear     bool // a copy may leave in clear
	}{
		{"one", letter, []string{"x@ok.test"}, false, "ok.test", false},
		{"two", letter, []string{"x@ok.test", "y@dsn.test"}, false, "ok.test, dsn.test", false},
		{"without a key", letter, []string{"x@none.test"}, false, "", false},
		{"alternates", "Postern-Alternates: z@bounce.test, w@none.test\n" + letter, []string{"x@ok.test"}, false, "ok.test, bounce.test, ", false},
		{"in clear", letter, []string{"x@clear.test"}, false, "nobody", true},
		{"signed", letter, []string{"x@signed.test", "x@ok.test"}, false, "ok.test", true},
		{"the sender", letter, []string{"x@ok.test"}, true, "ok.test, gw.test", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				var readers []string
				g.gate.Sealer, g.gate.Filed, g.gate.Own = notes{readers: &readers}, g.memory, g.memory
				g.gate.Config.ToSelf = map[string]bool{"alice": test.self}
				g.gate.Config.Domains = map[string]Security{"clear.test": Plain, "signed.test": Signed}
				g.submit(t, "alice@gw.test", test.raw, test.to...)
				got := strings.Join(readers, ", ")
				if len(readers) == 0 {
					got = "nobody"
				}
				if got != test.want {
					t.Errorf("sealed for %q, want %q", got, test.want)
				}
				for _, m := range g.messages {
					if kept := m.Content != nil; kept != test.clear {
						t.Errorf("its content is kept in memory: %v, want %v", kept, test.clear)
					}
				}
			})
		})
	}
}
