package store

import (
	"errors"
	"testing"

	"github.com/mattn/go-sqlite3"
)

// D8: where moving the log beside the writer has failed so that nobody knows what is on disk,
// nothing that is committed is answered any more; what may come right is left for later.
func TestD8MoveThatFailed(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		ends bool
	}{
		"done":        {nil, false},
		"sync failed": {sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}, true},
		"damage":      {sqlite3.Error{Code: sqlite3.ErrCorrupt}, true},
		"busy":        {sqlite3.Error{Code: sqlite3.ErrBusy}, false},
		"full":        {sqlite3.Error{Code: sqlite3.ErrFull}, false},
	} {
		w := &writer{mover: newMover()}
		if err := w.failed(); err != nil {
			t.Errorf("%s: before an order: %v", name, err)
		}
		w.mover.order()
		if err := w.failed(); err != nil {
			t.Errorf("%s: while it is carried out: %v", name, err)
		}
		w.mover.done <- test.err
		if err := w.failed(); (err != nil) != test.ends || test.ends && !errors.Is(err, test.err) {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-w.mover.done; err != test.err {
			t.Errorf("%s: what is looked at between transactions is %v", name, err)
		}
	}
}
