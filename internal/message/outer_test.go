package message

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC)

// TestT4StripControl: no spelling of a field for the gateway gets past it.
func TestT4StripControl(t *testing.T) {
	gone := `Postern-Priority: urgent
POSTERN-ALTERNATE: secret@a.test
postern-alternate : secret@a.test
Postern-Alternate	:
 secret@a.test
PoStErN-Alternates:
	secret@a.test,
 secret@b.test
Postern-Unknown-To-Us: =?utf-8?B?c2VjcmV0?=
Postern-: secret
Bcc: secret@a.test
BCC : secret@a.test
Resent-Bcc: secret@a.test
Apparently-To: secret@a.test
Return-Path: <secret@a.test>
MT-Priority: 3
Disposition-Notification-To: secret@a.test
Disposition-Notification-Options: x=required,y
Return-Receipt-To: secret@a.test
X-Confirm-Reading-To: secret@a.test
Generate-Delivery-Report:
Prevent-NonDelivery-Report:
Content-Return: prohibited
Alternate-Recipient: Allowed
Deferred-Delivery: Tue, 03 Mar 2026 12:00:00 +0000
Latest-Delivery-Time: Tue, 03 Mar 2026 12:00:00 +0000
Original-Recipient: rfc822;secret@a.test
Errors-To: secret@a.test
From secret@a.test Tue Mar  3 12:00:00 2026
Postern Alternate: secret@a.test
no field secret
`
	kept := `From: a@b.test
To: c@d.test
Subject: Postern-Alternate: not a field
Supersedes: <1@b.test>
Expires: Tue, 03 Mar 2026 12:00:00 +0000
Reply-By: Tue, 03 Mar 2026 12:00:00 +0000
X-Priority: 1
Auto-Submitted: auto-generated
X-Postern: kept
Content-Type: text/plain
`
	h := parse(t, gone+kept+gone)
	StripControl(&h)
	if got := strings.ReplaceAll(string(h.Bytes()), "\r\n", "\n"); got != kept {
		t.Errorf("got:\n%s\nwant:\n%s", got, kept)
	}
}

func TestOuterHeader(t *testing.T) {
	const original = `Received: from old by older; Tue, 03 Mar 2026 11:00:00 +0000
From: Alice <a@b.test>
To: c@d.test
Subject: The secret
subject: The secret again
Keywords: secret
Thread-Topic: The secret
DKIM-Signature: v=1; bh=x
MIME-Version: 1.0
Content-Type: text/plain;
 charset=utf-8; name=secret
Content-ID: <secret@b.test>
Bcc: secret@a.test
References: <0@b.test>
`
	received := Received(Trace{HELO: "panel", Addr: netip.MustParseAddr("192.0.2.1"), Host: "gw.test", ID: "m1", TLS: true, Auth: true, Date: noon})
	h := parse(t, original)
	got := OuterHeader(h, Outer{Subject: "Message", ID: "m1", Received: received, Date: noon, MessageID: "<m1@gw.test>"})
	want := `Received: from panel ([192.0.2.1]) by gw.test with ESMTPSA id m1; Tue, 03 Mar
 2026 12:00:00 +0000
Received: from old by older; Tue, 03 Mar 2026 11:00:00 +0000
From: Alice <a@b.test>
To: c@d.test
Subject: Message
References: <0@b.test>
Date: Tue, 03 Mar 2026 12:00:00 +0000
Message-ID: <m1@gw.test>
Postern-Id: m1
`
	if text := strings.ReplaceAll(string(got.Bytes()), "\r\n", "\n"); text != want {
		t.Errorf("got:\n%s\nwant:\n%s", text, want)
	}
	if string(h.Bytes()) != strings.ReplaceAll(original, "\n", "\r\n") {
		t.Error("the original was changed")
	}
	if n := CountReceived(got); n != 2 {
		t.Errorf("%d Received", n)
	}

	kept := OuterHeader(h, Outer{})
	if kept.Get("Subject") != "The secret" || !kept.Has("Keywords") || kept.Has("Date") || kept.Has("Postern-Id") || kept.Has("DKIM-Signature") {
		t.Errorf("with the subject kept:\n%s", kept.Bytes())
	}
	if h := OuterHeader(parse(t, "From: a@b\n"), Outer{Subject: "Message"}); h.Has("Subject") {
		t.Error("a message without Subject was given one")
	}
	if h := OuterHeader(parse(t, "Subject: x\n"), Outer{Subject: "Grüße\r\nBcc: x@y"}); len(h.Fields) != 1 || h.Get("Subject") == "x" {
		t.Errorf("got:\n%s", h.Bytes())
	}
}

func TestReceived(t *testing.T) {
	const date = "; Tue, 03 Mar 2026 12:00:00 +0000"
	v4, v6, mapped := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1%eth0"), netip.MustParseAddr("::ffff:192.0.2.1")
	for _, test := range []struct {
		trace Trace
		want  string
	}{
		{Trace{HELO: "a.test", Addr: v4, Host: "gw.test", ID: "m1"}, "from a.test ([192.0.2.1]) by gw.test with ESMTP id m1"},
		{Trace{HELO: "[192.0.2.1]", Addr: mapped, Host: "gw.test", TLS: true}, "from [192.0.2.1] ([192.0.2.1]) by gw.test with ESMTPS"},
		{Trace{HELO: "a.test", Addr: v6, Host: "gw.test", Auth: true}, "from a.test ([IPv6:2001:db8::1]) by gw.test with ESMTPA"},
		{Trace{HELO: "a.test", Host: "gw.test", Auth: true, TLS: true, UTF8: true}, "from a.test by gw.test with UTF8SMTPSA"},
		{Trace{HELO: "a.test", Host: "gw.test", SMTP: true}, "from a.test by gw.test with SMTP"},
		// T11: what a client calls itself is no way into a header.
		{Trace{HELO: "x\rX-Evil: 1", Host: "gw.test", ID: "m 1"}, "from unknown by gw.test with ESMTP"},
		{Trace{HELO: "x) by y", Host: "gw.test"}, "from unknown by gw.test with ESMTP"},
		{Trace{HELO: strings.Repeat("x", 300), Host: "gw.test"}, "from unknown by gw.test with ESMTP"},
		{Trace{HELO: "gr\u00fcn", Host: "gw.test"}, "from unknown by gw.test with ESMTP"},
	} {
		test.trace.Date = noon
		if got := Received(test.trace); got != test.want+date {
			t.Errorf("got  %s\nwant %s", got, test.want+date)
		}
	}
}
