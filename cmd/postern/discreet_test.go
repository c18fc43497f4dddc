package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// At info no line has an address, whatever it is about, and at debug all have them.
func TestLogWithoutAddresses(t *testing.T) {
	say := func(level, format string) string {
		var out bytes.Buffer
		log := newLog(Log{Level: level, Format: format}, &out).With("for", "ann@example.org")
		log.Info("sent to bob@example.org", "given", "Carol <carol@example.org>", "other", `"dora x"@example.org`,
			"err", fmt.Errorf("look: %w", errors.New("no key for erna@xn--bcher-kva.example: none")), "n", 3)
		log.WithGroup("g").Warn("keys", slog.Group("h", "to", "<fay+p-urgent@[192.0.2.1]>"), "gate", "4E4A")
		return out.String()
	}
	want := `level=INFO msg="sent to …@example.org" for=…@example.org given="Carol <…@example.org>" other=…@example.org err="look: no key for …@xn--bcher-kva.example: none" n=3
level=WARN msg=keys for=…@example.org g.h.to=<…@[192.0.2.1]> g.gate=4E4A
`
	var got strings.Builder
	for line := range strings.Lines(say("info", "text")) {
		_, rest, _ := strings.Cut(line, " ")
		got.WriteString(rest)
	}
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	for _, name := range []string{"ann", "bob", "carol", "dora", "erna", "fay"} {
		for _, format := range []string{"text", "json"} {
			if strings.Contains(say("warn", format), name) || strings.Contains(say("info", format), name) {
				t.Errorf("%s: %s is in it", format, name)
			}
			if !strings.Contains(say("debug", format), name) {
				t.Errorf("%s at debug: %s is not in it", format, name)
			}
		}
	}
}
