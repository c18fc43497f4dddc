package main

import (
	"database/sql"
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
	"deliveries that failed more than once": `SELECT count(*) FROM (SELECT delivery FROM events
		WHERE to_state = 'failed' AND from_state <> 'failed' GROUP BY delivery HAVING count(*) > 1)`,
	"queued deliveries without content": `SELECT count(*) FROM deliveries d WHERE d.state IN ('queued', 'sending')
		AND NOT EXISTS (SELECT 1 FROM recipients r JOIN bodies b ON b.message = r.message WHERE r.id = d.recipient)`,
	"alternates that were started though nothing before them failed": `SELECT count(*) FROM deliveries d
		WHERE d.step = 1 AND d.started IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deliveries p WHERE p.recipient = d.recipient AND p.step = 0 AND p.state = 'failed')`,
	"failures without their alternate": `SELECT count(*) FROM deliveries p WHERE p.step = 0 AND p.state = 'failed'
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.recipient = p.recipient AND d.step = 1 AND d.started IS NOT NULL)`,
}

// delivery is what the audit knows of a delivery.
type delivery struct{ id, address, state string }

// audit compares what the clients were promised with what is on file, and that with
// what the next hop has got. inFlight is how many copies may have been sent again.
func (w *world) audit(inFlight int) {
	w.t.Helper()
	db := openFile(w.t, w.gateway.Data())
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		w.t.Errorf("the database: %s, %v", verdict, err)
	}
	for what, query := range contradictions {
		if n := number(w.t, db, query); n != 0 {
			w.t.Errorf("there are %d %s", n, what)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	byID, byState, sent := w.read(db)
	lost := 0
	for id, n := range w.ids {
		if len(byID[id]) == 0 {
			lost++
			w.t.Errorf("message %d got its 250 as %s, and is not on file", n, id)
		}
		for _, d := range byID[id] {
			w.check(n, d)
		}
	}
	again := 0
	for address, n := range w.copies {
		again += max(0, n-sent[address])
		if n < sent[address] {
			w.t.Errorf("%d copies to %s were relayed, and %d came", sent[address], address, n)
		}
	}
	if again > inFlight {
		w.t.Errorf("%d copies were sent again, want %d at the most", again, inFlight)
	}
	var states []string
	for _, s := range slices.Sorted(maps.Keys(byState)) {
		states = append(states, fmt.Sprintf("%d %s", byState[s], s))
	}
	w.t.Logf("%d got their 250, %d are on file, %d of the promised are lost; deliveries: %s; %d copies at the next hop, %d sent again (at most %d)",
		len(w.ids), len(byID), lost, strings.Join(states, ", "), total(w.copies), again, inFlight)
}

// read reads all deliveries: by message, counted by state, and how many copies of each
// address the next hop has taken.
func (w *world) read(db *sql.DB) (byID map[string][]delivery, byState, sent map[string]int) {
	byID, byState, sent = map[string][]delivery{}, map[string]int{}, map[string]int{}
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
		byID[d.id] = append(byID[d.id], d)
		byState[d.state]++
		if relayed {
			sent[d.address]++
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return byID, byState, sent
}

// check compares where a delivery has come with what the world did to it.
func (w *world) check(n int, d delivery) {
	original, alternate := strings.CutPrefix(d.address, "alt-")
	failed := failing[kindOf(original)]
	want := "relayed"
	switch {
	case !alternate && failed:
		want = "failed"
	case alternate && !failed:
		want = "standby"
	}
	if d.state != want {
		w.t.Errorf("message %d, %s: the delivery to %s is %s, want %s", n, d.id, d.address, d.state, want)
	}
	if want == "relayed" && w.copies[d.address] == 0 {
		w.t.Errorf("message %d, %s: %s never got it", n, d.id, d.address)
	}
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
