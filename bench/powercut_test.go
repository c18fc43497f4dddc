package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestPowerCuts (H4; D1, D7): all that the gateway writes is recorded while many connections
// submit, the next hop refuses and bounces, and the log is moved into the database. Then the
// power is cut again and again at a random moment of that record: what a sync had covered is
// on the disk, and of all else nothing, all, some, or only some sectors. Each time the gateway
// starts on what is left, without help; everything that had got its 250 is there, is whole, and
// comes to its end, and so is every report that came back.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	need(t, "strace", "-f", "-o", "/dev/null", "true")
	messages, cuts := pick(*messages, 60, 1200), pick(*kills, 4, 1000)
	random := random(t)
	w := newWorld(t)
	w.gateway = newGateway(t, w.addr, retryAtOnce)
	d, prepared := w.record(messages)
	promised := maps.Clone(w.ids)
	if len(d.answers) < messages {
		t.Fatalf("the record has %d answers to %d messages", len(d.answers), messages)
	}
	ways := fates(random)
	if lost := w.lostIfSyncsLie(d, promised, prepared, ways["nothing more"]); lost != messages {
		t.Fatalf("on a disk that keeps nothing, %d of %d messages are lost: the record would not show a loss", lost, messages)
	}
	found := 0
	for i := range cuts {
		way := slices.Sorted(maps.Keys(ways))[i%len(ways)]
		line := prepared + random.IntN(d.lines-prepared+1)
		w.outageAt(d, promised, line, ways[way])
		if t.Failed() {
			t.Fatalf("after a cut at line %d of %d, with %s kept", line, d.lines, way)
		}
		found += len(w.ids)
	}
	t.Logf("%d messages, %d reports, %d changes of files; %d power cuts; %d times a message that had its 250 was looked for, and was there",
		len(promised), len(d.reports), len(d.changes), cuts, found)
}

// record runs a gateway from its first start on, so that every change of a file is recorded:
// the account and the key are made, all messages come to their end, and it is told to stop.
// prepared is the line from which on all is promised that the commands have done.
func (w *world) record(messages int) (d *record, prepared int) {
	w.t.Helper()
	g := w.gateway
	err := os.RemoveAll(g.Data())
	if err == nil {
		err = os.Mkdir(g.Data(), 0o700)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	d = newRecord(w.t, g.Data())
	trace := filepath.Join(g.Dir, "trace")
	g.Wrap = recorder(trace)
	for _, command := range g.Setup() {
		if err := g.Command(w.t.Context(), command...); err != nil {
			w.t.Fatal(err)
		}
		d.read(w.t, trace)
	}
	prepared = d.lines
	startGateway(w.t, g)
	var submitting sync.WaitGroup
	for first := range submitters {
		submitting.Go(func() {
			for n := first; n < messages; n += submitters {
				if c := w.submitUntilTaken(nil, n, addressees(n)...); c != nil {
					c.Close()
				}
			}
		})
	}
	submitting.Wait()
	w.drain(patience())
	stopGateway(w.t, g)
	g.Wrap = nil
	d.read(w.t, trace)
	return d, prepared
}

// outageAt cuts the power at a line of the record, starts the gateway on what is left, and
// audits what becomes of it.
func (w *world) outageAt(d *record, promised map[string]int, line int, left fate) {
	w.t.Helper()
	w.mu.Lock()
	w.tried, w.copies, w.cut, w.ids = map[string]int{}, map[string]int{}, map[attempt]bool{}, map[string]int{}
	for id, n := range promised {
		if at, ok := d.answers[id]; ok && at < line {
			w.ids[id] = n
		}
	}
	w.mu.Unlock()
	if err := d.cut(line, line, left); err != nil {
		w.t.Fatal(err)
	}
	w.auditReports(d, line)
	otherBoot(w.t, w.gateway.Data())
	startGateway(w.t, w.gateway)
	w.drain(patience())
	stopGateway(w.t, w.gateway)
	w.auditOutage()
}

// auditReports makes sure that every report that got its 250 before a line is on file.
func (w *world) auditReports(d *record, line int) {
	w.t.Helper()
	promised, _ := slices.BinarySearch(d.reports, line)
	db := openFile(w.t, w.gateway.Data())
	defer db.Close()
	if n := number(w.t, db, "SELECT count(*) FROM reports"); n < promised {
		w.t.Errorf("%d reports got their 250, and %d are on file", promised, n)
	}
}

// lostIfSyncsLie is how many messages are lost on a disk that has ignored all syncs since the
// gateway was prepared: all, or what the record shows is not what the gateway depends on.
func (w *world) lostIfSyncsLie(d *record, promised map[string]int, prepared int, left fate) (lost int) {
	w.t.Helper()
	if err := d.cut(d.lines, prepared, left); err != nil {
		w.t.Fatal(err)
	}
	db := openFile(w.t, w.gateway.Data())
	defer db.Close()
	b := w.read(db)
	for id := range promised {
		if len(b.byID[id]) == 0 {
			lost++
		}
	}
	return lost
}

// otherBoot has the mark of a database be of another boot than this one, as after a power cut.
func otherBoot(t *testing.T, dir string) {
	t.Helper()
	mark := filepath.Join(dir, "postern.db-mark")
	text, err := os.ReadFile(mark)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = os.WriteFile(mark, bootOfMark.ReplaceAll(text, []byte(`"boot":"00000000-0000-0000-0000-000000000000"`)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var bootOfMark = regexp.MustCompile(`"boot":"[0-9a-f-]{36}"`)

// auditOutage is audit without what only the clients of one life of the gateway can tell: what
// had left before the power was cut has been counted by nobody.
func (w *world) auditOutage() {
	w.t.Helper()
	db := openFile(w.t, w.gateway.Data())
	defer db.Close()
	w.auditRows(db)
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.read(db)
	w.auditPromises(b)
	for _, ds := range b.byID {
		for _, d := range ds {
			// Its bounce may have come before the cut, and after the last sync; it is not on file then.
			original, alternate := strings.CutPrefix(d.address, "alt-")
			if kindOf(original) == "bounce" && (alternate && d.state == "standby" || !alternate && d.state == "relayed") && w.copies[original] == 0 {
				continue
			}
			w.check(d)
		}
	}
}
