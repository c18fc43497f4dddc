package dsn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/message"
)

// TestHostileReports has reports that are made to cost time and memory (T12): what is
// done for them is bounded, whatever they are.
func TestHostileReports(t *testing.T) {
	head := "From: MAILER-DAEMON@x.test\r\nSubject: Undelivered Mail\r\nContent-Type: multipart/report; boundary=b\r\n"
	status := "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
	deep := new(strings.Builder)
	for i := range 10000 {
		fmt.Fprintf(deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for name, raw := range map[string]string{
		"50 MB":               head + "\r\n" + status + strings.Repeat("x", 50<<20),
		"50 MB of line ends":  head + "\r\n" + strings.Repeat("\r\n", 25<<20),
		"CR alone":            strings.Repeat("\r", 8<<20),
		"many parts":          head + "\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 3e5),
		"deep parts":          deep.String(),
		"many fields":         strings.Repeat("Received: x\r\n", 1e5) + head + "\r\n",
		"many recipients":     head + "\r\n" + status + strings.Repeat("Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n", 1e5),
		"one long field":      head + "\r\n" + status + "Final-Recipient: rfc822; a@b.test\r\nDiagnostic-Code: smtp; " + strings.Repeat("x\r\n ", 1e6),
		"many codes":          "From: MAILER-DAEMON@x.test\r\nSubject: Undelivered Mail\r\n\r\n" + strings.Repeat("550 5.1.1 a@b.test\r\n", 1e5),
		"many addresses":      "From: MAILER-DAEMON@x.test\r\nSubject: Undelivered Mail\r\n\r\nThis is the qmail-send program\r\npermanent error\r\n" + strings.Repeat("<a@b.test>:\r\nno\r\n", 1e5),
		"many tags":           "From: MAILER-DAEMON@x.test\r\nSubject: Undelivered Mail\r\nContent-Type: text/html\r\n\r\n" + strings.Repeat("<p <style", 3e5),
		"many encoded words":  "From: MAILER-DAEMON@x.test\r\nSubject: " + strings.Repeat("=?utf-8?Q?a?= ", 1e5) + "\r\n\r\nx",
		"many open comments":  "From: " + strings.Repeat("(", 3e5) + "\r\nSubject: Undelivered\r\n\r\nx",
		"boundary in a row":   head + "\r\n" + strings.Repeat("--b", 3e5),
		"boundary with tails": head + "\r\n" + strings.Repeat("--bx\r\n", 3e5),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			r := Parse([]byte(raw))
			if took := time.Since(start); took > 3*time.Minute { // far more than any machine needs
				t.Errorf("took %v", took)
			}
			if len(r.Recipients) > maxGroups || len(r.Text) > maxExcerpt {
				t.Errorf("%d recipients, %d bytes of text", len(r.Recipients), len(r.Text))
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	cases, _ := filepath.Glob("testdata/*.eml")
	for _, path := range cases {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := Parse(raw)
		all := []string{r.Text, r.ReportingMTA, r.EnvID, r.OriginalMessageID, r.Disposition}
		for _, g := range r.Recipients {
			all = append(all, g.Original, g.Final, g.Diagnostic, g.RemoteMTA)
			if len(g.Diagnostic) > maxDiagnostic {
				t.Fatalf("%d bytes of diagnostic", len(g.Diagnostic))
			}
		}
		for _, s := range all {
			if s != message.Plain(s) {
				t.Fatalf("%q has control characters", s)
			}
		}
		if r.Kind == KindFailed && (len(r.Recipients) == 0 || r.Overall().Kind != KindFailed || !r.Auto) {
			t.Fatalf("a failure of nobody: %+v", r)
		}
	})
}

func FuzzFindStatus(f *testing.F) {
	f.Add("550-5.1.1 x\n550 5.1.1 y")
	f.Add("(#5.1.1)")
	f.Fuzz(func(t *testing.T, text string) {
		s, code, ok := FindStatus(text)
		if ok != (!s.IsZero() || code != 0) {
			t.Fatalf("%v %d %v", s, code, ok)
		}
		if _, valid := ParseStatus(s.String()); !s.IsZero() && !valid {
			t.Fatalf("found %v", s)
		}
	})
}

// TestPartBehindTheRest has what matters stand behind the message that is returned, of
// whatever size; and another that only looks like it, in what is returned.
func TestPartBehindTheRest(t *testing.T) {
	head := "From: MAILER-DAEMON@x.test\r\nSubject: Undelivered Mail\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Pump 3\r\n\r\n"
	status := func(boundary, code string) string {
		return "--" + boundary + "\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x.test\r\n\r\nFinal-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: " + code + "\r\n\r\n--" + boundary + "--\r\n"
	}
	for _, size := range []int{0, maxLook, 3 * maxLook} {
		body := strings.Repeat("x\r\n", size/3)
		if got := Parse([]byte(head + body + status("b", "5.2.2"))); got.Overall().Status.String() != "5.2.2" {
			t.Errorf("behind %d bytes: %s %s", size, got.Kind, got.Overall().Status)
		}
		if got := Parse([]byte(head + body + status("c", "5.2.2") + "\r\n--b--\r\n")); got.Overall().Status.String() == "5.2.2" {
			t.Errorf("behind %d bytes: what is returned was believed", size)
		}
	}
}
