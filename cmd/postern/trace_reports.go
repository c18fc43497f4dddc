package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"postern/routing"
)

// printReports shows the reports about a message. They come from outside: what could steer
// a terminal is not shown as it came.
func (a *app) printReports(ctx context.Context, o *opened, id routing.MessageID) error {
	reports, err := o.db.Reports(ctx, id)
	if err != nil {
		return err
	}
	if len(reports) == 0 {
		a.printf("no report about %s is kept\n", id)
		return nil
	}
	_, place, err := a.spoolPlace()
	if err != nil {
		return err
	}
	spool, err := place.open()
	if err != nil {
		return fmt.Errorf("reports are sealed by the spool key: %w", err)
	}
	for _, r := range reports {
		raw, err := spool.Unwrap(routing.EvidenceContext(r.Delivery), r.Sealed)
		if err != nil {
			return fmt.Errorf("open a report about delivery %d: %w", r.Delivery, err)
		}
		a.printf("== %s, about %s:\n", r.At.In(time.Local).Format("2006-01-02 15:04:05 MST"), r.Address)
		for line := range bytes.Lines(raw) {
			line = bytes.ReplaceAll(bytes.TrimRight(line, "\r\n"), []byte("\t"), []byte("    "))
			a.printf("%s\n", printable(string(line)))
		}
	}
	return nil
}
