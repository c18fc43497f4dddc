package imapd

import (
	"net"
	"net/netip"

	"postern/routing"
)

// visitor is a connection as the limits count it.
type visitor struct {
	server  *Server
	remote  netip.Addr
	account string // once logged in
}

// enter counts a new connection, unless there are too many.
func (s *Server) enter(remote netip.Addr) (*visitor, bool) {
	limits, site := s.limits(), routing.Site(remote)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= limits.Conns || s.waiting[site] >= limits.PerAddress {
		return nil, false
	}
	if s.waiting == nil {
		s.waiting = make(map[netip.Addr]int)
		s.sessions = make(map[string]int)
	}
	s.total++
	s.waiting[site]++
	return &visitor{server: s, remote: remote}, true
}

// login counts the connection for the account from now on, unless it has too many.
func (v *visitor) login(account string) bool {
	s := v.server
	limit := s.limits().PerAccount
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[account] >= limit {
		return false
	}
	s.sessions[account]++
	countDown(s.waiting, routing.Site(v.remote))
	v.account = account
	return true
}

// leave counts the connection no more.
func (v *visitor) leave() {
	s := v.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if v.account != "" {
		countDown(s.sessions, v.account)
	} else {
		countDown(s.waiting, routing.Site(v.remote))
	}
}

func countDown[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// addressOf is where a connection comes from; the zero Addr where that is no IP
// address.
func addressOf(conn net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
