package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"postern/internal/mailtest"
)

// TestPurge purges beside a running gateway what is done for long, and leaves what is not, and
// what is its reader's.
func TestPurge(t *testing.T) {
	mailtest.Need(t, "swaks", "curl")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l := startLocal(t, filepath.Join(t.TempDir(), "data"))
	defer l.stop()

	bounced := l.swaks("x@bounce.test", "--h-Postern-Alternate", "ops@postern.test")
	held := l.swaks("y@ok.test", "--h-Postern-Not-Before", "360d")
	l.untilCount("alice", "Status/Failed", 1)
	l.untilCount("alice", "Status/Delivered", 1)
	l.untilCount("ops", "INBOX", 1)

	l.turn("10d") // both are closed, and not yet long enough ago
	l.until("end of the wait for reports", func() bool { return !strings.Contains(l.postern("queue", "list", "--all"), "bounce.test") })
	if said := l.postern("purge", "--older-than", "14d"); said != "removed: messages 0, reports 0\n" {
		t.Errorf("after ten days: %s", said)
	}
	l.turn("15d")
	purged := "to be removed: messages 1, reports 0\n"
	if said := l.postern("purge", "--older-than", "14d", "--dry-run"); said != purged {
		t.Errorf("looking: %s", said)
	}
	if trace := l.postern("trace", bounced); !strings.Contains(trace, "x@bounce.test") {
		t.Errorf("the trace before: %s", trace)
	}
	if said := l.postern("purge", "--older-than", "14d"); said != strings.TrimPrefix(purged, "to be ") {
		t.Errorf("purge: %s", said)
	}
	for folder, want := range map[string]int{"Failed": 0, "Delivered": 0, "Queued": 1} {
		l.untilCount("alice", "Status/"+folder, want)
	}
	l.untilCount("ops", "Status/Incoming/Settled", 0)
	if n := l.count("ops", "INBOX"); n != 1 {
		t.Errorf("%d mails are left in INBOX", n)
	}
	var out, errs output
	if status := run(context.Background(), []string{"trace", bounced, "--data", l.dir}, strings.NewReader(""), &out, &errs); status != exitFault ||
		!strings.Contains(errs.String(), "there is no message "+bounced) || !strings.Contains(errs.String(), "1 that were done have been purged") {
		t.Errorf("the trace after: %d %s%s", status, out.String(), errs.String())
	}
	if trace := l.postern("trace", held); !strings.Contains(trace, "y@ok.test") {
		t.Errorf("the trace of what waits: %s", trace)
	}
	if metrics := l.shell("", nil, "curl", "-sS", "http://"+l.at["metrics"]+"/metrics"); !strings.Contains(metrics, "\npostern_purged_messages_total 1\n") {
		t.Error("the metrics do not count what was purged")
	}
}
