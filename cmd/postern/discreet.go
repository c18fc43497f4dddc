package main

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
)

// discreet is a handler that leaves the local parts of addresses out of what it hands on:
// at info a log has none (T28), wherever they come from, such as in the text of an error.
type discreet struct{ slog.Handler }

// address finds what looks like one, in a text of any kind; the domain is kept.
var address = regexp.MustCompile(`(?:"(?:[^"\\]|\\.)*"|[^\s"<>(),;:=@]+)@([\pL\pN.\[-][\pL\pN.:\]-]*)`)

func withoutAddresses(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	return address.ReplaceAllString(s, "…@$1")
}

// Handle is a slog.Handler's.
func (d discreet) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, withoutAddresses(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(discreetAttr(a))
		return true
	})
	return d.Handler.Handle(ctx, clean)
}

// WithAttrs is a slog.Handler's.
func (d discreet) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = discreetAttr(a)
	}
	return discreet{d.Handler.WithAttrs(clean)}
}

// WithGroup is a slog.Handler's.
func (d discreet) WithGroup(name string) slog.Handler { return discreet{d.Handler.WithGroup(name)} }

// discreetAttr is a with values that may hold an address as texts without one.
func discreetAttr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindString, slog.KindAny:
		if text := a.Value.String(); strings.Contains(text, "@") {
			return slog.String(a.Key, withoutAddresses(text))
		}
	case slog.KindGroup:
		group := a.Value.Group()
		clean := make([]slog.Attr, len(group))
		for i, member := range group {
			clean[i] = discreetAttr(member)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}
	}
	return a
}
