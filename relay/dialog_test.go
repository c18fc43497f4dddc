package relay

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postern/internal/mailtest"
	"postern/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a DNS, and servers that each follow a script for their next connection.
type world struct {
	t      *testing.T
	mx     map[string][]*net.MX
	hosts  map[string][]netip.Addr
	errs   map[string]error
	config *tls.Config
	pool   *x509.CertPool

	scripts map[string][]*mailtest.Script // by "address:port"
	dialled []string
	visits  []*conversation
}

// conversation is one connection to a server. Its fields are set when done is closed.
type conversation struct {
	played *mailtest.Played
	fault  error
	done   chan struct{}
}

// newWorld makes a world in which every domain's mail goes to mx.test at
// 192.0.2.1.
func newWorld(t *testing.T) *world {
	t.Helper()
	cert, pool, err := mailtest.Certificate(time.Now(), rand.Reader, "mx.test")
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t:       t,
		mx:      map[string][]*net.MX{"*": {{Host: "mx.test.", Pref: 10}}},
		hosts:   map[string][]netip.Addr{"mx.test": {netip.MustParseAddr("192.0.2.1")}},
		errs:    map[string]error{},
		scripts: map[string][]*mailtest.Script{},
		config:  &tls.Config{Certificates: []tls.Certificate{cert}},
		pool:    pool,
	}
}

func (w *world) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	if err := w.errs[name]; err != nil {
		return nil, err
	}
	if mx, ok := w.mx[name]; ok {
		return mx, nil
	}
	if mx, ok := w.mx["*"]; ok {
		return mx, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if err := w.errs[host]; err != nil {
		return nil, err
	}
	if a, ok := w.hosts[host]; ok {
		return a, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (w *world) dial(_ context.Context, _, address string) (net.Conn, error) {
	w.dialled = append(w.dialled, address)
	queue := w.scripts[address]
	if len(queue) == 0 {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	w.scripts[address] = queue[1:]
	client, server := mailtest.Pipe()
	v := &conversation{done: make(chan struct{})}
	w.visits = append(w.visits, v)
	go func() {
		defer close(v.done)
		v.played, v.fault = queue[0].Play(context.Background(), server, w.config)
	}()
	return client, nil
}

// wait waits until every server has played its script, and returns what the client
// did wrong.
func (w *world) wait() error {
	var all error
	for _, v := range w.visits {
		<-v.done
		all = errors.Join(all, v.fault)
	}
	return all
}

func (w *world) client() *Client {
	return &Client{Hostname: "gw.test", Resolver: w, Dial: w.dial, TLSConfig: &tls.Config{RootCAs: w.pool}}
}

// script parses the lines of a script.
func script(t *testing.T, lines ...string) *mailtest.Script {
	t.Helper()
	s, err := mailtest.ParseScript(t.Name(), []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func address(s string) routing.Address {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return routing.Address{}
	}
	return routing.Address{Local: s[:at], Domain: s[at+1:]}
}

func parcel(from, content string, to ...string) *routing.Parcel {
	p := &routing.Parcel{From: address(from), Body: strings.NewReader(content), Size: int64(len(content))}
	for _, a := range to {
		p.To = append(p.To, routing.Target{Address: address(a)})
	}
	return p
}

// summary writes an outcome as the dialogs and the golden table have it.
func summary(o routing.Outcome) string {
	s := fmt.Sprintf("%s %d %s %s", o.Verdict, o.Code, o.Status, o.Phase)
	if o.TLS != "" {
		s += " " + o.TLS
	}
	if o.DSN {
		s += " dsn"
	}
	return s
}

// TestDialogs plays testdata/*.dialog. The notes of each say what is sent and what
// must come of it:
//
//	! to ADDRESS [notify=success,…] [orcpt=rfc822;…]    one line a target
//	! from, envid, ret, utf8, body "Go string"
//	! smarthost MODE [USER PASSWORD] | tls MODE
//	! outcome VERDICT CODE STATUS PHASE [TLS] [dsn]     one line a target
//	! text WORDS                                        of the first outcome
//	! first DURATION      a message for first@ok.test goes before it, that long before
func TestDialogs(t *testing.T) {
	files, err := filepath.Glob("testdata/*.dialog")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogs: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialog"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := mailtest.ParseScript(file, data)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { playDialog(t, s) })
		})
	}
}

// wish is what the notes of a dialog ask for.
type wish struct {
	client   *Client
	parcel   *routing.Parcel
	body     string
	outcomes []string
	text     string
	first    time.Duration
}

func playDialog(t *testing.T, s *mailtest.Script) {
	w := newWorld(t)
	q := wish{client: w.client(), parcel: parcel("s@gw.test", ""), body: "Subject: x\r\n\r\nbody\r\n"}
	for _, note := range s.Notes {
		q.note(t, note)
	}
	q.parcel.Body, q.parcel.Size = strings.NewReader(q.body), int64(len(q.body))
	for _, port := range []string{"25", "465", "587"} {
		w.scripts["192.0.2.1:"+port] = []*mailtest.Script{s}
	}
	if q.first > 0 {
		defer keep(t, q.client)()
		if o := q.client.Send(t.Context(), parcel("s@gw.test", q.body, "first@ok.test"))[0]; o.Verdict != routing.Sent {
			t.Errorf("the first message: %s (%s)", summary(o), o.Text)
		}
		time.Sleep(q.first)
	}
	got := q.client.Send(t.Context(), q.parcel)
	if q.first > 0 {
		time.Sleep(maxIdle) // until the client says goodbye
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
	for i, o := range got {
		if i >= len(q.outcomes) || summary(o) != q.outcomes[i] {
			t.Errorf("target %d: got %q (%s), want %q", i, summary(o), o.Text, q.outcomes)
		}
		if want := "mx.test[192.0.2.1]:"; !strings.HasPrefix(o.Remote, want) {
			t.Errorf("remote %q does not begin with %q", o.Remote, want)
		}
	}
	if q.text != "" && got[0].Text != q.text {
		t.Errorf("text %q, want %q", got[0].Text, q.text)
	}
	for _, content := range w.visits[0].played.Content {
		if string(content) != q.body && len(content) > 0 {
			t.Errorf("content %q, want %q", content, q.body)
		}
	}
}

func (q *wish) note(t *testing.T, note string) {
	key, rest, _ := strings.Cut(note, " ")
	fields := strings.Fields(rest)
	switch key {
	case "from":
		q.parcel.From = address(rest)
	case "to":
		target := routing.Target{Address: address(fields[0])}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(f, "=")
			switch {
			case k == "orcpt":
				target.ORCPT = v
			case v == "never":
				target.Notify = routing.NotifyNever
			case v == "success,failure,delay":
				target.Notify = routing.NotifySuccess | routing.NotifyFailure | routing.NotifyDelay
			case v == "failure":
				target.Notify = routing.NotifyFailure
			default:
				t.Fatalf("note %q: what is %q?", note, f)
			}
		}
		q.parcel.To = append(q.parcel.To, target)
	case "envid":
		q.parcel.EnvID = rest
	case "ret":
		q.parcel.Ret = rest
	case "utf8":
		q.parcel.UTF8 = true
	case "body":
		body, err := strconv.Unquote(rest)
		if err != nil {
			t.Fatalf("note %q: %v", note, err)
		}
		q.body = body
	case "smarthost":
		host := Smarthost{Host: "mx.test", TLS: TLSMode(fields[0])}
		if len(fields) > 1 {
			host.Username, host.Password = fields[1], fields[2]
		}
		q.client.Smarthosts = []Smarthost{host}
	case "tls":
		q.client.TLS = TLSMode(rest)
	case "strangers-pool":
		q.client.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	case "first":
		d, err := time.ParseDuration(rest)
		if err != nil {
			t.Fatalf("note %q: %v", note, err)
		}
		q.first = d
	case "outcome":
		q.outcomes = append(q.outcomes, rest)
	case "text":
		q.text = rest
	default:
		t.Fatalf("what is the note %q?", note)
	}
}
