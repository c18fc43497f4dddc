package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/smtp"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/routing"
)

// TestTokenKeyFile: what is written is read, and an older program reads it, too.
func TestTokenKeyFile(t *testing.T) {
	at := time.Date(2026, 11, 27, 20, 0, 1, 0, time.UTC)
	keys := []tokenKey{{key: bytes.Repeat([]byte{1}, tokenKeySize)}, {bytes.Repeat([]byte{2}, tokenKeySize), at}, {key: bytes.Repeat([]byte{3}, tokenKeySize)}}
	text := formatTokenKeys(keys)
	if got, err := parseTokenKeys(text); err != nil || !reflect.DeepEqual(got, keys) {
		t.Errorf("%v, error %v", got, err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("#")) && len(line) != 2*tokenKeySize+1 {
			t.Errorf("an older program cannot read %q", line)
		}
	}
}

// TestNeededTokenKeys: an older key goes when nothing that it signed can come any more.
func TestNeededTokenKeys(t *testing.T) {
	s := newSealing(t)
	begun := s.clock.Now()
	keys := []tokenKey{{key: []byte("new")}, {[]byte("late"), begun.Add(10 * 24 * time.Hour)}, {[]byte("old"), begun.Add(time.Hour)}, {key: []byte("by hand")}}
	s.clock.add(time.Hour)
	needed := func(want ...string) {
		t.Helper()
		got, err := neededTokenKeys(t.Context(), s.db, keys, s.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, k := range got {
			names = append(names, string(k.key))
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q are needed, want %q", names, want)
		}
	}
	needed("new", "late", "old", "by hand")
	s.clock.add(routing.TokenLife - time.Second)
	needed("new", "late", "old", "by hand")
	s.clock.add(time.Second)
	needed("new", "late", "by hand")
	s.clock.add(10 * 24 * time.Hour)
	needed("new", "by hand")
	// A message that asks for an answer needs the key that signs then, and those that come after have their own.
	if _, err := s.submit("bob@dest.test", "Postern-Goal: acked"); err != nil {
		t.Fatal(err)
	}
	keys[1].replaced, keys[2].replaced = s.clock.Now().Add(time.Second), s.clock.Now().Add(-time.Second)
	s.clock.add(365 * 24 * time.Hour)
	needed("new", "late", "by hand")
}

// returnTo is the return path of a message that the world has taken.
func (l *localRun) returnTo(domain string, n int) string {
	l.t.Helper()
	var got mailtest.Received
	l.until("a message at "+domain, func() bool {
		text, err := os.ReadFile(l.path(filepath.Join("world", domain, fmt.Sprint(n, ".json"))))
		return err == nil && json.Unmarshal(text, &got) == nil
	})
	return got.From.Address
}

// bounce returns a message as another server would.
func (l *localRun) bounce(to string) error {
	c, err := smtp.Dial(l.at[string(KindInbound)])
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Mail(""), c.Rcpt(to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "From: MAILER-DAEMON@ok.test\r\nTo: <"+to+">\r\nSubject: Undelivered\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nNo.\r\n"+
		"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; ok.test\r\n\r\nFinal-Recipient: rfc822; x@ok.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n")
	return errors.Join(err, w.Close())
}

// send submits a message as alice, and returns its id.
func (l *localRun) send(to string) string {
	l.t.Helper()
	c := l.submit("alice", l.password("alice"))
	c.say("MAIL FROM:<alice@postern.test>", "RCPT TO:<"+to+">", "DATA")
	c.until("354")
	c.say("Subject: for "+to, "", "Hello", ".")
	said := c.until("250 2.0.0 ", "4", "5")
	id, ok := strings.CutPrefix(said, "250 2.0.0 ")
	if !ok || strings.Contains(id, " ") {
		l.t.Fatalf("submitted: %q", said)
	}
	return id
}

// TestRotateToken: a bounce of what was sent before counts after it, what is sent then is signed
// with the new key, and with --drop the bounce is refused.
func TestRotateToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	l := startLocal(t, dir)
	var errs output
	if status := run(context.Background(), []string{"key", "rotate-token", "--data", dir}, strings.NewReader(""), &output{}, &errs); status == exitOK || !strings.Contains(errs.String(), "another gateway is running") {
		t.Errorf("beside a gateway: status %d: %s", status, errs.String())
	}
	l.send("a@ok.test")
	first := l.returnTo("ok.test", 1)
	ids := []string{l.send("b@ok.test")}
	second := l.returnTo("ok.test", 2)
	l.stop()
	old, err := dataDir(dir).readTokenKeys()
	if err != nil {
		t.Fatal(err)
	}
	if said := l.postern("key", "rotate-token"); !strings.Contains(said, "1 older still good for checking, 0 dropped") {
		t.Errorf("said %q", said)
	}
	now, err := dataDir(dir).readTokenKeys()
	if err != nil || len(now) != 2 || !bytes.Equal(now[1].key, old[0].key) || bytes.Equal(now[0].key, old[0].key) {
		t.Fatalf("%d keys after one rotation, error %v", len(now), err)
	}

	l = startLocal(t, dir)
	if err := l.bounce(second); err != nil {
		t.Errorf("a bounce of before: %v", err)
	}
	l.until("the bounce to count", func() bool { return strings.Contains(l.postern("trace", ids[0]), "BOUNCED: 5.1.1") })
	ids = append(ids, l.send("c@ok.test"))
	third := l.returnTo("ok.test", 3)
	local, _, _ := strings.Cut(third, "@")
	if _, err := tokensOf(now[:1]).Parse(local); err != nil {
		t.Errorf("what was sent then is not signed with the new key: %v", err)
	}
	if _, err := tokensOf(old).Parse(local); err == nil {
		t.Error("what was sent then is signed with the old key")
	}
	l.stop()

	if said := l.postern("key", "rotate-token", "--drop"); !strings.Contains(said, "0 older still good for checking, 2 dropped") {
		t.Errorf("said %q", said)
	}
	if now, err = dataDir(dir).readTokenKeys(); err != nil {
		t.Fatal(err)
	}
	void := tokenKey{bytes.Repeat([]byte{7}, tokenKeySize), time.Now().Add(-2 * routing.TokenLife)}
	if err := dataDir(dir).writeTokenKeys(append(now, void)); err != nil {
		t.Fatal(err)
	}
	l = startLocal(t, dir)
	if left, err := dataDir(dir).readTokenKeys(); err != nil || !reflect.DeepEqual(left, now) {
		t.Errorf("a start leaves %d keys, want one; error %v", len(left), err)
	}
	for _, to := range []string{first, third} {
		if err := l.bounce(to); err == nil || !strings.HasPrefix(err.Error(), "550 ") {
			t.Errorf("a bounce by a key that was dropped: %v", err)
		}
	}
}

// TestDropTokenKeys: the keys that nothing needs any more are dropped, and the others stay.
func TestDropTokenKeys(t *testing.T) {
	s, p := newSealing(t), newPlace(t, "")
	g := &gateway{dir: p.dir, db: s.db, keys: p.mustKeys(t), clock: new(clock), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	current := g.keys.tokens.Keys[0]
	for _, tt := range []struct {
		replaced time.Time
		want     int
	}{{time.Now().Add(-routing.TokenLife + time.Hour), 2}, {time.Now().Add(-routing.TokenLife - time.Hour), 1}} {
		keys := []tokenKey{{key: current}, {bytes.Repeat([]byte{7}, tokenKeySize), tt.replaced}}
		g.keys.tokens = tokensOf(keys)
		if err := errors.Join(p.dir.writeTokenKeys(keys), g.dropTokenKeys(t.Context())); err != nil {
			t.Fatal(err)
		}
		left, err := p.dir.readTokenKeys()
		if err != nil || len(left) != tt.want || len(g.keys.tokens.Keys) != tt.want || !bytes.Equal(left[0].key, current) {
			t.Errorf("replaced %v: %d keys are left, want %d; error %v", tt.replaced, len(left), tt.want, err)
		}
	}
}
