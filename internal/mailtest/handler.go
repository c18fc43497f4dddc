package mailtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Handler shows the world over HTTP, and switches its domains:
//
//	GET  /                        the domains, what they do, how much they took
//	GET  /{domain}                what it took, with envelopes
//	GET  /{domain}/{n}            one message as it came
//	POST /{domain}/{behaviour}    takes, bounces, refuses, defers, reads, answers, slow, drops
//	POST /{domain}/accept         the same as takes
//
// It is meant for loopback. To serve it under a prefix, wrap it in
// http.StripPrefix.
func (w *World) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, _ *http.Request) {
		type line struct {
			Domain    string    `json:"domain"`
			Behaviour Behaviour `json:"behaviour"`
			Taken     int       `json:"taken"`
		}
		var lines []line
		for _, d := range w.Domains() {
			lines = append(lines, line{d, w.Behaviour(d), len(w.Messages(d))})
		}
		writeJSON(rw, lines)
	})
	mux.HandleFunc("GET /{domain}", func(rw http.ResponseWriter, r *http.Request) {
		domain := r.PathValue("domain")
		if w.Behaviour(domain) == "" {
			http.Error(rw, fmt.Sprintf("no domain %q in this world", domain), http.StatusNotFound)
			return
		}
		messages := w.Messages(domain)
		if messages == nil {
			messages = []Received{}
		}
		writeJSON(rw, messages)
	})
	mux.HandleFunc("GET /{domain}/{n}", func(rw http.ResponseWriter, r *http.Request) {
		messages := w.Messages(r.PathValue("domain"))
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 1 || n > len(messages) {
			http.Error(rw, "no such message", http.StatusNotFound)
			return
		}
		// Not message/rfc822: a browser should show it, and nothing in it should run.
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rw.Header().Set("X-Content-Type-Options", "nosniff")
		rw.Write(messages[n-1].Raw)
	})
	mux.HandleFunc("POST /{domain}/{behaviour}", func(rw http.ResponseWriter, r *http.Request) {
		domain, b := r.PathValue("domain"), Behaviour(r.PathValue("behaviour"))
		if b == "accept" {
			b = Takes
		}
		if err := w.Behave(domain, b); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(rw, "%s %s\n", domain, b)
	})
	return mux
}

func writeJSON(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(rw)
	enc.SetIndent("", "  ")
	enc.Encode(v)
}
