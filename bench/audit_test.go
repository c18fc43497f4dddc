package main

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// openFile opens the gateway's database to look at it, beside the gateway and by SQL:
// what the gateway says of itself is not asked.
func openFile(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "postern.db")+"?mode=ro&_query_only=1&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func number(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// contradictions are queries that must count nothing, whatever has happened.
var contradictions = map[string]string{
	"messages that are there without all of their deliveries": `SELECT count(*) FROM recipients r
		WHERE (SELECT count(*) FROM deliveries d WHERE d.recipient = r.id) <> 2`,
	"messages without a recipient": `SELECT count(*) FROM messages m WHERE NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message = m.key)`,
	"deliveries that were started twice": `SELECT count(*) FROM (SELECT delivery FROM events
		WHERE kind = 'start' AND fits = 1 GROUP BY delivery HAVING count(*) > 1)`,
	"attempts that were registered twice": `SELECT count(*) FROM (SELECT delivery FROM events
		WHERE kind = 'claim' GROUP BY delivery, attempt HAVING count(*) > 1)`,
	"deliveries in a state that is not that of their last event": `SELECT count(*) FROM deliveries d WHERE d.state <>
		(SELECT to_state FROM events e WHERE e.delivery = d.id AND e.fits = 1 ORDER BY e.id DESC LIMIT 1)`,
	"events that do not follow on the one before": `SELECT count(*) FROM (SELECT from_state,
		lag(to_state, 1, '') OVER (PARTITION BY delivery ORDER BY id) AS before FROM events WHERE fits = 1) WHERE from_state <> before`,
	"deliveries that failed more than once": `SELECT count(*) FROM (SELECT delivery FROM events
		WHERE to_state = 'failed' AND from_state <> 'failed' GROUP BY delivery HAVING count(*) > 1)`,
	"queued deliveries without content": `SELECT count(*) FROM deliveries d WHERE d.state IN ('queued', 'sending')
		AND NOT EXISTS (SELECT 1 FROM recipients r JOIN bodies b ON b.message = r.message WHERE r.id = d.recipient)`,
	"alternates that were started though nothing before them failed": `SELECT count(*) FROM deliveries d
		WHERE d.step = 1 AND d.started IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deliveries p WHERE p.recipient = d.recipient AND p.step = 0 AND p.state = 'failed')`,
	"failures without their alternate": `SELECT count(*) FROM deliveries p WHERE p.step = 0 AND p.state = 'failed'
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.recipient = p.recipient AND d.step = 1 AND d.started IS NOT NULL)`,
	"chains of which the sender was told twice that they failed, or never": `SELECT count(*) FROM recipients r
		WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.recipient = r.id AND d.step = 1 AND d.state = 'failed')
		AND (SELECT count(*) FROM deliveries d JOIN events e ON e.delivery = d.id WHERE d.recipient = r.id AND e.kind = 'told' AND e.fits = 1) <> 1`,
	"messages that failed and have no notice of it in the sender's mailbox, or two": `SELECT abs((SELECT count(*) FROM mails) -
		(SELECT count(DISTINCT r.message) FROM recipients r JOIN deliveries d ON d.recipient = r.id WHERE d.step = 1 AND d.state = 'failed'))`,
	"numbers of stamps that stand for two messages": `SELECT count(*) FROM (SELECT sequence FROM messages WHERE sequence > 0 GROUP BY account, sequence HAVING count(*) > 1)`,
	"gaps in the numbers of stamps":                 `SELECT coalesce(max(sequence), 0) - count(*) FROM stamps`,
}

// delivery is what the audit knows of a delivery.
type delivery struct{ id, address, state string }

// books are what the database says, read by SQL.
type books struct {
	byID    map[string][]delivery // of messages that clients submitted
	byState map[string]int
	relayed map[string]int // by address: deliveries that the next hop has taken
}

// audit compares what the clients were promised with what is on file, and that with
// what the next hop has got.
func (w *world) audit() {
	w.t.Helper()
	db := openFile(w.t, w.gateway.Data())
	defer db.Close()
	w.auditRows(db)
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.read(db)
	lost := w.auditPromises(b)
	unheard := 0
	for id, ds := range b.byID {
		if _, promised := w.ids[id]; !promised {
			unheard++
		}
		for _, d := range ds { // whoever has its message on file is served, 250 or not
			w.check(d)
		}
	}
	if unheard > submitters*w.killed {
		w.t.Errorf("%d messages are on file without a 250, which is more than can have been under way at %d kills", unheard, w.killed)
	}
	again := w.countCopies(b)
	var states []string
	ended := 0
	for _, s := range slices.Sorted(maps.Keys(b.byState)) {
		states, ended = append(states, fmt.Sprintf("%d %s", b.byState[s], s)), ended+b.byState[s]
	}
	w.t.Logf("%d got their 250, and %d were stored when the gateway was killed before it could say so; %d of the promised are lost",
		len(w.ids), unheard, lost)
	w.t.Logf("%d deliveries: %s; %d notices", ended, strings.Join(states, ", "), number(w.t, db, "SELECT count(*) FROM mails"))
	w.t.Logf("%d copies at the next hop, of which %d were opened and found whole; %d were sent again; %d attempts were under way at %d kills",
		total(w.copies), w.opened, again, len(w.cut), w.killed)
}

// auditRows makes sure that what is on file does not contradict itself.
func (w *world) auditRows(db *sql.DB) {
	w.t.Helper()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		w.t.Errorf("the database: %s, %v", verdict, err)
	}
	for what, query := range contradictions {
		if n := number(w.t, db, query); n != 0 {
			w.t.Errorf("there are %d %s", n, what)
		}
	}
}

// auditPromises makes sure that everything that got its 250 is on file. It returns how much is not.
func (w *world) auditPromises(b books) (lost int) {
	w.t.Helper()
	for id, n := range w.ids {
		if len(b.byID[id]) != 2*w.asked[n] {
			lost++
			w.t.Errorf("message %d to %d recipients got its 250 as %s, and has %d deliveries on file", n, w.asked[n], id, len(b.byID[id]))
		}
	}
	return lost
}

// countCopies makes sure that every copy that came was one to be sent, and that none was
// sent again but what was under way at a kill. It returns how many were.
func (w *world) countCopies(b books) (again int) {
	w.t.Helper()
	cut := map[string]int{}
	for a := range w.cut {
		cut[a.address]++
	}
	for address, n := range w.copies {
		more := n - b.relayed[address]
		switch {
		case more < 0:
			w.t.Errorf("%d copies to %s were relayed, and %d came", b.relayed[address], address, n)
		case b.relayed[address] == 0:
			w.t.Errorf("%d copies came to %s, and none was to be sent", n, address)
		case more > cut[address]:
			w.t.Errorf("%d copies to %s were sent again, and %d attempts were under way at a kill", more, address, cut[address])
		}
		again += max(0, more)
	}
	for address, n := range b.relayed {
		if w.copies[address] == 0 {
			w.t.Errorf("%d copies to %s were relayed, and none came", n, address)
		}
	}
	return again
}

// auditView asks the running gateway, by IMAP, whether its folders show what is on file.
func (w *world) auditView() {
	w.t.Helper()
	db := openFile(w.t, w.gateway.Data())
	defer db.Close()
	c, err := dialIMAP(w.gateway.IMAPS)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.conn.Close()
	for folder, query := range map[string]string{
		"Status/Queued": "deliveries WHERE state IN ('queued', 'sending')", "Status/Sent": "deliveries WHERE state = 'relayed'",
		"Status/Failed": "deliveries WHERE state = 'failed'", "Status/Held": "deliveries WHERE state = 'held'", "INBOX": "mails",
	} {
		shown, err := countOf(c, folder)
		if want := number(w.t, db, "SELECT count(*) FROM "+query); err != nil || shown != want {
			w.t.Errorf("%s shows %d entries, want %d: %v", folder, shown, want, err)
		}
	}
}

// countOf is how many messages a folder holds.
func countOf(c *imapClient, folder string) (n int, err error) {
	line, err := c.ask("s STATUS "+folder+" (MESSAGES)\r\n", "* STATUS")
	if err != nil {
		return 0, err
	}
	_, line, _ = strings.Cut(line, "(MESSAGES ")
	_, err = fmt.Sscanf(line, "%d)", &n)
	return n, errors.Join(err, c.say("", "s OK"))
}

// read reads all messages and deliveries.
func (w *world) read(db *sql.DB) books {
	b := books{byID: map[string][]delivery{}, byState: map[string]int{}, relayed: map[string]int{}}
	rows, err := db.Query(`SELECT m.id, d.address, d.state, d.relayed IS NOT NULL FROM messages m
		JOIN recipients r ON r.message = m.key JOIN deliveries d ON d.recipient = r.id`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var d delivery
		var relayed bool
		if err := rows.Scan(&d.id, &d.address, &d.state, &relayed); err != nil {
			w.t.Fatal(err)
		}
		b.byID[d.id] = append(b.byID[d.id], d)
		b.byState[d.state]++
		if relayed {
			b.relayed[d.address]++
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// check compares where a delivery has come with what the world did to it.
func (w *world) check(d delivery) {
	original, alternate := strings.CutPrefix(d.address, "alt-")
	kind := kindOf(original)
	want := "relayed"
	switch {
	case !alternate && failing[kind], alternate && kind == "lost":
		want = "failed"
	case alternate && !failing[kind]:
		want = "standby"
	}
	if d.state != want {
		w.t.Errorf("message %s: the delivery to %s is %s, want %s", d.id, d.address, d.state, want)
	}
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
