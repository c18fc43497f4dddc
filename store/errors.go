package store

import (
	"database/sql"
	"errors"
	"fmt"
	"syscall"

	sqlite3 "github.com/mattn/go-sqlite3"

	"postern/routing"
)

// explain gives an error of the database the name that the rest of the gateway knows it
// by.
func explain(err error) error {
	var e sqlite3.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return routing.ErrNotFound
	case outOfSpace(err):
		return named(routing.ErrDiskFull, err)
	case !errors.As(err, &e):
		return err
	case e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked:
		return named(routing.ErrBusy, err)
	case e.ExtendedCode == sqlite3.ErrConstraintUnique || e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey:
		return named(routing.ErrExists, err)
	}
	return err
}

// named puts a sentinel before err, once.
func named(sentinel, err error) error {
	if errors.Is(err, sentinel) {
		return err
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}

// outOfSpace reports whether err says that there is no room, whoever says it.
func outOfSpace(err error) bool {
	var e sqlite3.Error
	if errors.As(err, &e) {
		if e.Code == sqlite3.ErrFull {
			return true
		}
		if e.Code == sqlite3.ErrIoErr && e.ExtendedCode != sqlite3.ErrIoErrFsync {
			return e.SystemErrno == syscall.ENOSPC || e.SystemErrno == syscall.EDQUOT
		}
		return false
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// beyondTrust reports whether after err nobody can say what is on disk: then no further
// write may be answered.
func beyondTrust(err error) bool {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return e.Code == sqlite3.ErrIoErr && !outOfSpace(err) || damaged(err)
	}
	return errors.Is(err, errSync) || damaged(err)
}

// errDamaged is in the error of a check that found damage.
var errDamaged = errors.New("damage")

// damaged reports whether err says that the database itself cannot be read.
func damaged(err error) bool {
	var e sqlite3.Error
	return errors.Is(err, errDamaged) || errors.As(err, &e) && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB)
}

// errSync is in the error of a file of ours that could not be synced.
var errSync = errors.New("sync file")

// synced marks the error of a sync: after it nobody knows what is on disk. Only a full
// disk is sure to have kept nothing.
func synced(err error) error {
	if err == nil || outOfSpace(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errSync, err)
}
