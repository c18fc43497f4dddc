package keyring

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"postern/pgp"
)

// Web fetches keys over HTTPS. It is a pgp.Fetcher. The zero Web is ready, and connects
// to public addresses alone.
type Web struct {
	// Resolver finds the addresses of hosts; nil is the system's.
	Resolver *net.Resolver
	// AllowPrivate permits servers at loopback, private and other special addresses.
	AllowPrivate bool
	// TLS is the configuration of connections; nil is the system's roots.
	TLS *tls.Config
	// Timeout bounds a fetch as a whole; 0: 10 seconds.
	Timeout time.Duration
	// MaxSize bounds an answer in octets; 0: 64 KiB.
	MaxSize int64
}

const (
	defaultTimeout = 10 * time.Second
	defaultSize    = 64 << 10
	maxRedirects   = 3
)

// errPrivate is a final answer: the name leads where no public server is.
var errPrivate = errors.New("its address is not a public one")

// Fetch returns what is at url. Neither cookies nor a Referer nor a proxy are used, and
// every fetch has a connection of its own: nothing links one to another.
func (w *Web) Fetch(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(w.Timeout, defaultTimeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch key: %w", err)
	}
	if request.URL.Scheme != "https" {
		return nil, fmt.Errorf("fetch key: %s is not HTTPS", request.URL.Redacted())
	}
	request.Header.Set("User-Agent", "Postern")
	body, err := w.get(request)
	if err != nil {
		return nil, fmt.Errorf("fetch key from %s: %w", request.URL.Host, explain(err))
	}
	return body, nil
}

func (w *Web) get(request *http.Request) ([]byte, error) {
	dialer := &net.Dialer{Resolver: w.Resolver, ControlContext: w.control}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: w.TLS, DisableKeepAlives: true,
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 32 << 10, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return nil, fmt.Errorf("it answered %d", code)
	default:
		return nil, fmt.Errorf("it answered %d: %w", code, pgp.ErrNoFile)
	}
	limit := cmp.Or(w.MaxSize, defaultSize)
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("its answer is larger than %d KiB: %w", limit>>10, pgp.ErrNoFile)
	}
	return body, nil
}

// checkRedirect follows a server only to itself, and only inside TLS.
func checkRedirect(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	switch {
	case next.URL.Scheme != "https" || next.URL.Host != first.Host:
		return fmt.Errorf("it redirects elsewhere: %w", pgp.ErrNoFile)
	case len(before) > maxRedirects:
		return fmt.Errorf("it redirects without end: %w", pgp.ErrNoFile)
	}
	return nil
}

// control looks at the address of a connection just before it is made, so that no name
// can lead to one address when it is checked and to another when it is used.
func (w *Web) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	if w.AllowPrivate {
		return nil
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil || !public(a.Addr()) {
		return errPrivate
	}
	return nil
}

// special are the networks that no server of the Internet is in, besides those that
// net/netip knows (RFC 6890 and its registries). 6to4, Teredo and NAT64 addresses hold
// IPv4 addresses, which may be of any kind.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// public reports whether a is the address of a server on the Internet.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.Zone() != "" {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// explain tells apart what is an answer and what is none. A host that refuses the
// connection, or has no certificate for its name, does not offer keys; one that cannot be
// reached may do so later.
func explain(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the URL holds the local part, and need not be said again
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return pgp.ErrNoHost
	}
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	if badCertificate || noTLS || alert || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, errPrivate) {
		return fmt.Errorf("%w (%w)", pgp.ErrNoFile, err)
	}
	return err
}
