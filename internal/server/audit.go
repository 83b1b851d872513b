package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	typedauthenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/audit"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// AuditOptions say where it is heard who changes what. Without any, it is not.
type AuditOptions struct {
	// Logs are files that API servers write.
	Logs []AuditLog
	// Token is what API servers must show that send events. Empty: none are taken.
	Token []byte
}

// AuditLog is the audit log of one API server of a cluster; empty is the control
// plane, others are destinations by name or server.
type AuditLog struct{ Cluster, File string }

const (
	// auditBytes is the largest list of audit events.
	auditBytes = 32 << 20
	// auditSenders is how many are taken at once.
	auditSenders = 4
	// soon is how long what API servers say may come after what they have done.
	soon = 2 * time.Second
	// surely is how near to when drift was found, to the second, a write must be to be
	// named before soon is over: the one that made it may have yet to be told of.
	surely = 1500 * time.Millisecond
	// catchUpTime is how long logs of before may take to read.
	catchUpTime = 15 * time.Second
	// itself is Plumb in the ledger.
	itself = "plumb"
)

// informant is what API servers tell of who writes; nil where none does.
type informant struct {
	feed *audit.Feed
	// own is Plumb's own name for API servers.
	own string
}

// newInformant makes it, for a term of leading.
func (s *Server) newInformant(ctx context.Context) *informant {
	o := s.Audit
	if len(o.Logs) == 0 && len(o.Token) == 0 {
		return nil
	}
	i := &informant{own: s.whoAmI(ctx)}
	options := audit.Options{Log: s.Log, Ignore: i.bookkeeping}
	for _, l := range o.Logs {
		options.Logs = append(options.Logs, audit.Log{Cluster: clusterOf(l.Cluster), File: l.File})
	}
	i.feed = audit.New(options)
	if len(o.Token) > 0 {
		i.feed.Expect("")
	}
	return i
}

// run listens until ctx is done.
func (i *informant) run(ctx context.Context) {
	if i != nil {
		i.feed.Run(ctx)
	}
}

// count tells what was heard.
func (i *informant) count(to chan<- prometheus.Metric) {
	if i == nil {
		return
	}
	c := i.feed.Counts()
	for result, n := range map[string]uint64{"kept": c.Kept, "ignored": c.Ignored, "invalid": c.Invalid} {
		to <- prometheus.MustNewConstMetric(descAudited, prometheus.CounterValue, float64(n), result)
	}
}

// whoAmI asks the control plane who Plumb is.
func (s *Server) whoAmI(ctx context.Context) string {
	client, err := typedauthenticationv1.NewForConfig(rest.CopyConfig(s.counted()))
	if err == nil {
		var review *authenticationv1.SelfSubjectReview
		review, err = client.SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil {
			return review.Status.UserInfo.Username
		}
	}
	s.Log.Info("the API server does not say who Plumb is: what Plumb does is told in the name of its account", "error", err)
	return ""
}

// bookkeeping are Plumb's own writes but what it applies, makes and deletes.
func (i *informant) bookkeeping(c audit.Write) bool {
	return i.self(c) && !c.Forced && (c.Verb == "update" || c.Verb == "patch")
}

// self tells whether Plumb has written: and not who has taken its name.
func (i *informant) self(c audit.Write) bool {
	return i.own != "" && c.User == i.own && c.Through == ""
}

// clusterOf is a cluster as the feed knows it.
func clusterOf(name string) string {
	if name == v1alpha1.InClusterName || strings.TrimRight(name, "/") == v1alpha1.InClusterServer {
		return ""
	}
	return strings.TrimRight(name, "/")
}

// actor is who has written, for the ledger.
func (i *informant) actor(c audit.Answer) (entry.Actor, map[string]string) {
	details := map[string]string{}
	a := entry.Actor{User: c.User, Groups: c.Groups, Via: cmp.Or(c.Program, "the API")}
	switch {
	case i.self(c.Write):
		a = entry.Actor{User: itself, Via: "the loop"}
	case i.own != "" && c.User == i.own:
		a.User, a.Groups = c.Through, nil
		details["impersonated"] = c.User
	case c.Through != "":
		details[entry.ImpersonatedBy] = c.Through
	}
	if len(c.Others) > 0 {
		details[entry.WrittenBefore] = strings.Join(c.Others, entry.Between)
	}
	return a, details
}

// witnessed is who has written, for the engine.
func (i *informant) witnessed(c audit.Write) engine.Witnessed {
	switch {
	case i.self(c):
		return engine.Witnessed{User: itself}
	case i.own != "" && c.User == i.own: // somebody has taken Plumb's name
		return engine.Witnessed{User: c.Through}
	case i.own != "" && c.Through == i.own:
		return engine.Witnessed{User: c.User, Through: itself}
	}
	return engine.Witnessed{User: c.User, Through: c.Through}
}

var _ engine.Witnesses = (*informant)(nil)

// Who names the user who has changed what runs.
func (i *informant) Who(t engine.Trace) (who engine.Witnessed, later bool) {
	q := audit.Question{
		Object:  audit.Object{Group: t.Ref.Group, Resource: resourceOf(t.Ref.Group, t.Ref.Kind), Namespace: t.Ref.Namespace, Name: t.Ref.Name},
		Deleted: t.Deleted, Seen: t.Found.Truncate(time.Second).Add(time.Second / 2), Manager: t.Manager, Written: t.Written,
	}
	byManager := !t.Deleted && t.Manager != "" && !t.Written.IsZero()
	clusters := []string{clusterOf(t.Server)}
	if name := clusterOf(t.Cluster); name != "" && clusters[0] != "" {
		clusters = append(clusters, name)
	}
	for _, q.Cluster = range clusters {
		if !i.feed.Hears(q.Cluster) {
			continue
		}
		a, ok := i.feed.Who(q)
		if ok && (byManager || a.Ended.Sub(q.Seen).Abs() <= surely || time.Since(q.Seen) >= soon) {
			return i.witnessed(a.Write), false
		}
		later = true
	}
	return engine.Witnessed{}, later
}

// resourceOf guesses the plural name of a kind, as kinds are called by custom.
func resourceOf(group, kind string) string {
	plural, _ := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Group: group, Kind: kind})
	return plural.Resource
}

// auditReceiver takes events that API servers send.
type auditReceiver struct {
	server *Server
	busy   chan struct{}
}

func newAuditReceiver(s *Server) *auditReceiver {
	return &auditReceiver{server: s, busy: make(chan struct{}, auditSenders)}
}

func (h *auditReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code, text := h.handle(w, r)
	if code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1") // API servers try again where that is said
	}
	answer(w, code, text)
}

func (h *auditReceiver) handle(w http.ResponseWriter, r *http.Request) (code int, text string) {
	want := h.server.Audit.Token
	if len(want) == 0 {
		return http.StatusNotFound, "audit events are taken with --audit-webhook-token-file only"
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer || !sameSecret([]byte(strings.TrimSpace(token)), want) {
		return http.StatusUnauthorized, "the bearer token is not that of --audit-webhook-token-file"
	}
	p := h.server.leading.Load()
	if p == nil || p.informant == nil {
		return http.StatusServiceUnavailable, "this server does not lead: send this to the one that does"
	}
	select {
	case h.busy <- struct{}{}:
		defer func() { <-h.busy }()
	default:
		return http.StatusTooManyRequests, "too many at once: try again in a second"
	}
	cluster := clusterOf(r.PathValue("cluster"))
	if !p.informant.feed.Expect(cluster) {
		return http.StatusForbidden, "too many clusters send events"
	}
	err := p.informant.feed.Receive(cluster, http.MaxBytesReader(w, r.Body, auditBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the list is larger than %d bytes", auditBytes)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return http.StatusBadRequest, "the list ends in the middle"
	case err != nil:
		return http.StatusBadRequest, "this is no EventList of audit.k8s.io/v1"
	}
	return http.StatusOK, "ok"
}

// sameSecret compares in a time that tells nothing, not even of lengths.
func sameSecret(a, b []byte) bool {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
