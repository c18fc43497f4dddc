package smtpd

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/internal/mailtest"
	"postern/routing"
)

// null takes everything at once.
type null struct{ gateway }

func (*null) Submit(context.Context, *routing.Submission) (routing.Receipt, error) {
	return routing.Receipt{ID: "01K00000000000000000000000"}, nil
}

// BenchmarkMessages sends messages of 4 KB and of 1 MB over open connections, one after the
// other on each, and of 4 KB each over a connection of its own; it compares a device listener
// with the engine by itself: what the guard costs, and what it saves by sending replies
// together. The processor time includes the client's.
func BenchmarkMessages(b *testing.B) {
	content := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 4000/78) + ".\r\n"
	for _, size := range []string{"4K", "1M"} {
		if size == "1M" {
			content = "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1<<20/78) + ".\r\n"
		}
		for _, server := range []string{"engine", "postern"} {
			for _, conns := range []int{1, 20} {
				for _, style := range []string{"step", "pipelined", "connect"} {
					if size == "1M" && style == "connect" {
						continue
					}
					name := size + "/" + server + "/" + map[int]string{1: "1-connection", 20: "20-connections"}[conns] + "/" + style
					b.Run(name, func(b *testing.B) {
						addr := startBench(b, server)
						b.SetBytes(int64(len(content)))
						benchmarkMessages(b, addr, conns, style, []byte(content))
					})
				}
			}
		}
	}
}

func startBench(b *testing.B, server string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if server == "engine" {
		engine := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return discard{}, nil }))
		engine.MaxMessageBytes, engine.ReadTimeout, engine.WriteTimeout = 50<<20, time.Minute, time.Minute
		go engine.Serve(l)
		b.Cleanup(func() { engine.Close() })
		return l.Addr().String()
	}
	s := listenerOf(b, "device", &gateway{}, Limits{}).(*Submission)
	s.Submit, s.Log = &null{}, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		<-done
	})
	return l.Addr().String()
}

func benchmarkMessages(b *testing.B, addr string, conns int, style string, content []byte) {
	jobs := make(chan struct{})
	var wg sync.WaitGroup
	for range conns {
		c := dialBench(b, addr)
		wg.Go(func() {
			defer func() { c.Close() }()
			for range jobs {
				c.message(b, style == "pipelined", content)
				if style == "connect" {
					c.say(b, 1, "QUIT\r\n")
					c.Close()
					c = dialBench(b, addr)
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
	wg.Wait()
	b.ReportMetric(float64((mailtest.ProcessorTime(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// benchClient speaks SMTP at little cost.
type benchClient struct {
	net.Conn
	in *bufio.Reader
}

func dialBench(b *testing.B, addr string) *benchClient {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	c := &benchClient{conn, bufio.NewReaderSize(conn, 512)}
	c.say(b, 1)
	c.say(b, 1, hello)
	return c
}

func (c *benchClient) message(b *testing.B, pipelined bool, content []byte) {
	if pipelined {
		c.say(b, 3, from+to+data)
	} else {
		c.say(b, 1, from)
		c.say(b, 1, to)
		c.say(b, 1, data)
	}
	c.Write(content)
	c.say(b, 1)
}

// say sends what is said, and waits for n lines of replies.
func (c *benchClient) say(b *testing.B, n int, said ...string) {
	for _, s := range said {
		io.WriteString(c, s)
	}
	for range n {
		if line, err := c.in.ReadSlice('\n'); err != nil || line[0] != '2' && line[0] != '3' {
			b.Errorf("got %q, %v", line, err)
		}
	}
}
