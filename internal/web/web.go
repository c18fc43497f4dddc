// Package web fetches small files over HTTPS from servers that others name: keys, and
// policies of domains. It connects to public addresses alone, and hands out no more about
// who asks than it must.
package web

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

	"postern/internal/public"
)

// Client fetches over HTTPS. The zero Client is ready: it connects to public addresses
// alone, trusts the system's roots and follows no redirect.
type Client struct {
	// Resolver finds the addresses of hosts; nil is the system's.
	Resolver *net.Resolver
	// Dial opens connections; nil is a net.Dialer's DialContext that looks at the address
	// of each. Where it is set, it has to look itself.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// AllowPrivate permits servers at loopback, private and other special addresses.
	AllowPrivate bool
	// AllowNets permits those in some networks.
	AllowNets []netip.Prefix
	// TLS is the configuration of connections; nil is the system's roots.
	TLS *tls.Config
	// Timeout bounds a fetch as a whole; 0: 10 seconds.
	Timeout time.Duration
	// MaxSize bounds an answer in octets; 0: 64 KiB.
	MaxSize int64
	// Redirects is how many of a server to itself are followed; 0: none.
	Redirects int
}

const (
	defaultTimeout = 10 * time.Second
	defaultSize    = 64 << 10
)

// Answer is what a server said.
type Answer struct {
	Status int    // of HTTP
	Type   string // Content-Type, as it came
	Body   []byte // where Status is 200
}

// ErrNoHost means that the name is not there.
var ErrNoHost = errors.New("there is no such host")

// FinalError is an answer of another kind: the server does not offer what may be used, and
// will not if it is asked again soon.
type FinalError struct{ cause error }

// Final makes an answer of that kind of why it is.
func Final(cause error) *FinalError { return &FinalError{cause} }

func (e *FinalError) Error() string { return e.cause.Error() }

// Unwrap returns why.
func (e *FinalError) Unwrap() error { return e.cause }

var errPrivate = errors.New("its address is not a public one")

// Get fetches what is at url. Neither cookies nor a Referer nor a proxy are used, and every
// fetch has a connection of its own: nothing links one to another. An error does not repeat
// the URL but for its host.
func (c *Client) Get(ctx context.Context, url string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, defaultTimeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Answer{}, errors.New("fetch: not a URL")
	}
	if request.URL.Scheme != "https" {
		return Answer{}, fmt.Errorf("fetch from %s: not HTTPS", request.URL.Host)
	}
	request.Header.Set("User-Agent", "Postern")
	answer, err := c.get(request)
	if err != nil {
		return Answer{}, fmt.Errorf("fetch from %s: %w", request.URL.Host, explain(err))
	}
	return answer, nil
}

func (c *Client) get(request *http.Request) (Answer, error) {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Resolver: c.Resolver, ControlContext: c.control}).DialContext
	}
	transport := &http.Transport{DialContext: dial, TLSClientConfig: c.TLS, DisableKeepAlives: true,
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 32 << 10, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: c.checkRedirect}
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	answer := Answer{Status: response.StatusCode, Type: response.Header.Get("Content-Type")}
	if answer.Status != http.StatusOK {
		return answer, nil
	}
	limit := cmp.Or(c.MaxSize, defaultSize)
	if answer.Body, err = io.ReadAll(io.LimitReader(response.Body, limit+1)); err != nil {
		return Answer{}, err
	}
	if int64(len(answer.Body)) > limit {
		return Answer{}, Final(fmt.Errorf("its answer is larger than %d KiB", limit>>10))
	}
	return answer, nil
}

// checkRedirect follows a server only to itself, and only inside TLS.
func (c *Client) checkRedirect(next *http.Request, before []*http.Request) error {
	switch {
	case c.Redirects == 0:
		return http.ErrUseLastResponse
	case next.URL.Scheme != "https" || next.URL.Host != before[0].URL.Host:
		return Final(errors.New("it redirects elsewhere"))
	case len(before) > c.Redirects:
		return Final(errors.New("it redirects without end"))
	}
	next.Header.Del("Referer")
	return nil
}

// control looks at the address of a connection just before it is made, so that no name
// can lead to one address when it is checked and to another when it is used.
func (c *Client) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	if c.AllowPrivate {
		return nil
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivate
	}
	addr := a.Addr().Unmap()
	for _, n := range c.AllowNets {
		if n.Contains(addr) {
			return nil
		}
	}
	if !public.Address(addr) {
		return errPrivate
	}
	return nil
}

// explain tells apart what is an answer and what is none. A host that refuses the
// connection, or has no certificate for its name, does not offer anything; one that cannot
// be reached may do so later.
func explain(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the URL need not be said again, and its query may tell of a person
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return ErrNoHost
	}
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	if badCertificate || noTLS || alert || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, errPrivate) {
		return Final(err)
	}
	return err
}
