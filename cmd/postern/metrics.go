package main

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"postern/relay/dane"
	"postern/relay/mtasts"
	"postern/routing"
	"postern/smtpd"
)

// metrics counts what happens. Every label has few values, all known beforehand:
// states, kinds of event, verdicts.
type metrics struct {
	registry *prometheus.Registry
	events   *prometheus.CounterVec
	attempts *prometheus.CounterVec
	accept   *prometheus.HistogramVec
	tlsa     *prometheus.CounterVec
	fetches  *prometheus.CounterVec          // of MTA-STS policies
	room     func(dir string) (int64, error) // octets that a file system has left for this user
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(), room: freeRoom,
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_events_total", Help: "Events of deliveries, by kind."}, []string{"kind"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_attempts_total", Help: "Attempts that came back, by verdict."}, []string{"verdict"}),
		accept: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_accept_seconds", Help: "Time from the final dot of a submission to its answer, by what that was.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}, []string{"answer"}),
		tlsa: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_tlsa_lookups_total", Help: "Looks for the TLSA records of a server found by MX, by result."}, []string{"result"}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_mta_sts_fetches_total", Help: "Fetches of MTA-STS policies, by what they came to."}, []string{"result"}),
	}
	m.registry.MustRegister(m.events, m.attempts, m.accept, m.tlsa, m.fetches, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, k := range routing.EventKinds() {
		m.events.WithLabelValues(k.String())
	}
	for _, r := range []dane.Result{dane.Secure, dane.Unusable, dane.None, dane.Insecure, dane.Failed} {
		m.tlsa.WithLabelValues(string(r))
	}
	for _, r := range mtasts.Results() {
		m.fetches.WithLabelValues(string(r))
	}
	return m
}

// fetchedPolicy counts what a fetch of an MTA-STS policy came to.
func (m *metrics) fetchedPolicy(r mtasts.Result) { m.fetches.WithLabelValues(string(r)).Inc() }

// count counts what one commit wrote.
func (m *metrics) count(records []routing.Record) {
	for i := range records {
		r := &records[i]
		m.events.WithLabelValues(r.Kind.String()).Inc()
		if r.Kind == routing.EventAttempt {
			m.attempts.WithLabelValues(r.Outcome.Verdict.String()).Inc()
		}
	}
}

// deliveryCounter counts deliveries by state, and messages that are on file no more.
type deliveryCounter interface {
	Stats(ctx context.Context) (map[routing.State]int, error)
	Forgotten(ctx context.Context) (int, error)
	PolicyModes(ctx context.Context) (map[string]int, error)
}

// depth asks the database how many deliveries there are in each state, how many messages
// were purged, and which policies are kept, whenever the metrics are read.
type depth struct {
	deliveries    deliveryCounter
	gauge, purged *prometheus.Desc
	policies      *prometheus.Desc
}

func newDepth(d deliveryCounter) *depth {
	return &depth{deliveries: d, gauge: prometheus.NewDesc("postern_deliveries", "Deliveries on file, by state.", []string{"state"}, nil),
		purged:   prometheus.NewDesc("postern_purged_messages_total", "Messages whose history was removed.", nil, nil),
		policies: prometheus.NewDesc("postern_mta_sts_policies", "MTA-STS policies of domains that hold, by mode.", []string{"mode"}, nil)}
}

// Describe is a prometheus.Collector's.
func (d *depth) Describe(ch chan<- *prometheus.Desc) { ch <- d.gauge; ch <- d.purged; ch <- d.policies }

// Collect is a prometheus.Collector's.
func (d *depth) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := d.deliveries.Stats(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(d.gauge, err)
		return
	}
	if n, err := d.deliveries.Forgotten(ctx); err != nil {
		ch <- prometheus.NewInvalidMetric(d.purged, err)
	} else {
		ch <- prometheus.MustNewConstMetric(d.purged, prometheus.CounterValue, float64(n))
	}
	modes, err := d.deliveries.PolicyModes(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(d.policies, err)
	}
	for _, m := range []mtasts.Mode{mtasts.Enforce, mtasts.Testing, mtasts.None} {
		if err == nil {
			ch <- prometheus.MustNewConstMetric(d.policies, prometheus.GaugeValue, float64(modes[string(m)]), string(m))
		}
	}
	for _, s := range routing.States() {
		ch <- prometheus.MustNewConstMetric(d.gauge, prometheus.GaugeValue, float64(counts[s]), s.String())
	}
}

// timedSubmitter dates submissions by the gateway's clock, and measures how long they
// take.
type timedSubmitter struct {
	smtpd.Submitter
	now     func() time.Time
	seconds *prometheus.HistogramVec
}

// Submit is a smtpd.Submitter's.
func (t timedSubmitter) Submit(ctx context.Context, s *routing.Submission) (routing.Receipt, error) {
	begin := time.Now()
	s.At = t.now()
	receipt, err := t.Submitter.Submit(ctx, s)
	answer := "accepted"
	if _, refused := errors.AsType[*routing.Refusal](err); refused {
		answer = "refused"
	} else if err != nil {
		answer = "deferred"
	}
	t.seconds.WithLabelValues(answer).Observe(time.Since(begin).Seconds())
	return receipt, err
}

// leastRoom is with how many octets left the gateway is not called ready any more: a message
// of usual size is as good as refused then.
const leastRoom = 4 << 20

// freeRoom is how many octets the file system of dir has left for this user.
func freeRoom(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// watch adds what is looked up whenever the metrics are read.
func (m *metrics) watch(g *gateway) {
	m.registry.MustRegister(newDepth(g.db), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_free_bytes", Help: "Room that is left where the data is."}, func() float64 {
		free, err := m.room(string(g.dir))
		if err != nil {
			return math.NaN()
		}
		return float64(free)
	}))
	if g.certs != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_certificate_expires_timestamp_seconds",
			Help: "When the certificate of the listeners expires, in seconds since 1970."}, g.certs.expires))
	}
}

// serve answers HTTP until ctx ends: /metrics, /healthz (the process lives, and the
// database answers), /readyz (mail is taken). Nothing can be changed here.
func (m *metrics) serve(ctx context.Context, l net.Listener, g *gateway) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := g.db.Answers(r.Context()); err != nil {
			g.log.ErrorContext(r.Context(), "health check", "err", err)
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch free, err := m.room(string(g.dir)); {
		case !g.ready.Load():
			http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
		case err == nil && free < leastRoom:
			http.Error(w, "hardly any room is left where the data is", http.StatusServiceUnavailable)
		default:
			w.Write([]byte("ready\n"))
		}
	})
	return serveHTTP(ctx, l, mux)
}
