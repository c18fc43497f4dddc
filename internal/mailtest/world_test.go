package mailtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/dsn"
	"postern/pgp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const original = "From: Alice <alice@gw.test>\r\nTo: you\r\nReply-To: <rtoken@return.gw.test>\r\nDisposition-Notification-To: <btoken@return.gw.test>\r\n" +
	"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@gw.test>\r\n\r\nhello\r\n"

// serve runs something that blocks until the test ends, and waits for it.
func serve(t *testing.T, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// newWorld starts a world whose gateway is a sink that answers what say tells.
func newWorld(t *testing.T, say func(p Phase, tr *Transaction) string) (w *World, addr string, gateway *gatewaySink) {
	t.Helper()
	gateway = &gatewaySink{got: make(chan Transaction, 100)}
	in := Listen(t)
	serve(t, func(ctx context.Context) error {
		s := &Sink{Answer: func(_ context.Context, p Phase, tr *Transaction) string {
			if say != nil {
				if answer := say(p, tr); answer != "" {
					return answer
				}
			}
			if p == OnDot {
				gateway.got <- *tr
			}
			return ""
		}}
		return s.Serve(ctx, in)
	})
	w = &World{Gateway: in.Addr().String(), Delay: 10 * time.Millisecond, Now: time.Now, Rand: rand.Reader}
	ln := Listen(t)
	serve(t, func(ctx context.Context) error { return w.Serve(ctx, ln) })
	return w, ln.Addr().String(), gateway
}

// gatewaySink is what came back to the gateway.
type gatewaySink struct{ got chan Transaction }

func (g *gatewaySink) next(t *testing.T) Transaction {
	t.Helper()
	select {
	case tr := <-g.got:
		return tr
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came back")
		panic("unreachable")
	}
}

func submit(t *testing.T, addr, from string, to ...string) (string, int) {
	t.Helper()
	reply, err := (&Client{Addr: addr}).Submit(t.Context(), from, to, []byte(original))
	var refused *textproto.Error
	if errors.As(err, &refused) {
		return refused.Msg, refused.Code
	}
	if err != nil {
		return err.Error(), 0
	}
	return reply, 250
}

func TestWorldAnswers(t *testing.T) {
	w, addr, _ := newWorld(t, nil)
	for _, tt := range []struct {
		to   string
		code int
		text string
	}{
		{"a@ok.test", 250, "250 2.0.0 taken as ok.test/1"},
		{"b@OK.test", 250, "250 2.0.0 taken as ok.test/2"},
		{"a@bounce.test", 250, "250 2.0.0 taken as bounce.test/1"},
		{"a@reads.test", 250, "250 2.0.0 taken as reads.test/1"},
		{"a@acks.test", 250, "250 2.0.0 taken as acks.test/1"},
		{"a@slow.test", 250, "250 2.0.0 taken as slow.test/1"},
		{"a@refuse.test", 550, "5.1.1"},
		{"a@defer.test", 451, "4.3.2"},
		{"a@elsewhere.test", 550, "5.1.2"},
		{"a@drop.test", 0, "end of data: EOF"},
		{"a@drop.test", 250, "250 2.0.0 taken as drop.test/2"},
	} {
		text, code := submit(t, addr, "b1@return.gw.test", tt.to)
		if code != tt.code || !strings.Contains(text, tt.text) {
			t.Errorf("%s: %d %q, want %d %q", tt.to, code, text, tt.code, tt.text)
		}
	}
	if got := w.Messages("ok.test"); len(got) != 2 || string(got[0].Raw) != original || got[0].From.Address != "b1@return.gw.test" || got[1].To.Address != "b@OK.test" {
		t.Errorf("ok.test took %+v", got)
	}
	if got := w.Messages("drop.test"); len(got) != 2 || got[0].Reply != "connection dropped" {
		t.Errorf("drop.test took %+v", got)
	}
	if got := w.Journal(); len(got) != 11 || got[6].Reply[:3] != "550" || got[9].Reply != "connection dropped" || got[10].MessageID != "<1@gw.test>" {
		t.Errorf("journal %+v", got)
	}
}

func TestWorldManyRecipients(t *testing.T) {
	w, addr, _ := newWorld(t, nil)
	if text, code := submit(t, addr, "b1@return.gw.test RET=HDRS", "a@ok.test NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@ok.test", "b@ok.test", "c@slow.test"); code != 250 {
		t.Fatalf("%d %s", code, text)
	}
	got := w.Messages("ok.test")
	if len(got) != 2 || got[0].To.Param("notify") != "SUCCESS,FAILURE" || got[0].To.Param("ORCPT") != "rfc822;a@ok.test" || got[1].From.Param("ret") != "HDRS" {
		t.Errorf("ok.test took %+v", got)
	}
	if len(w.Messages("slow.test")) != 1 {
		t.Error("slow.test took none")
	}
}

func TestWorldDefersUntilTold(t *testing.T) {
	w, addr, _ := newWorld(t, nil)
	if _, code := submit(t, addr, "b1@return.gw.test", "a@defer.test"); code != 451 {
		t.Fatalf("code %d", code)
	}
	server := httptest.NewServer(http.StripPrefix("/world", w.Handler()))
	defer server.Close()
	post := func(path string, want int) {
		resp, err := http.Post(server.URL+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("POST %s: %s", path, resp.Status)
		}
	}
	post("/world/nowhere.test/accept", http.StatusBadRequest)
	post("/world/defer.test/dances", http.StatusBadRequest)
	post("/world/defer.test/accept", http.StatusOK)
	if _, code := submit(t, addr, "b1@return.gw.test", "a@defer.test"); code != 250 {
		t.Errorf("code %d after it was told", code)
	}
	get := func(path string) string {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	if got := get("/world/defer.test/1"); got != original {
		t.Errorf("the message: %q", got)
	}
	var list []Received
	if err := json.Unmarshal([]byte(get("/world/defer.test")), &list); err != nil || len(list) != 1 || list[0].To.Address != "a@defer.test" {
		t.Errorf("the list: %+v, %v", list, err)
	}
	if got := get("/world/"); !strings.Contains(got, `"behaviour": "refuses"`) {
		t.Errorf("the domains: %s", got)
	}
}

// report takes a multipart/report apart.
func report(t *testing.T, raw []byte) (header mail.Header, parts []string) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			return m.Header, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(p)
		parts = append(parts, p.Header.Get("Content-Type")+"\n"+string(body))
	}
}

func TestWorldBounces(t *testing.T) {
	w, addr, gateway := newWorld(t, nil)
	submit(t, addr, "btoken@return.gw.test ENVID=id+2B1", "x@bounce.test ORCPT=rfc822;x+2Bp@bounce.test")
	tr := gateway.next(t)
	if tr.From.Address != "" || tr.To[0].Address != "btoken@return.gw.test" {
		t.Errorf("from %+v to %+v", tr.From, tr.To)
	}
	header, parts := report(t, tr.Content)
	if header.Get("Auto-Submitted") == "" || !strings.Contains(header.Get("Content-Type"), "report-type=delivery-status") {
		t.Errorf("header %v", header)
	}
	if len(parts) != 3 {
		t.Fatalf("parts %q", parts)
	}
	for _, want := range []string{"message/delivery-status\n", "Original-Envelope-Id: id+2B1\r\n", "\r\n\r\nFinal-Recipient: rfc822; x@bounce.test\r\n",
		"Original-Recipient: rfc822;x+2Bp@bounce.test\r\n", "Action: failed\r\n", "Status: 5.1.1\r\n"} {
		if !strings.Contains(parts[1], want) {
			t.Errorf("no %q in %q", want, parts[1])
		}
	}
	if !strings.Contains(parts[2], "Message-ID: <1@gw.test>") || strings.Contains(parts[2], "hello") {
		t.Errorf("returned %q", parts[2])
	}
	if err := w.Wait(t.Context(), func(w *World) bool { return len(w.Returned()) == 1 }); err != nil {
		t.Fatal(err)
	}
	if got := w.Returned()[0]; got.Reply != "250 2.0.0 ok" || got.To != "btoken@return.gw.test" {
		t.Errorf("returned %+v", got)
	}
}

// TestWorldSilent: no report about a report, and none to who asked for none.
func TestWorldSilent(t *testing.T) {
	w, addr, gateway := newWorld(t, nil)
	submit(t, addr, "", "x@bounce.test")
	submit(t, addr, "", "x@acks.test")
	submit(t, addr, "", "x@away.test")
	submit(t, addr, "b1@return.gw.test", "x@bounce.test NOTIFY=NEVER")
	submit(t, addr, "b1@return.gw.test", "x@bounce.test NOTIFY=SUCCESS,DELAY")
	submit(t, addr, "last@return.gw.test", "x@bounce.test NOTIFY=FAILURE")
	if tr := gateway.next(t); tr.To[0].Address != "last@return.gw.test" {
		t.Errorf("came back: %+v", tr.To)
	}
	if n := len(w.Messages("bounce.test")); n != 4 {
		t.Errorf("bounce.test took %d", n)
	}
}

func TestWorldReads(t *testing.T) {
	_, addr, gateway := newWorld(t, nil)
	submit(t, addr, "other@return.gw.test", "x@reads.test")
	tr := gateway.next(t)
	if tr.From.Address != "" || tr.To[0].Address != "btoken@return.gw.test" {
		t.Errorf("from %+v to %+v", tr.From, tr.To)
	}
	_, parts := report(t, tr.Content)
	for _, want := range []string{"message/disposition-notification\n", "Final-Recipient: rfc822;x@reads.test\r\n", "Original-Message-ID: <1@gw.test>\r\n",
		"Disposition: manual-action/MDN-sent-manually; displayed\r\n"} {
		if len(parts) != 2 || !strings.Contains(parts[1], want) {
			t.Errorf("no %q in %q", want, parts)
		}
	}
}

func TestWorldAcks(t *testing.T) {
	_, addr, gateway := newWorld(t, nil)
	submit(t, addr, "b1@return.gw.test", "x@acks.test")
	tr := gateway.next(t)
	if tr.From.Address != "x@acks.test" || tr.To[0].Address != "rtoken@return.gw.test" {
		t.Errorf("from %+v to %+v", tr.From, tr.To)
	}
	m, err := mail.ReadMessage(bytes.NewReader(tr.Content))
	if err != nil {
		t.Fatal(err)
	}
	subject, _ := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if subject != "Re: Grüße" || m.Header.Get("In-Reply-To") != "<1@gw.test>" || m.Header.Get("Auto-Submitted") != "" {
		t.Errorf("header %v", m.Header)
	}
}

// TestWorldTriesAgain: a gateway that says 451 gets its report later.
func TestWorldTriesAgain(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	_, addr, gateway := newWorld(t, func(p Phase, _ *Transaction) string {
		if p != OnDot {
			return ""
		}
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked == 1 {
			return "451 4.3.0 not now"
		}
		return ""
	})
	submit(t, addr, "b1@return.gw.test", "x@bounce.test")
	gateway.next(t)
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

// TestWorldGivesUp: a gateway that refuses is not asked again.
func TestWorldGivesUp(t *testing.T) {
	w, addr, _ := newWorld(t, func(p Phase, _ *Transaction) string {
		if p == OnRcpt {
			return "550 5.1.1 no such mailbox"
		}
		return ""
	})
	submit(t, addr, "b1@return.gw.test", "x@bounce.test")
	if err := w.Wait(t.Context(), func(w *World) bool { return len(w.Returned()) == 1 }); err != nil {
		t.Fatal(err)
	}
	if got := w.Returned()[0].Reply; !strings.Contains(got, "550") {
		t.Errorf("returned %q", got)
	}
}

// TestWorldOnDisk: messages and keys outlive the world, and gpg can use them.
func TestWorldOnDisk(t *testing.T) {
	dir := t.TempDir()
	once := func(want string) *World {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := &World{Dir: dir, Now: time.Now, Rand: rand.Reader}
		ln := Listen(t)
		done := make(chan error)
		go func() { done <- w.Serve(ctx, ln) }()
		if text, code := submit(t, ln.Addr().String(), "b1@return.gw.test", "x@ok.test"); code != 250 || !strings.HasSuffix(text, want) {
			t.Errorf("%d %s", code, text)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return w
	}
	first, second := once("ok.test/1"), once("ok.test/2")
	raw, err := os.ReadFile(filepath.Join(dir, "ok.test", "2.eml"))
	if err != nil || string(raw) != original {
		t.Errorf("2.eml: %q, %v", raw, err)
	}
	if got := second.Messages("ok.test"); len(got) != 2 || got[0].To.Address != "x@ok.test" {
		t.Errorf("after a restart: %+v", got)
	}
	a, _ := first.Certs()
	b, err := second.Certs()
	if err != nil || len(a) != len(domains) {
		t.Fatalf("%d certificates, %v", len(a), err)
	}
	for domain, cert := range a {
		if !bytes.Equal(cert, b[domain]) {
			t.Errorf("%s has another key after a restart", domain)
		}
		if err := pgp.Usable(cert, time.Now()); err != nil {
			t.Errorf("%s: %v", domain, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "keys", "ok.test.asc"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	t.Run("gpg", func(t *testing.T) {
		Need(t, "gpg")
		home, err := os.MkdirTemp("", "gpg") // short: gpg-agent's socket lives there
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(home)
		gpg := func(stdin []byte, args ...string) string {
			cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--no-tty", "--trust-model", "always"}, args...)...)
			cmd.Stdin = bytes.NewReader(stdin)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("gpg %v: %v\n%s", args, err, out)
			}
			return string(out)
		}
		defer exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		gpg(nil, "--import", filepath.Join(dir, "keys", "ok.test.asc"))
		if out := gpg(nil, "--list-secret-keys"); !strings.Contains(out, "<*@ok.test>") {
			t.Errorf("keys: %s", out)
		}
		sealed := gpg([]byte("canary"), "--armor", "--encrypt", "-r", "<*@ok.test>")
		if out := gpg([]byte(sealed), "--decrypt"); !strings.Contains(out, "canary") {
			t.Errorf("decrypted %q", out)
		}
	})
}

func TestWorldTLS(t *testing.T) {
	cert, pool, err := Certificate(time.Now(), rand.Reader, "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Now: time.Now, Rand: rand.Reader, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}
	ln := Listen(t)
	serve(t, func(ctx context.Context) error { return w.Serve(ctx, ln) })
	for name, ok := range map[string]bool{"localhost": true, "127.0.0.1": true, "other.test": false} {
		client := &Client{Addr: ln.Addr().String(), TLS: &tls.Config{RootCAs: pool, ServerName: name}}
		_, err := client.Submit(t.Context(), "a@b.test", []string{"x@ok.test"}, []byte(original))
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := w.Messages("ok.test"); len(got) != 2 || got[0].TLS != "TLS 1.3" {
		t.Errorf("%+v", got)
	}
}

func TestSink(t *testing.T) {
	for _, p := range []Phase{OnGreeting, OnHello, OnMail, OnRcpt, OnData, OnDot} {
		for _, answer := range []string{"450 4.0.0 later", "550 5.0.0 no", "421 4.0.0 bye", Close, Reset} {
			ln := Listen(t)
			sink := &Sink{Answer: func(_ context.Context, at Phase, _ *Transaction) string {
				if at == p {
					return answer
				}
				return ""
			}}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- sink.Serve(ctx, ln) }()
			text, code := submit(t, ln.Addr().String(), "a@b.test", "x@y.test")
			reply := answer[0] <= '5'
			if reply && fmt.Sprintf("%d %s", code, text) != answer || !reply && code != 0 {
				t.Errorf("%s: %s came as %d %s", p, answer, code, text)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSinkStalls: a stalled conversation ends with the sink.
func TestSinkStalls(t *testing.T) {
	ln := Listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	sink := &Sink{Hide: []string{"DSN"}, Answer: func(_ context.Context, p Phase, tr *Transaction) string {
		if p == OnDot {
			time.AfterFunc(20*time.Millisecond, cancel)
			return Stall
		}
		return ""
	}}
	done := make(chan error)
	go func() { done <- sink.Serve(ctx, ln) }()
	if text, code := submit(t, ln.Addr().String(), "a@b.test", "x@y.test"); code != 0 {
		t.Errorf("%d %s", code, text)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestParsePath(t *testing.T) {
	for _, tt := range []struct {
		in      string
		address string
		params  []string
		ok      bool
	}{
		{"FROM:<>", "", nil, true},
		{"from: <a@b> SIZE=1 RET=HDRS", "a@b", []string{"SIZE=1", "RET=HDRS"}, true},
		{`FROM:<"a> b"@c> X`, `"a> b"@c`, []string{"X"}, true},
		{`FROM:<"a\">"@c>`, `"a\">"@c`, nil, true},
		{"FROM:a@b", "", nil, false}, {"FROM:<a", "", nil, false}, {"TO:<a>", "", nil, false}, {"", "", nil, false},
	} {
		p, ok := parsePath(tt.in, "FROM:")
		if ok != tt.ok || p.Address != tt.address || !slices.Equal(p.Params, tt.params) {
			t.Errorf("%q: %+v, %v", tt.in, p, ok)
		}
	}
}

func TestWorldAway(t *testing.T) {
	_, addr, gateway := newWorld(t, nil)
	submit(t, addr, "b1@return.gw.test", "x@away.test")
	tr := gateway.next(t)
	if tr.From.Address != "" || tr.To[0].Address != "b1@return.gw.test" {
		t.Errorf("from %+v to %+v", tr.From, tr.To)
	}
	m, err := mail.ReadMessage(bytes.NewReader(tr.Content))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("From") != "<x@away.test>" || m.Header.Get("In-Reply-To") != "<1@gw.test>" || m.Header.Get("Auto-Submitted") != "auto-replied" {
		t.Errorf("header %v", m.Header)
	}
}

// TestReportsAreRead: what the world returns is what package dsn reads it as.
func TestReportsAreRead(t *testing.T) {
	w := &World{Now: time.Now, Rand: rand.Reader}
	head := readHead([]byte(original))
	for _, tt := range []struct {
		to   string
		make func(r *Received) []byte
		kind dsn.Kind
	}{
		{"x@bounce.test", func(r *Received) []byte { return w.bounce(r, head, time.Now()) }, dsn.KindFailed},
		{"größe@bounce.test", func(r *Received) []byte { return w.bounce(r, head, time.Now()) }, dsn.KindFailed},
		{"x@reads.test", func(r *Received) []byte { return w.receipt(r, head, "b@return.gw.test", time.Now()) }, dsn.KindReceipt},
		{"x@acks.test", func(r *Received) []byte { return w.reply(r, head, "r@return.gw.test", time.Now()) }, dsn.KindReply},
		{"x@away.test", func(r *Received) []byte { return w.absence(r, head, time.Now()) }, dsn.KindAutoReply},
	} {
		r := &Received{Domain: "some.test", N: 1, At: time.Now(), From: Path{Address: "b@return.gw.test"}, To: Path{Address: tt.to}}
		got := dsn.Parse(tt.make(r))
		if got.Kind != tt.kind {
			t.Errorf("%s: read as %s: %+v", tt.to, got.Kind, got)
		}
		if tt.kind == dsn.KindFailed {
			if o := got.Overall(); o.Final != tt.to || o.Status.String() != "5.1.1" || got.OriginalMessageID != "<1@gw.test>" {
				t.Errorf("%s: %+v", tt.to, got)
			}
		}
		if tt.kind == dsn.KindReply && got.Auto {
			t.Errorf("%s: taken for a program", tt.to)
		}
	}
}
