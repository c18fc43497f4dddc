package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mailtest"
	"postern/relay/dane"
	"postern/routing"
)

// town has every domain's mail at a server of its own: 192.0.2.1 for slow.test,
// another for every other.
type town struct{ *peer }

func (town) LookupMX(_ context.Context, domain string) ([]*net.MX, error) {
	return []*net.MX{{Host: "mx." + domain}}, nil
}

func (town) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host == "mx.slow.test" {
		return ip("192.0.2.1"), nil
	}
	return ip("192.0.2.2"), nil
}

// mute is a DNS that does not say whether slow.test has TLSA records.
type mute struct{}

func (mute) Authentic(context.Context, string) ([]string, error) { return nil, nil }

func (mute) TLSA(ctx context.Context, host string, _ uint16) (dane.Policy, error) {
	if host != "mx.slow.test" {
		return dane.Policy{}, nil
	}
	select {
	case <-time.After(15 * time.Second):
	case <-ctx.Done():
	}
	return dane.Policy{}, &net.DNSError{Err: "the resolver does not answer", IsTimeout: true}
}

// TestSlowHost: a server that takes minutes for everything gets its turns, and no
// more: all workers but those go on with the mail for others. A worker that asks for
// it in vain has its answer soon.
func TestSlowHost(t *testing.T) {
	for _, slow := range []struct {
		name   string
		dial   func() (net.Conn, error)
		secure Secure
	}{
		{"no TLSA", nil, mute{}},
		{"silent", func() (net.Conn, error) {
			client, server := mailtest.Pipe()
			go server.Read(make([]byte, 1))
			return client, nil
		}, nil},
		{"no route", func() (net.Conn, error) {
			time.Sleep(30 * time.Second)
			return nil, context.DeadlineExceeded
		}, nil},
		{"tarpit", func() (net.Conn, error) {
			p := newPeer("PIPELINING", "CHUNKING")
			p.lag = 40 * time.Second
			return p.dial(context.Background(), "", "")
		}, nil},
	} {
		t.Run(slow.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				others := newPeer("PIPELINING", "CHUNKING")
				c := &Client{Hostname: "gw.test", Resolver: town{others}, Secure: slow.secure}
				c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					if strings.HasPrefix(address, "192.0.2.1:") {
						return slow.dial()
					}
					return others.dial(ctx, network, address)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				// 2000 for the slow server stand before 200 for others, as a queue might have it.
				work := make(chan string)
				go func() {
					defer close(work)
					for n := range 2200 {
						domain := "slow.test"
						if n >= 2000 {
							domain = fmt.Sprintf("d%d.test", n%7)
						}
						work <- fmt.Sprintf("%d@%s", n, domain)
					}
				}()
				began := time.Now()
				var mu sync.Mutex
				sent, last, away := 0, time.Duration(0), map[string]int{}
				var workers sync.WaitGroup
				for range 32 {
					workers.Go(func() {
						for to := range work {
							o := c.Send(ctx, parcel("s@gw.test", "x\r\n", to))[0]
							mu.Lock()
							if strings.HasSuffix(to, "slow.test") {
								away[o.Status.String()]++
							} else if o.Verdict == routing.Sent {
								sent++
								last = time.Since(began)
							}
							if sent == 200 {
								cancel()
							}
							mu.Unlock()
						}
					})
				}
				workers.Wait()
				others.serving.Wait()
				if t.Logf("the last of the others was sent after %v; the slow ones: %v", last, away); sent != 200 || last > 5*time.Second {
					t.Errorf("%d were sent to the others, the last after %v", sent, last)
				}
				time.Sleep(time.Hour) // until the tarpit has let go
			})
		})
	}
}

// TestBusyHost: a server that has more to do than turns to give, and does it, keeps
// nobody waiting for long, and turns nobody away.
func TestBusyHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer("PIPELINING", "CHUNKING")
		p.lag, p.work = 50*time.Millisecond, 10*time.Millisecond
		c := p.client()
		stop := keep(t, c)
		var workers sync.WaitGroup
		for worker := range 32 {
			workers.Go(func() {
				for range 30 {
					if o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", fmt.Sprint(worker, "@x.test")))[0]; o.Verdict != routing.Sent {
						t.Errorf("%s (%s)", summary(o), o.Text)
					}
				}
			})
		}
		workers.Wait()
		stop()
		p.serving.Wait()
	})
}

// TestCrowdedHost: a server that takes seconds for each message, and many for it. The
// workers stay free, and yet its turns are taken all the time, as those who are
// turned away come back when they are asked to.
func TestCrowdedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const turns, work, messages = 10, 3 * time.Second, 300
		p := newPeer()
		p.work = work
		c := p.client()
		c.Concurrency = 11 // one is for what is urgent
		stop := keep(t, c)
		free := make(chan bool, 16)
		began, tries, waited := time.Now(), 0, time.Duration(0)
		var mu sync.Mutex
		var all sync.WaitGroup
		for n := range messages {
			all.Go(func() {
				for {
					asked := time.Now()
					free <- true
					mu.Lock()
					tries++
					waited = max(waited, time.Since(asked))
					mu.Unlock()
					o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", fmt.Sprint(n, "@x.test")))[0]
					<-free
					if o.Verdict == routing.Sent {
						return
					}
					if o.Retry < sooner || o.Status != congestion {
						t.Errorf("%s (%s), again in %v", summary(o), o.Text, o.Retry)
					}
					time.Sleep(min(o.Retry, time.Minute))
				}
			})
		}
		all.Wait()
		took, least := time.Since(began), messages/turns*work
		stop()
		p.serving.Wait()
		t.Logf("%d messages took %v (at least %v) and %d tries; the longest wait for a worker was %v", messages, took, least, tries, waited)
		if took > least*3/2 || waited > 2*maxWait {
			t.Errorf("took %v instead of %v, and kept others waiting for %v", took, least, waited)
		}
	})
}

// TestRest: a host that failed is left alone for a while, longer each time, and
// then asked by one message only; what is urgent asks at once. The others have the
// answer of the one that was refused. When it is well again, all is as before.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer("PIPELINING")
		var mu sync.Mutex
		var dialled []time.Duration
		down := true
		began := time.Now()
		c := p.client()
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			dialled = append(dialled, time.Since(began))
			broken := down
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			if broken {
				return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
			}
			return p.dial(ctx, network, address)
		}
		send := func(priority routing.Priority) routing.Outcome {
			q := parcel("s@gw.test", "x\r\n", "a@x.test")
			q.Priority = priority
			return c.Send(t.Context(), q)[0]
		}
		for time.Since(began) < 10*time.Minute {
			var senders sync.WaitGroup
			for range 10 {
				senders.Go(func() {
					if o := send(routing.Normal); summary(o) != "deferred 0 4.4.1 connect" || !strings.HasSuffix(o.Text, "connection refused") {
						t.Errorf("%s (%s)", summary(o), o.Text)
					}
				})
			}
			senders.Wait()
			time.Sleep(250 * time.Millisecond)
		}
		// 0.5+1+2+…+32 s, and then one a minute.
		if n := len(dialled); n < 14 || n > 18 {
			t.Errorf("dialled %d times in 10 minutes: %v", n, dialled)
		}
		n := len(dialled)
		if o := send(routing.Urgent); len(dialled) != n+1 || o.Verdict != routing.Deferred {
			t.Errorf("an urgent message: %s, dialled %d times", summary(o), len(dialled)-n)
		}
		down = false
		if o := send(routing.Urgent); o.Verdict != routing.Sent {
			t.Errorf("an urgent message: %s (%s)", summary(o), o.Text)
		}
		for range 3 {
			if o := send(routing.Normal); o.Verdict != routing.Sent {
				t.Errorf("after it: %s (%s)", summary(o), o.Text)
			}
		}
		p.serving.Wait()
	})
}

// TestTurns: those who wait for a host have their turns by priority, and then in the
// order they came; some turns are kept for what is urgent.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{Concurrency: 8}
		k := key{name: "h"}
		var inside []*visit
		for range 7 {
			v, _ := c.enter(t.Context(), k, routing.Normal)
			inside = append(inside, v)
		}
		var mu sync.Mutex
		var order []string
		var waiting sync.WaitGroup
		enter := func(name string, priority routing.Priority) {
			waiting.Go(func() {
				v, away := c.enter(t.Context(), k, priority)
				mu.Lock()
				defer mu.Unlock()
				if v == nil {
					order = append(order, name+" "+away.Status.String())
					return
				}
				order = append(order, name)
				inside = append(inside, v)
			})
			synctest.Wait()
		}
		enter("normal 1", routing.Normal)
		enter("bulk", routing.Bulk)
		enter("urgent 1", routing.Urgent) // takes the turn that is kept
		enter("urgent 2", routing.Urgent)
		enter("high", routing.High)
		enter("normal 2", routing.Normal)
		for range 5 {
			mu.Lock()
			v := inside[0]
			inside = inside[1:]
			mu.Unlock()
			c.exit(v)
			synctest.Wait()
		}
		time.Sleep(2 * maxWait)
		waiting.Wait()
		want := []string{"urgent 1", "urgent 2", "high", "normal 1", "normal 2", "bulk 4.4.5"}
		if !slices.Equal(order, want) {
			t.Errorf("got %q, want %q", order, want)
		}
		for _, v := range inside {
			c.exit(v)
		}
		if len(c.pool.hosts) != 0 {
			t.Errorf("%d hosts are remembered", len(c.pool.hosts))
		}
	})
}

// TestHostsForgotten: a client does not remember every host that ever failed.
func TestHostsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mx = nil
		c := w.client()
		for n := range 5000 {
			w.hosts = map[string][]netip.Addr{fmt.Sprintf("d%d.test", n): ip("192.0.2.1")}
			c.Send(t.Context(), parcel("s@gw.test", "x\r\n", fmt.Sprintf("a@d%d.test", n)))
			time.Sleep(time.Second)
		}
		if n := len(c.pool.hosts); n > 300 {
			t.Errorf("%d hosts are remembered", n)
		}
	})
}
