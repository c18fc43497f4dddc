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

	"postern/routing"
)

// null takes everything at once.
type null struct{ gateway }

func (*null) Submit(context.Context, *routing.Submission) (routing.Receipt, error) {
	return routing.Receipt{ID: "01K00000000000000000000000"}, nil
}

// BenchmarkMessages sends messages of 4 KB over open connections, one after the
// other on each, and compares a device listener with the engine by itself: what the
// guard costs, and what it saves by sending replies together.
func BenchmarkMessages(b *testing.B) {
	content := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 4000/78) + ".\r\n"
	for _, size := range []string{"4K", "1M"} {
		if size == "1M" {
			content = "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1<<20/78) + ".\r\n"
		}
		for _, server := range []string{"engine", "postern"} {
			for _, conns := range []int{1, 20} {
				for _, style := range []string{"step", "pipelined"} {
					name := size + "/" + server + "/" + map[int]string{1: "1-connection", 20: "20-connections"}[conns] + "/" + style
					b.Run(name, func(b *testing.B) {
						addr := startBench(b, server)
						b.SetBytes(int64(len(content)))
						benchmarkMessages(b, addr, conns, style == "pipelined", content)
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

func benchmarkMessages(b *testing.B, addr string, conns int, pipelined bool, content string) {
	jobs := make(chan struct{})
	var wg sync.WaitGroup
	for range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		in := bufio.NewReader(c)
		expect := func(n int) {
			for range n {
				if line, err := in.ReadString('\n'); err != nil || line[0] != '2' && line[0] != '3' {
					b.Errorf("got %q, %v", line, err)
				}
			}
		}
		expect(1)
		io.WriteString(c, hello)
		expect(1)
		wg.Go(func() {
			defer c.Close()
			for range jobs {
				if pipelined {
					io.WriteString(c, from+to+data)
					expect(3)
				} else {
					for _, s := range []string{from, to, data} {
						io.WriteString(c, s)
						expect(1)
					}
				}
				io.WriteString(c, content)
				expect(1)
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		jobs <- struct{}{}
	}
	close(jobs)
	wg.Wait()
}
