package dsn

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func notice() *Notice {
	return &Notice{From: "Postern <postmaster@gw.test>", To: "<alice@gw.test>", Date: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		MessageID: "<1@gw.test>", InReplyTo: "<orig@gw.test>", Subject: "Not delivered", Text: "Sorry.\nIt failed.\n", ReportingMTA: "gw.test",
		Groups:   []Group{{Final: "x@bounce.test", Action: "failed", Status: Status{5, 1, 1}, Diagnostic: "smtp; 550 5.1.1 no such user", RemoteMTA: "mx.bounce.test"}},
		Returned: []byte("Message-ID: <orig@gw.test>\r\n"), Boundary: "b0"}
}

func TestWriteIsReadBack(t *testing.T) {
	for _, action := range []string{"failed", "delayed", "delivered", "relayed", "expanded"} {
		n := notice()
		n.Groups[0].Action = action
		raw, err := Write(n)
		if err != nil {
			t.Fatal(err)
		}
		got := Parse(raw)
		want := Report{Kind: actionKinds[action], Auto: true, Family: "rfc3464", ReportingMTA: "gw.test", OriginalMessageID: "<orig@gw.test>", Text: "Sorry. It failed.",
			Recipients: []Recipient{{Final: "x@bounce.test", Kind: actionKinds[action], Status: Status{5, 1, 1}, Diagnostic: "550 5.1.1 no such user", RemoteMTA: "mx.bounce.test"}}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", action, got, want)
		}
	}
}

func TestReceiptIsReadBack(t *testing.T) {
	raw, err := WriteReceipt(&Receipt{From: "<bob@reads.test>", To: "<t@gw.test>", Date: time.Now(), MessageID: "<2@reads.test>", Subject: "Read", Text: "Seen.",
		Final: "bob@reads.test", OriginalMessageID: "<orig@gw.test>", Boundary: "b1"})
	if err != nil {
		t.Fatal(err)
	}
	got := Parse(raw)
	if got.Kind != KindReceipt || got.Disposition != "displayed" || got.OriginalMessageID != "<orig@gw.test>" {
		t.Errorf("%+v", got)
	}
}

// T11: nothing that goes into a notice can become a field of its own.
func TestT11HeaderInjection(t *testing.T) {
	n := notice()
	n.Groups[0].Diagnostic = "smtp; 550 x\r\nAction: delivered"
	raw, err := Write(n)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "\nAction: delivered") {
		t.Errorf("injected:\n%s", raw)
	}
	n = notice()
	n.EnvID = "x\r\nAction: delivered"
	if _, err := Write(n); err == nil {
		t.Error("a line break in the envelope id was written")
	}
}

func FuzzParse(f *testing.F) {
	raw, _ := Write(notice())
	f.Add(raw)
	f.Add([]byte("From: MAILER-DAEMON@x\r\n\r\nHi. This is the qmail-send program\r\n<a@b.c>:\r\n550 no such user\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := Parse(raw)
		if len(r.Text) > maxExcerpt || strings.ContainsAny(r.Text, "\r\n\x00") {
			t.Fatalf("text %q", r.Text)
		}
		if r.Kind == KindFailed && len(r.Recipients) == 0 {
			t.Fatal("a failure of nobody")
		}
	})
}
