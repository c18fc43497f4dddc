package imapd

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
)

// TestT28GoneIsNoFault: a client that breaks off makes no line that an operator is to act on;
// a fault of ours does.
func TestT28GoneIsNoFault(t *testing.T) {
	reset := &net.OpError{Op: "write", Net: "tcp", Err: errors.New("connection reset by peer")}
	for _, tt := range []struct {
		err    error
		silent bool
	}{{fmt.Errorf("send: %w", reset), true}, {net.ErrClosed, true}, {errors.New("read mail: broken"), false}} {
		var out bytes.Buffer
		if answer(slog.New(slog.NewTextHandler(&out, nil)), "fetch", tt.err) == nil {
			t.Errorf("%v: no error", tt.err)
		}
		if line := out.String(); strings.Contains(line, "level=ERROR") == tt.silent {
			t.Errorf("%v: logged %q", tt.err, line)
		}
	}
}
