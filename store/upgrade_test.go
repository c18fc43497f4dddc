package store

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"postern/routing"
)

// makeOld makes a database of an earlier version in dir, and fills it with a dump.
func makeOld(ctx context.Context, dir string, version int64, dump string) error {
	content, err := os.ReadFile(dump)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, databaseName)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	rw, err := openWriter(new(direct), file, time.Second)
	if err != nil {
		return err
	}
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, rw, steps, goose.WithDisableGlobalRegistry(true))
	if err == nil {
		_, err = provider.UpTo(ctx, version)
	}
	if err == nil {
		_, err = rw.ExecContext(ctx, string(content))
	}
	return errors.Join(err, rw.Close())
}

// What an earlier version left behind is all there, and goes on: the migrations were made
// for databases with mail in them, and TestSchema runs them on empty ones.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o700), makeOld(t.Context(), dir, 1, "testdata/version1.sql")); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, clock: &clock{now: time.Date(2026, 11, 27, 17, 1, 50, 0, time.UTC)}, dir: dir}
	r.start()

	for table, want := range map[string]int64{
		"accounts": 2, "addresses": 2, "certs": 1, "messages": 3, "bodies": 2, "stamps": 4, "recipients": 4, "deliveries": 6,
		"events": 24, "reports": 1, "entries": 6, "mailboxes": 36, "contents": 5, "mails": 5,
		"policies": 0, "servers": 0,
	} {
		if n := r.number("SELECT count(*) FROM " + table); n != want {
			t.Errorf("%d of %d %s are left", n, want, table)
		}
	}
	names, err := r.Subscriptions(t.Context(), "alice")
	if err != nil || !slices.Contains(names, "Own/Deep") || slices.Contains(names, "Sent") {
		t.Errorf("subscribed to %v, %v", names, err)
	}
	if items := r.items("alice", "Own/Deep"); len(items) != 1 || !slices.Equal(items[0].Keywords, []string{"$Label1"}) {
		t.Errorf("Own/Deep has %+v", items)
	}
	folders := map[routing.Folder]int{}
	for f := routing.FolderQueued; f <= routing.FolderFailed; f++ {
		folders[f] = len(r.entries("alice", f))
	}
	maps.DeleteFunc(folders, func(_ routing.Folder, n int) bool { return n == 0 })
	if want := (map[routing.Folder]int{routing.FolderQueued: 1, routing.FolderSent: 1, routing.FolderDelivered: 1, routing.FolderFailed: 2}); !maps.Equal(folders, want) {
		t.Errorf("alice sees %v, want %v", folders, want)
	}

	// What waited is sent. What had failed can be tried again where the content is there.
	r.try(routing.Sent)
	if got := r.state(6); got != routing.Relayed {
		t.Errorf("what was queued is %v", got)
	}
	if n := len(r.entries("alice", routing.FolderSent)); n != 2 {
		t.Errorf("%d entries in Status/Sent", n)
	}
	again := routing.Event{Kind: routing.EventRelease, By: "alice"}
	if _, err := r.Apply(t.Context(), 2, again); !errors.Is(err, routing.ErrCannot) {
		t.Errorf("a message without content is tried again: %v", err)
	}
	if r.apply(4, again); r.state(4) != routing.Queued {
		t.Errorf("what had failed is %v", r.state(4))
	}
	if err := r.SawServer(t.Context(), "ok.test", "mx.ok.test", 1, epoch); err != nil {
		t.Error(err)
	}
	if err := r.checkTables(t.Context()); err != nil {
		t.Error(err)
	}
}
