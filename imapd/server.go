package imapd

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Server shows the mailboxes and the status of accounts over IMAP. Its exported
// fields are set before the first Serve and not changed after; Auth and the ports
// must be.
type Server struct {
	// TLS is what STARTTLS answers with. Without it a listener that is not TLS
	// itself lets nobody log in.
	TLS *tls.Config

	Auth          Authenticator
	Mailboxes     Mailboxes
	Teller        Teller
	Subscriptions Subscriptions
	Messages      Messages
	Shelf         Shelf
	Mover         Mover
	Status        Status
	Commander     Commander
	Watcher       Watcher
	Vault         Vault

	// Location is the time zone of the times people read; nil is UTC.
	Location *time.Location
	// Now is the clock, and must be set. Deadlines of connections follow it.
	Now func() time.Time
	// Log is where faults go; nil is slog.Default.
	Log    *slog.Logger
	Limits Limits

	mu       sync.Mutex
	total    int                  // connections
	waiting  map[netip.Addr]int   // by routing.Site: of them those that have not logged in
	sessions map[string]int       // of them those of an account
	told     map[int64]uint32     // by mailbox: the first UID that no session was told of
	looks    map[standing]*look   // the last reading that was begun or waits
	slots    chan struct{}        // see searchSlot
	appends  *semaphore.Weighted  // see appendBudget
	attended map[string]*attended // by account: see Attend

	cache cache
}

// Limits bound what clients may ask for. A zero field takes the default beside it.
type Limits struct {
	Message    int64         // octets of a message to APPEND; 50 MiB
	Appends    int64         // octets of messages on their way in, over all sessions; 256 MiB, at least Message
	Conns      int           // connections; 2000
	PerAddress int           // connections from one address (IPv6: one /64) that have not logged in; 50
	PerAccount int           // sessions of one account; 512
	Login      time.Duration // from the greeting to the login; 1 minute
	Idle       time.Duration // between two commands; 35 minutes (RFC 3501 section 5.4 asks for 30)
	Stall      time.Duration // without an octet inside a command; 1 minute
	Search     time.Duration // that one SEARCH may look through messages; 30 seconds
	Grace      time.Duration // for commands under way when the server stops; 3 seconds
}

func (s *Server) limits() Limits {
	l := s.Limits
	orDefault(&l.Message, 50<<20)
	l.Message = min(l.Message, 1<<31) // the library counts with 32 bits
	orDefault(&l.Appends, 256<<20)
	l.Appends = max(l.Appends, l.Message) // any message has room when it comes alone
	orDefault(&l.Conns, 2000)
	orDefault(&l.PerAddress, 50)
	orDefault(&l.PerAccount, 512)
	orDefault(&l.Login, time.Minute)
	orDefault(&l.Idle, 35*time.Minute)
	orDefault(&l.Stall, time.Minute)
	orDefault(&l.Search, 30*time.Second)
	orDefault(&l.Grace, 3*time.Second)
	return l
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

func (s *Server) now() time.Time { return s.Now() }

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.Default()
	}
	return s.Log
}

func (s *Server) location() *time.Location {
	if s.Location == nil {
		return time.UTC
	}
	return s.Location
}

// appendBudget is what all sessions together may hold of messages that are not
// stored yet (T17). A client that announces much and sends nothing takes nothing.
func (s *Server) appendBudget() *semaphore.Weighted {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.appends == nil {
		s.appends = semaphore.NewWeighted(s.limits().Appends)
	}
	return s.appends
}

// searchSlot waits until a search may begin, and returns what to call when it is
// done. Half of the processors are left to all else (T18).
func (s *Server) searchSlot(ctx context.Context) (done func(), err error) {
	s.mu.Lock()
	if s.slots == nil {
		s.slots = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	}
	slots := s.slots
	s.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
