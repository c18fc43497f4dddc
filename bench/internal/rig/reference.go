package rig

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/emersion/go-smtp"
	_ "github.com/mattn/go-sqlite3" // the driver, by its name
)

// Reference is the bound for acceptance: the SMTP library's own server, which puts
// every message into the same database as one row, many in one commit, with nothing in
// between. It is run by this program itself; see ServeReference.
type Reference struct {
	Dir string // made where missing
	*process
	addr string
}

// ReferenceCommand is the argument with which Reference runs this program, followed by
// the directory and the address: main must hand them to ServeReference.
const ReferenceCommand = "serve-reference"

// Addr is a Server's.
func (r *Reference) Addr() string { return r.addr }

// Start is like Gateway's.
func (r *Reference) Start(ctx context.Context) error {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	addrs, err := FreePorts(1)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r.addr = addrs[0]
	if r.process, err = start(exec.Command(self, ReferenceCommand, r.Dir, r.addr), filepath.Join(r.Dir, "log")); err != nil {
		return err
	}
	if err := r.await(ctx, r.addr); err != nil {
		return errors.Join(err, r.Kill())
	}
	return nil
}

// ServeReference serves at addr until ctx ends.
func ServeReference(ctx context.Context, dir, addr string) error {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "reference.db")+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE messages (id INTEGER PRIMARY KEY, sender TEXT, recipient TEXT, data BLOB)"); err != nil {
		return err
	}
	w := &committer{db: db, rows: make(chan *row)}
	committing, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- w.run(committing) }()

	l, err := net.Listen("tcp", addr)
	if err == nil {
		s := smtp.NewServer(w)
		s.Domain, s.MaxMessageBytes, s.MaxRecipients = "reference.test", 100<<20, 100
		s.ReadTimeout, s.WriteTimeout = time.Minute, time.Minute
		defer context.AfterFunc(ctx, func() { s.Close() })()
		if err = s.Serve(l); errors.Is(err, smtp.ErrServerClosed) {
			err = nil
		}
	}
	stop()
	return errors.Join(err, <-ended)
}

// committer writes rows, all that wait in one transaction.
type committer struct {
	db   *sql.DB
	rows chan *row
}

type row struct {
	from, to string
	data     []byte
	done     chan error
}

func (w *committer) run(ctx context.Context) error {
	for {
		var batch []*row
		select {
		case <-ctx.Done():
			return nil
		case r := <-w.rows:
			batch = append(batch, r)
		}
		for more := true; more; {
			select {
			case r := <-w.rows:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		err := w.commit(batch)
		for _, r := range batch {
			r.done <- err
		}
	}
}

func (w *committer) commit(batch []*row) error {
	tx, err := w.db.Begin()
	if err != nil {
		return err
	}
	insert, err := tx.Prepare("INSERT INTO messages (sender, recipient, data) VALUES (?, ?, ?)")
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	defer insert.Close()
	for _, r := range batch {
		if _, err := insert.Exec(r.from, r.to, r.data); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// NewSession is a smtp.Backend's.
func (w *committer) NewSession(*smtp.Conn) (smtp.Session, error) {
	return &referenceSession{w: w}, nil
}

type referenceSession struct {
	w   *committer
	row row
}

// Mail is a smtp.Session's, as are those below.
func (s *referenceSession) Mail(from string, _ *smtp.MailOptions) error {
	s.row = row{from: from, done: make(chan error, 1)}
	return nil
}

func (s *referenceSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.row.to = to
	return nil
}

func (s *referenceSession) Data(r io.Reader) (err error) {
	if s.row.data, err = io.ReadAll(r); err != nil {
		return err
	}
	row := s.row
	s.w.rows <- &row
	if err := <-row.done; err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func (s *referenceSession) Reset()        {}
func (s *referenceSession) Logout() error { return nil }
