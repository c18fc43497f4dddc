package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mailtest"
	"postern/routing"
)

// ways to hold an exchange, by what a server offers.
var waysToHold = map[string][]string{"step by step": nil, "to DATA": {"PIPELINING"}, "whole": {"PIPELINING", "CHUNKING"}}

// TestNothingLostNothingTwice sends many messages at once past a server that fails
// at random, in every way, and compares what the client says of each with what the
// server has: sent is there once, unknown at most once, and any other not at all.
func TestNothingLostNothingTwice(t *testing.T) {
	for name, offers := range waysToHold {
		t.Run(name, func(t *testing.T) {
			count := map[routing.Verdict]int{}
			for seed := range uint64(5) {
				synctest.Test(t, func(t *testing.T) {
					p := newPeer(offers...)
					p.lag, p.chance = 5*time.Millisecond, rand.New(rand.NewPCG(seed, 1))
					p.deny = func(a string) string {
						if strings.HasPrefix(a, "no") {
							return "550 5.1.1 no such user"
						}
						return ""
					}
					c := p.client()
					stop := keep(t, c)
					var mu sync.Mutex
					outcomes := map[string]routing.Outcome{}
					var senders sync.WaitGroup
					for worker := range 16 {
						senders.Go(func() {
							for n := range 20 {
								to := fmt.Sprintf("ok-%d-%d@x.test", worker, n)
								if (worker+n)%7 == 0 {
									to = "no" + to
								}
								o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", to))[0]
								mu.Lock()
								outcomes[to] = o
								mu.Unlock()
							}
						})
					}
					senders.Wait()
					stop()
					p.serving.Wait()
					for to, o := range outcomes {
						count[o.Verdict]++
						taken := p.taken[to]
						switch o.Verdict {
						case routing.Sent:
							if taken != 1 {
								t.Errorf("seed %d: %s was sent (%s), and taken %d times", seed, to, o.Text, taken)
							}
						case routing.Unknown:
							if taken > 1 {
								t.Errorf("seed %d: %s is unknown (%s), and taken %d times", seed, to, o.Text, taken)
							}
						default:
							if taken != 0 {
								t.Errorf("seed %d: %s came to %s (%s), and was taken %d times", seed, to, summary(o), o.Text, taken)
							}
						}
						if o.Verdict == routing.Refused && !strings.HasPrefix(to, "no") && o.Code != 552 {
							t.Errorf("seed %d: %s was refused with %d %s", seed, to, o.Code, o.Text)
						}
					}
				})
			}
			t.Logf("%v", count)
			if count[routing.Sent] < 200 || count[routing.Unknown] == 0 || count[routing.Deferred] == 0 {
				t.Errorf("the faults were not what they should be: %v", count)
			}
		})
	}
}

// rate has each of senders send so many messages, and returns how many were taken
// for each second that each connection was open.
func rate(t testing.TB, p *peer, senders, each int) float64 {
	c := p.client()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	var wg sync.WaitGroup
	for worker := range senders {
		wg.Go(func() {
			for n := range each {
				if o := c.Send(ctx, parcel("s@gw.test", "x\r\n", fmt.Sprintf("%d-%d@x.test", worker, n)))[0]; o.Verdict != routing.Sent {
					t.Errorf("%s (%s)", summary(o), o.Text)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	<-done
	p.serving.Wait()
	return float64(senders*each) / p.lived.Seconds()
}

// TestRoundTrips measures, at 50 ms for the round trip and in the time of a bubble,
// so to the digit: an exchange that waits for every reply against ours.
func TestRoundTrips(t *testing.T) {
	rates := map[string]float64{}
	for name, offers := range waysToHold {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(offers...)
			p.lag = 25 * time.Millisecond
			began := time.Now()
			rates[name] = rate(t, p, 16, 250)
			t.Logf("%-12s %6.1f messages per connection-second, %6.1f per second, over %d connections", name, rates[name],
				4000/time.Since(began).Seconds(), p.sessions)
		})
	}
	if got := rates["whole"] / rates["step by step"]; got < 10 {
		t.Errorf("whole flights are %.1f times as fast as step by step, want 10", got)
	}
	if got := rates["to DATA"] / rates["step by step"]; got < 3 {
		t.Errorf("flights to DATA are %.1f times as fast as step by step, want 3", got)
	}
}

func BenchmarkRoundTrip50ms(b *testing.B) {
	for _, name := range []string{"step by step", "to DATA", "whole"} {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			for b.Loop() {
				p := newPeer(waysToHold[name]...)
				p.lag = 25 * time.Millisecond
				b.ReportMetric(rate(b, p, 16, 60), "msg/conn-s")
			}
		})
	}
}

// TestWrites counts what one message after the other takes: content leaves with its final
// dot, and where it may be sent unasked, with the commands.
func TestWrites(t *testing.T) {
	for _, tt := range []struct {
		way     string
		content string
		want    int64 // for each message
	}{
		{"step by step", "x\r\n", 4}, {"to DATA", "x\r\n", 2}, {"whole", "x\r\n", 1},
		{"to DATA", strings.Repeat("0123456789abcde\r\n.\r\n", 1500), 2},
	} {
		t.Run(tt.way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(waysToHold[tt.way]...)
				var reads, writes atomic.Int64
				c := p.client()
				c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := p.dial(ctx, network, address)
					return counted{conn, &reads, &writes}, err
				}
				stop := keep(t, c)
				send := func() {
					if o := c.Send(t.Context(), parcel("s@gw.test", tt.content, "a@x.test"))[0]; o.Verdict != routing.Sent {
						t.Errorf("%s (%s)", summary(o), o.Text)
					}
				}
				send()
				before := writes.Load()
				for range 10 {
					send()
				}
				if got := writes.Load() - before; got != 10*tt.want {
					t.Errorf("%d writes for ten messages, want %d", got, 10*tt.want)
				}
				stop()
				p.serving.Wait()
			})
		})
	}
}

// talk is a server's side of a connection that takes messages: the hello, and what
// comes after it.
func talk(t *testing.T, lines ...string) *mailtest.Script {
	return script(t, append([]string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250-PIPELINING", "S: 250 CHUNKING"}, lines...)...)
}

var (
	toDATA = []string{"C: MAIL *", "C: RCPT *", "C: DATA", "S: 250 ok", "S: 250 ok", "S: 354 go", "B:", "S: 250 2.0.0 ok"}
	whole  = []string{"C: MAIL *", "C: RCPT *", "BDAT:", "S: 250 ok", "S: 250 ok", "S: 250 2.0.0 ok"}

	// flights is the hello of a server with PIPELINING alone, and slowDATA what toDATA is where
	// it takes its time over the content.
	flights  = []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250 PIPELINING"}
	slowDATA = append(slices.Clone(toDATA[:len(toDATA)-1]), "wait 1s", "S: 250 2.0.0 ok")
)

// TestKept has what can happen to a connection that is kept: the second message is
// sent all the same, once, over it or over another one.
func TestKept(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pause time.Duration
		first []string // after the first message
		again bool     // the second message needs another connection
	}{
		{"reused", time.Second, append(slices.Clone(whole), "C: QUIT"), false},
		{"reused after a rest", 20 * time.Second, append(slices.Clone(toDATA), "C: QUIT"), false},
		{"too long a rest", maxIdle + time.Second, []string{"C: QUIT"}, true},
		{"closed at rest", time.Second, []string{"close"}, true},
		{"reset at rest", time.Second, []string{"wait 10ms", "reset"}, true},
		{"421 at rest", time.Second, []string{"wait 500ms", "S: 421 4.4.2 idle", "stall"}, true},
		{"a stray reply at rest", time.Second, []string{"wait 500ms", "S: 250 ok", "stall"}, true},
		{"a stray reply at once", time.Second, []string{"S: 250 ok", "stall"}, true},
		{"421 to MAIL of a whole flight", time.Second, []string{"C: MAIL *", "C: RCPT *", "BDAT:", "S: 421 4.4.2 enough"}, true},
		{"421 to RCPT of a whole flight", time.Second, []string{"C: MAIL *", "C: RCPT *", "BDAT:", "S: 250 ok", "S: 421 4.4.2 enough"}, true},
		{"421 to MAIL", 3 * time.Second, []string{"C: MAIL *", "S: 421 4.4.2 enough"}, true},
		{"421 to DATA", 3 * time.Second, []string{"C: MAIL *", "C: RCPT *", "C: DATA", "S: 250 ok", "S: 250 ok", "S: 421 4.4.2 enough"}, true},
		{"lost at MAIL", 3 * time.Second, []string{"C: MAIL *", "close"}, true},
		{"garbage at RCPT", 3 * time.Second, []string{"C: MAIL *", "S: 250 ok", "S: what?", "stall"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scripts["192.0.2.1:25"] = []*mailtest.Script{
					talk(t, append(slices.Clone(toDATA), tt.first...)...), talk(t, append(slices.Clone(toDATA), "C: QUIT")...)}
				c := w.client()
				stop := keep(t, c)
				for _, to := range []string{"a@x.test", "b@x.test"} {
					if o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", to))[0]; o.Verdict != routing.Sent {
						t.Errorf("%s: %s (%s)", to, summary(o), o.Text)
					}
					time.Sleep(tt.pause)
				}
				stop()
				if err := w.wait(); err != nil {
					t.Error(err)
				}
				if again := len(w.dialled) > 1; again != tt.again {
					t.Errorf("dialled %q", w.dialled)
				}
				if n := len(c.pool.hosts); n > 0 {
					t.Errorf("%d hosts are remembered", n)
				}
			})
		})
	}
}

// TestDeaf has a server that throws away what it has read beyond the final dot, as
// Courier does: the next message goes over another connection before long, and none
// is sent right behind content there any more.
func TestDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["192.0.2.1:25"] = []*mailtest.Script{
			script(t, slices.Concat(flights, slowDATA, []string{"stall"})...),
			script(t, slices.Concat(flights, slowDATA, slowDATA, []string{"C: QUIT"})...),
			script(t, slices.Concat(flights, slowDATA, []string{"C: QUIT"})...),
		}
		c := w.client()
		stop := keep(t, c)
		send := func(to string) {
			if o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", to))[0]; o.Verdict != routing.Sent {
				t.Errorf("%s: %s (%s)", to, summary(o), o.Text)
			}
		}
		began := time.Now()
		var both sync.WaitGroup
		both.Go(func() { send("a@x.test") })
		time.Sleep(500 * time.Millisecond)
		both.Go(func() { send("b@x.test") })
		both.Wait()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v to find out", took)
		}
		// Neither waits behind the other.
		both.Go(func() { send("c@x.test") })
		time.Sleep(500 * time.Millisecond)
		both.Go(func() { send("d@x.test") })
		both.Wait()
		stop()
		if err := w.wait(); err != nil {
			t.Error(err)
		}
		if len(w.dialled) != 3 {
			t.Errorf("dialled %q", w.dialled)
		}
	})
}

// TestDeafToItsOpener: the message that a connection was opened for may come to write
// behind another's content as well, as with its second transaction here. What is lost of it
// there goes over another connection, too, and is not put off.
func TestDeafToItsOpener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hundred := slices.Concat([]string{"C: MAIL *"}, slices.Repeat([]string{"C: RCPT *"}, maxRecipients), []string{"C: DATA"},
			slices.Repeat([]string{"S: 250 ok"}, maxRecipients+1), []string{"S: 354 go", "B:", "wait 1s", "S: 250 2.0.0 ok"})
		w := newWorld(t)
		w.scripts["192.0.2.1:25"] = []*mailtest.Script{
			script(t, slices.Concat(flights, hundred, slowDATA, []string{"stall"})...),
			script(t, slices.Concat(flights, slowDATA, []string{"C: QUIT"})...),
		}
		c := w.client()
		var to []string
		for i := range maxRecipients + 1 {
			to = append(to, fmt.Sprintf("n%d@x.test", i))
		}
		var both sync.WaitGroup
		for _, to := range [][]string{to, {"b@x.test"}} {
			both.Go(func() {
				for i, o := range c.Send(t.Context(), parcel("s@gw.test", "x\r\n", to...)) {
					if o.Verdict != routing.Sent {
						t.Errorf("%s: %s (%s)", to[i], summary(o), o.Text)
					}
				}
			})
			time.Sleep(500 * time.Millisecond)
		}
		both.Wait()
		if err := w.wait(); err != nil {
			t.Error(err)
		}
		if len(w.dialled) != 2 {
			t.Errorf("dialled %q", w.dialled)
		}
	})
}

// TestOutOfStep has a server that answers what came behind content before the content,
// as Postfix's smtp-sink does where it is to delay one answer. That is noticed with the
// first answer that cannot be one to the command, and none is sent right behind content
// there any more.
func TestOutOfStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["192.0.2.1:25"] = []*mailtest.Script{
			script(t, slices.Concat(flights, toDATA[:len(toDATA)-1], []string{"C: MAIL *", "C: RCPT *", "C: DATA",
				"S: 250 2.1.0 ok", "S: 250 2.1.5 ok", "S: 354 go", "stall"})...),
			script(t, slices.Concat(flights, slowDATA, slowDATA, []string{"C: QUIT"})...),
			script(t, slices.Concat(flights, slowDATA, []string{"C: QUIT"})...),
		}
		c := w.client()
		stop := keep(t, c)
		var both sync.WaitGroup
		for _, to := range []string{"a@x.test", "b@x.test", "c@x.test", "d@x.test"} {
			if to == "c@x.test" {
				both.Wait() // neither of these waits behind the other
			}
			both.Go(func() {
				if o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", to))[0]; o.Verdict != routing.Sent {
					t.Errorf("%s: %s (%s)", to, summary(o), o.Text)
				}
			})
			time.Sleep(500 * time.Millisecond)
		}
		both.Wait()
		stop()
		if err := w.wait(); err != nil {
			t.Error(err)
		}
		if len(w.dialled) != 3 {
			t.Errorf("dialled %q", w.dialled)
		}
	})
}

// TestKeptApart: a connection serves only those with the same server, TLS mode and
// credentials, and no server found by MX is spoken to over one that was opened
// because the configuration names its host.
func TestKeptApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer("PIPELINING", "CHUNKING")
		c := p.client()
		c.Routes = map[string]string{"route.test": "peer.test:25", "other.test": "peer.test:26"}
		stop := keep(t, c)
		for _, to := range []string{"a@route.test", "a@other.test", "a@x.test", "b@route.test", "b@other.test", "b@x.test", "a@y.test"} {
			if o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", to))[0]; o.Verdict != routing.Sent {
				t.Errorf("%s: %s (%s)", to, summary(o), o.Text)
			}
		}
		stop()
		p.serving.Wait()
		if p.sessions != 3 {
			t.Errorf("%d connections, want 3", p.sessions)
		}
	})
	one, two := &Smarthost{Host: "h", Username: "u", Password: "1"}, &Smarthost{Host: "h", Username: "u", Password: "2"}
	keys := map[key]bool{}
	for _, h := range []hop{{name: "h", port: 25}, {name: "h", port: 26}, {name: "h", port: 25, tls: TLSRequired}, {name: "h", port: 25, foreign: true},
		{name: "h", port: 25, smarthost: one}, {name: "h", port: 25, smarthost: two},
		{name: "h", port: 25, foreign: true, need: demand{level: Verified, by: byPolicy}},
		{name: "h", port: 25, foreign: true, need: demand{level: Verified, by: byMemory}}, {name: "h", port: 25, foreign: true, need: demand{level: Verified, by: byMemory, pin: "3 1 1 00"}}} {
		keys[h.key()] = true
	}
	if len(keys) != 9 {
		t.Errorf("%d keys, want 9", len(keys))
	}
}

// TestNotKept: without Run, no connection outlives its messages; with it, none
// carries more than its share.
func TestNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer("PIPELINING", "CHUNKING")
		c := p.client()
		for range 3 {
			c.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))
			p.serving.Wait()
		}
		if p.sessions != 3 {
			t.Errorf("%d connections without Run, want 3", p.sessions)
		}
		stop := keep(t, c)
		for range 2*maxMessages + 1 {
			c.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))
		}
		stop()
		p.serving.Wait()
		if p.sessions != 6 || p.taken["a@x.test"] != 2*maxMessages+4 {
			t.Errorf("%d connections took %d messages", p.sessions-3, p.taken["a@x.test"])
		}
	})
}

// TestLargeAlone: nobody waits behind content that takes long to send, nor does it wait
// for others.
func TestLargeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer("PIPELINING", "CHUNKING")
		p.lag = 10 * time.Millisecond
		c := p.client()
		stop := keep(t, c)
		send := func(content, to string) {
			if o := c.Send(t.Context(), parcel("s@gw.test", content, to))[0]; o.Verdict != routing.Sent {
				t.Errorf("%s (%s)", summary(o), o.Text)
			}
		}
		send("x\r\n", "first@x.test")
		p.mu.Lock()
		p.work = time.Minute // for the large one
		p.mu.Unlock()
		var all sync.WaitGroup
		all.Go(func() { send(strings.Repeat("0123456789\r\n", 100_000), "large@x.test") })
		time.Sleep(time.Second)
		p.mu.Lock()
		p.work = 0
		p.mu.Unlock()
		began := time.Now()
		for range 5 {
			all.Go(func() { send("x\r\n", "small@x.test") })
		}
		time.Sleep(2 * time.Second)
		p.mu.Lock()
		if p.taken["small@x.test"] != 5 || p.taken["large@x.test"] != 0 {
			t.Errorf("taken within %v: %v", time.Since(began), p.taken)
		}
		p.mu.Unlock()
		all.Wait()
		stop()
		p.serving.Wait()
	})
}

// TestTogether: several messages are on their way over one connection when it ends.
// A 421 answers all that come after it: they are sent over another connection. Of
// those that were only lost, nobody knows.
func TestTogether(t *testing.T) {
	// The script answers when it has all four.
	four := slices.Concat(whole[:3], []string{"C: RSET"}, whole[:3], []string{"C: RSET"}, whole[:3], []string{"C: RSET"}, whole[:3])
	ok := []string{"S: 250 ok", "S: 250 ok", "S: 250 2.0.0 ok"}
	for _, tt := range []struct {
		name   string
		end    []string
		second []string
		want   map[routing.Verdict]int
	}{
		{"421", append(slices.Clone(ok), "S: 250 ok", "S: 421 4.3.2 bye"), nil, map[routing.Verdict]int{routing.Sent: 4}},
		{"421 to the content", append(slices.Clone(ok), "S: 250 ok", "S: 250 ok", "S: 250 ok", "S: 421 4.3.2 bye"), nil, map[routing.Verdict]int{routing.Sent: 3, routing.Deferred: 1}},
		{"lost", append(slices.Clone(ok), "wait 1s", "close"), nil, map[routing.Verdict]int{routing.Sent: 1, routing.Unknown: 3}},
		{"stalled", append(slices.Clone(ok), "stall"), nil, map[routing.Verdict]int{routing.Sent: 1, routing.Unknown: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client()
				stop := keep(t, c)
				w.scripts["192.0.2.1:25"] = []*mailtest.Script{talk(t, slices.Concat(toDATA, four, tt.end)...)}
				rest := newPeer("PIPELINING", "CHUNKING")
				c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					if len(w.dialled) == 0 {
						return w.dial(ctx, network, address)
					}
					return rest.dial(ctx, network, address)
				}
				c.Send(t.Context(), parcel("s@gw.test", "x\r\n", "first@x.test"))
				var mu sync.Mutex
				got := map[routing.Verdict]int{}
				var senders sync.WaitGroup
				for i := range 4 {
					senders.Go(func() {
						o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", fmt.Sprintf("%d@x.test", i)))[0]
						mu.Lock()
						defer mu.Unlock()
						got[o.Verdict]++
					})
				}
				senders.Wait()
				stop()
				w.wait()
				rest.serving.Wait()
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
}
