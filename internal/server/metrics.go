package server

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/notify"
	"github.com/plumb-dev/plumb/internal/preview"
	"github.com/plumb-dev/plumb/internal/render"
)

// The targets of requests.
const (
	targetControlPlane = "control-plane"
	targetDestination  = "destination"
)

// metrics are what the server tells of itself. No label holds anything secret,
// and none grows with anything but the number of Applications.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	passed   *prometheus.CounterVec
	passTime prometheus.Histogram
	synced   *prometheus.CounterVec
	syncTime prometheus.Histogram
	rendered *prometheus.CounterVec
	webhooks *prometheus.CounterVec
	previews *prometheus.CounterVec
	// previewTime is of those that were planned.
	previewTime prometheus.Histogram
	passes      atomic.Uint64
}

var (
	_ engine.Observer      = (*metrics)(nil)
	_ prometheus.Collector = (*world)(nil)
)

func newMetrics(s *Server) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("plumb_api_requests_total", "Requests to API servers, by target (control-plane, destination) and verb.", "target", "verb"),
		passed:   counter("plumb_passes_total", "Passes over Applications, by what was decided.", "decision"),
		passTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "plumb_pass_duration_seconds", Help: "How long a pass over an Application took.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}),
		synced: counter("plumb_syncs_total", "Syncs that ended, by their phase.", "phase"),
		syncTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "plumb_sync_duration_seconds", Help: "How long a sync took.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10),
		}),
		rendered: counter("plumb_renderings_total", "Sources that were rendered, by result.", "result"),
		webhooks: counter("plumb_webhook_requests_total", "Webhook requests, by result.", "result"),
		previews: counter("plumb_previews_total", "Previews of pull requests, by result (changes, none, refused, waits, error).", "result"),
		previewTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "plumb_preview_duration_seconds", Help: "How long a preview of a pull request took, the comment included.",
			Buckets: prometheus.ExponentialBuckets(0.1, 3, 9),
		}),
	}
	m.registry.MustRegister(
		m.requests, m.passed, m.passTime, m.synced, m.syncTime, m.rendered, m.webhooks, m.previews, m.previewTime,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&world{s},
	)
	return m
}

// Passed counts a pass.
func (m *metrics) Passed(_ engine.Key, took time.Duration, decision string) {
	m.passes.Add(1)
	m.passed.WithLabelValues(decision).Inc()
	m.passTime.Observe(took.Seconds())
}

// Synced counts a sync.
func (m *metrics) Synced(_ engine.Key, phase string, took time.Duration) {
	m.synced.WithLabelValues(phase).Inc()
	m.syncTime.Observe(took.Seconds())
}

// previewed counts a preview of a pull request.
func (m *metrics) previewed(result preview.Outcome, took time.Duration) {
	m.previews.WithLabelValues(string(result)).Inc()
	if took > 0 {
		m.previewTime.Observe(took.Seconds())
	}
}

// Forgot needs nothing: what is told of single Applications is asked for anew.
func (m *metrics) Forgot(engine.Key) {}

func (m *metrics) request(target, verb string) { m.requests.WithLabelValues(target, verb).Inc() }

// roundTripper counts requests.
type roundTripper struct {
	metrics *metrics
	target  string
	next    http.RoundTripper
}

func (m *metrics) count(target string, next http.RoundTripper) http.RoundTripper {
	return &roundTripper{m, target, next}
}

func (r *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	r.metrics.request(r.target, verbOf(req))
	return r.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go find the transport below.
func (r *roundTripper) WrappedRoundTripper() http.RoundTripper { return r.next }

// verbOf names a request in the API's words. Requests for leases are "lease".
func verbOf(req *http.Request) string {
	if strings.HasPrefix(req.URL.Path, "/apis/coordination.k8s.io/") {
		return "lease"
	}
	switch req.Method {
	case http.MethodGet:
		if watch := req.URL.Query().Get("watch"); watch == "true" || watch == "1" {
			return "watch"
		}
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return "other"
}

// renderer counts what a renderer renders.
func (m *metrics) renderer(next render.Renderer) render.Renderer {
	return &countedRenderer{m, next}
}

type countedRenderer struct {
	metrics *metrics
	next    render.Renderer
}

func (c *countedRenderer) Render(ctx context.Context, req render.Request) (render.Bundle, error) {
	bundle, err := c.next.Render(ctx, req)
	result := "success"
	if err != nil {
		result = "failure"
	}
	c.metrics.rendered.WithLabelValues(result).Inc()
	return bundle, err
}

// world tells how the Applications stand when it is asked.
type world struct{ server *Server }

var (
	descInfo = prometheus.NewDesc("plumb_application_info", "How an Application stands; always 1.",
		[]string{"group", "namespace", "name", "project", "sync_status", "health_status"}, nil)
	descQueue    = prometheus.NewDesc("plumb_queue_depth", "Applications that wait for a pass.", nil, nil)
	descLeading  = prometheus.NewDesc("plumb_leader", "Whether this server does the work.", nil, nil)
	descIsolated = prometheus.NewDesc("plumb_module_isolation", "How much OpenTofu and Terraform modules are kept apart, by its level: full, partial or none; always 1.", []string{"level"}, nil)
	descNotified = prometheus.NewDesc("plumb_notifications_total", "Messages to subscribers since this server leads, by service, the namespace whose own it is, and result (sent, failed, dropped).",
		[]string{"service", "namespace", "result"}, nil)
	descUnsent = prometheus.NewDesc("plumb_notifications_pending", "Messages to subscribers that have not arrived yet, by service and the namespace whose own it is.",
		[]string{"service", "namespace"}, nil)
	descAudited  = prometheus.NewDesc("plumb_audit_events_total", "Audit events of API servers since this server leads, by result (kept, ignored, invalid).", []string{"result"}, nil)
	descGuarded  = prometheus.NewDesc("plumb_admission_policies_in_force", "Whether the admission policies and roles that say who may approve and override are as Plumb has installed them.", nil, nil)
	descRestored = prometheus.NewDesc("plumb_admission_policies_restored_total", "How often one of them had been changed or removed, and was put back, since this server leads.", nil, nil)
	descClusters = prometheus.NewDesc("plumb_clusters", "Destination clusters, the control plane included.", nil, nil)
)

func (w *world) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descInfo, descQueue, descLeading, descClusters, descIsolated, descNotified, descUnsent, descAudited, descGuarded, descRestored} {
		to <- d
	}
}

func (w *world) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	p := w.server.leading.Load()
	if p == nil {
		gauge(descLeading, 0)
		return
	}
	gauge(descLeading, 1)
	gauge(descQueue, float64(p.engine.Depth()))
	gauge(descClusters, float64(p.fleet.Len()+1))
	gauge(descIsolated, 1, p.modules.Isolation())
	inForce, restored := p.controller.Guards()
	gauge(descGuarded, map[bool]float64{true: 1}[inForce])
	to <- prometheus.MustNewConstMetric(descRestored, prometheus.CounterValue, float64(restored))
	tellNotified(to, p.notifications.notifier.Health())
	p.informant.count(to)
	p.controller.Where(func(key engine.Key, app *v1alpha1.Application) bool {
		gauge(descInfo, 1, key.Group, key.Namespace, key.Name, app.Spec.GetProject(),
			orUnknown(string(app.Status.Sync.Status)), orUnknown(string(app.Status.Health.Status)))
		return false
	})
}

// tellNotified tells how messages fare, by service: channels are people.
func tellNotified(to chan<- prometheus.Metric, channels []notify.ChannelHealth) {
	type service struct{ name, namespace string }
	sums := map[service]notify.ChannelHealth{}
	for _, c := range channels {
		id := service{c.Service, c.Namespace}
		sum := sums[id]
		sum.Sent, sum.Failed, sum.Dropped, sum.Pending = sum.Sent+c.Sent, sum.Failed+c.Failed, sum.Dropped+c.Dropped, sum.Pending+c.Pending
		sums[id] = sum
	}
	for id, sum := range sums {
		for result, n := range map[string]int{"sent": sum.Sent, "failed": sum.Failed, "dropped": sum.Dropped} {
			to <- prometheus.MustNewConstMetric(descNotified, prometheus.CounterValue, float64(n), id.name, id.namespace, result)
		}
		to <- prometheus.MustNewConstMetric(descUnsent, prometheus.GaugeValue, float64(sum.Pending), id.name, id.namespace)
	}
}

func orUnknown(status string) string {
	if status == "" {
		return "Unknown"
	}
	return status
}
