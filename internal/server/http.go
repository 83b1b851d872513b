package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 30 * time.Second
	shutdownWait   = 5 * time.Second
	headerBytes    = 64 << 10
)

// serve answers HTTP until the returned function is called. A failure ends the
// whole server through fail.
func (s *Server) serve(l net.Listener, fail context.CancelCauseFunc) (stop func()) {
	h := &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout,
		MaxHeaderBytes: headerBytes,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			fail(err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownWait)
		defer cancel()
		if h.Shutdown(ctx) != nil {
			h.Close()
		}
		<-done
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	mux.Handle("POST /api/webhook", newWebhook(s))
	receiver := newAuditReceiver(s)
	mux.Handle("POST /api/audit", receiver)
	mux.Handle("POST /api/audit/{cluster}", receiver)
	mux.HandleFunc("GET /api/artifacts/{digest}", s.artifact)
	mux.Handle("GET /api/ledger/{place...}", newReaders(s))
	if s.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// ready tells whether this server works, or would work if it were elected.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.leading.Load() != nil:
		answer(w, http.StatusOK, "ok")
	case s.LeaderElect && r.URL.Query().Get("leading") == "":
		answer(w, http.StatusOK, "ok: standing by")
	default:
		answer(w, http.StatusServiceUnavailable, "not ready: this server does not hold Applications true yet")
	}
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n")) //nolint:gosec // plain text, of our own words
}
