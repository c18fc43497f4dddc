package relay

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/internal/mailtest"
)

// peer is a server with PIPELINING that knows what it has taken. It answers when it
// has nothing left to read, as servers do, and fails where chance says.
type peer struct {
	offers []string
	lag    time.Duration // one way
	work   time.Duration // at each message
	deny   func(address string) string
	chance *rand.Rand // nil: it never fails

	mu       sync.Mutex
	taken    map[string]int // by recipient
	sessions int
	lived    time.Duration // all of them together
	serving  sync.WaitGroup
}

// dial connects to p, as Client.Dial does.
func (p *peer) dial(context.Context, string, string) (net.Conn, error) {
	client, server := mailtest.Pipe()
	if p.lag > 0 {
		near, far := mailtest.Pipe()
		way := client
		p.serving.Go(func() { delay(far, way, p.lag) })
		p.serving.Go(func() { delay(way, far, p.lag) })
		client = near
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions++
	began := time.Now()
	p.serving.Go(func() {
		p.serve(server)
		server.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lived += time.Since(began)
	})
	return client, nil
}

// delay hands on what comes from src to dst, lag later.
func delay(dst io.WriteCloser, src io.Reader, lag time.Duration) {
	type packet struct {
		due  time.Time
		data []byte
	}
	packets := make(chan packet, 1<<10)
	go func() {
		defer close(packets)
		for {
			buf := make([]byte, 16<<10)
			n, err := src.Read(buf)
			packets <- packet{time.Now().Add(lag), buf[:n]}
			if err != nil {
				return
			}
		}
	}()
	defer dst.Close()
	for p := range packets {
		time.Sleep(time.Until(p.due))
		dst.Write(p.data)
	}
}

// happens reports whether something that goes wrong once in n times does.
func (p *peer) happens(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.chance != nil && p.chance.IntN(n) == 0
}

func (p *peer) serve(conn net.Conn) {
	r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
	said := func(format string, args ...any) { fmt.Fprintf(w, format+"\r\n", args...) }
	said("220 peer.test")
	var from bool
	var to []string
	take := func(content []byte) {
		p.mu.Lock()
		work := p.work
		p.mu.Unlock()
		time.Sleep(work)
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(content) == 0 {
			panic("an empty message")
		}
		for _, a := range to {
			p.taken[a]++
		}
	}
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil || p.happens(50) {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if verb != "EHLO" && p.happens(50) {
			said("421 4.3.2 going down")
			w.Flush()
			return
		}
		switch verb {
		case "EHLO":
			said("250-peer.test")
			for _, o := range p.offers {
				said("250-%s", o)
			}
			said("250 HELP")
		case "RSET":
			from, to = false, nil
			said("250 2.0.0 ok")
		case "MAIL":
			switch {
			case from:
				said("503 5.5.1 nested MAIL")
			case p.happens(30):
				said("451 4.3.0 not now")
			default:
				from = true
				said("250 2.1.0 ok")
			}
		case "RCPT":
			a := rest[strings.Index(rest, "<")+1 : strings.Index(rest, ">")]
			no := ""
			if p.deny != nil {
				no = p.deny(a)
			}
			switch {
			case !from:
				said("503 5.5.1 need MAIL")
			case no != "":
				said("%s", no)
			default:
				to = append(to, a)
				said("250 2.1.5 ok")
			}
		case "DATA":
			if len(to) == 0 && !p.happens(2) {
				said("554 5.5.1 no valid recipients")
				break
			}
			said("354 go on")
			w.Flush()
			content, ok := dotted(r)
			if !ok {
				return
			}
			if len(to) > 0 {
				take(content)
				if p.happens(50) {
					return // taken, but nobody will know
				}
				said("250 2.0.0 taken")
			} else {
				said("554 5.5.1 no valid recipients")
			}
			from, to = false, nil
		case "BDAT":
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			content := make([]byte, n)
			if _, err := io.ReadFull(r, content); err != nil {
				return
			}
			switch {
			case len(to) == 0:
				said("503 5.5.1 no valid recipients")
			case p.happens(30):
				said("552 5.3.4 too big") // the transaction stays open
			default:
				take(content)
				if p.happens(50) {
					return
				}
				said("250 2.0.0 taken")
				from, to = false, nil
			}
		case "QUIT":
			said("221 2.0.0 bye")
			w.Flush()
			return
		default:
			said("500 5.5.2 what?")
		}
	}
}

// dotted reads content up to the lone dot.
func dotted(r *bufio.Reader) (content []byte, ok bool) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, false
		}
		if line == ".\r\n" {
			return content, true
		}
		content = append(content, line...)
	}
}

// DNS of a world that has one server.

func (p *peer) LookupMX(context.Context, string) ([]*net.MX, error) {
	return []*net.MX{{Host: "peer.test."}}, nil
}

func (p *peer) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
}

func newPeer(offers ...string) *peer {
	return &peer{offers: slices.Clone(offers), taken: map[string]int{}}
}

func (p *peer) client() *Client { return &Client{Hostname: "gw.test", Resolver: p, Dial: p.dial} }
