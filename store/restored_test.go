package store

import (
	"os"
	"path/filepath"
	"testing"
)

// What was numbered in a database that is lost does not share its number with what comes
// after a backup was put in its place.
func TestRestoredNumbers(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(dir string) error // what the one who restores it does
	}{
		{"with its mark", func(string) error { return nil }},
		{"without a mark", func(dir string) error { return os.Remove(filepath.Join(dir, markName)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			was := backends()[0].open(t)
			was.accounts("alice")
			was.accept(was.letter([]string{"bob@ok.test"}))
			backup := copyOf(t, was.dir)
			lost := was.accept(was.letter([]string{"carol@ok.test"})) // what the backup has not
			event := was.number("SELECT max(id) FROM events")
			was.accounts("carol")
			if err := test.harm(backup); err != nil {
				t.Fatal(err)
			}

			is := &rig{t: t, clock: was.clock, dir: backup, messages: was.messages}
			is.start()
			last := was.number("SELECT max(uid_validity) FROM mailboxes")
			if v := is.number("SELECT min(uid_validity) FROM mailboxes"); v <= last {
				t.Errorf("UIDVALIDITY %d after %d", v, last)
			}
			if next := is.accept(is.letter([]string{"dora@ok.test"})); next[0] <= lost[0] {
				t.Errorf("delivery %d after %d", next[0], lost[0])
			}
			if first := is.number("SELECT min(id) FROM events WHERE id > 1"); first <= event {
				t.Errorf("event %d after %d", first, event)
			}
			is.accounts("erna")
			if v := is.number("SELECT max(uid_validity) FROM mailboxes"); v <= last {
				t.Errorf("UIDVALIDITY of a new mailbox %d after %d", v, last)
			}

			// Once only: it is its own from then on.
			before := is.number("SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'")
			is.restart()
			if after := is.number("SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'"); after != before {
				t.Errorf("numbers go on from %d after a start, and it was %d", after, before)
			}
		})
	}
}
