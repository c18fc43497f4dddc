package relay

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"postern/internal/mailtest"
	"postern/routing"
)

// counted counts what goes through a connection.
type counted struct {
	net.Conn
	reads, writes *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// BenchmarkSend sends messages of 4 KB over kept connections to a server on loopback that
// does no more than to answer, by what it offers: what a message costs from Send to its
// outcome, the server's part included.
func BenchmarkSend(b *testing.B) {
	content := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 4000/78)
	for _, name := range []string{"to DATA", "whole"} {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			ln := mailtest.Listen(b)
			var serving sync.WaitGroup
			serving.Go(func() { serveFast(ln, &serving, waysToHold[name]) })
			var reads, writes atomic.Int64
			c := &Client{Hostname: "gw.test", Routes: map[string]string{"ok.test": ln.Addr().String()}, Concurrency: 48,
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, address)
					return counted{conn, &reads, &writes}, err
				}}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error)
			go func() { done <- c.Run(ctx) }()
			jobs := make(chan struct{})
			var senders sync.WaitGroup
			for range 40 {
				senders.Go(func() {
					for range jobs {
						if o := c.Send(ctx, parcel("s@gw.test", content, "a@ok.test"))[0]; o.Verdict != routing.Sent {
							b.Errorf("%s (%s)", summary(o), o.Text)
						}
					}
				})
			}
			b.ReportAllocs()
			b.ResetTimer()
			began := mailtest.ProcessorTime(b)
			for range b.N {
				jobs <- struct{}{}
			}
			close(jobs)
			senders.Wait()
			b.StopTimer()
			b.ReportMetric(float64((mailtest.ProcessorTime(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(reads.Load())/float64(b.N), "reads/op")
			b.ReportMetric(float64(writes.Load())/float64(b.N), "writes/op")
			cancel()
			<-done
			ln.Close()
			serving.Wait()
		})
	}
}

// serveFast takes all that comes, until ln is closed.
func serveFast(ln net.Listener, serving *sync.WaitGroup, offers []string) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		serving.Go(func() {
			defer conn.Close()
			answerFast(bufio.NewReaderSize(conn, 16<<10), bufio.NewWriter(conn), offers)
		})
	}
}

func answerFast(r *bufio.Reader, w *bufio.Writer, offers []string) {
	content := make([]byte, 64<<10)
	w.WriteString("220 fast.test\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			w.WriteString("250-fast.test\r\n")
			for _, o := range offers {
				w.WriteString("250-" + o + "\r\n")
			}
			w.WriteString("250 8BITMIME\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			w.WriteString("354 go on\r\n")
			w.Flush()
			for !bytes.Equal(line, []byte(".\r\n")) {
				if line, err = r.ReadSlice('\n'); err != nil {
					return
				}
			}
			w.WriteString("250 2.0.0 taken\r\n")
		case bytes.HasPrefix(line, []byte("BDAT")):
			n, _ := strconv.Atoi(string(bytes.Fields(line)[1]))
			if _, err := io.ReadFull(r, content[:n]); err != nil {
				return
			}
			w.WriteString("250 2.0.0 taken\r\n")
		default:
			w.WriteString("250 2.1.0 ok\r\n")
		}
	}
}
