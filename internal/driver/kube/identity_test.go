package kube_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	get        = metav1.GetOptions{}
)

func createAs(manager string) metav1.CreateOptions {
	return metav1.CreateOptions{FieldManager: manager}
}

// grant lets a service account do what it likes with ConfigMaps in a namespace.
func grant(t *testing.T, namespace, account string) {
	t.Helper()
	k, err := kubernetes.NewForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}}}}, metav1.CreateOptions{})
	if err == nil {
		_, err = k.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: account},
			RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: account},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: account}}}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = k.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestIdentity(t *testing.T) {
	s := newStage(t, nil)
	grant(t, s.namespace, "deployer")
	s.desired.Target.Identity = "system:serviceaccount:" + s.namespace + ":deployer"
	s.declare(configMap(t, "allowed", "1"), deployment(t, "refused", "img", 1))
	p := s.problemOf("refused")
	if p.Reason != kube.ReasonForbidden || !strings.Contains(p.Message, "deployer") {
		t.Errorf("got %+v, want a refusal of the account's", p)
	}
	s.get("configmaps", "allowed")
}

// Plumb itself may see one namespace only: it watches that one.
func TestNarrowRights(t *testing.T) {
	s := newStage(t, nil)
	grant(t, s.namespace, "plumb")
	s.restart(func(o *kube.Options) {
		c := rest.CopyConfig(kubetest.Config(t))
		c.Impersonate.UserName = "system:serviceaccount:" + s.namespace + ":plumb"
		o.Clusters = theCluster{c}
	})
	s.declare(configMap(t, "a", "1"))
	s.sync()
	s.patch("configmaps", "a", `{"data":{"value":"2"}}`)
	s.eventually("drift is seen", func(c driver.Comparison) bool { return s.resource(c, "a").Cause == driver.CauseDrift })
	s.declare(configMap(t, "a", "1"), deployment(t, "web", "img", 1))
	r := s.resource(s.compare(), "web")
	if r.Sync != driver.Unknown || r.Problem == nil || r.Problem.Reason != kube.ReasonForbidden {
		t.Errorf("what may not be watched is unknown: %+v", r)
	}
}

// cut stands between the driver and the API server, and can be cut.
type cut struct {
	off atomic.Bool
	// wide is set where what asks for the whole cluster is refused.
	wide atomic.Bool
	live atomic.Pointer[context.CancelFunc]
}

func (c *cut) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(q *http.Request) (*http.Response, error) {
		if c.off.Load() {
			return nil, &unreachable{}
		}
		if c.wide.Load() && q.URL.Path == "/api/v1/configmaps" {
			return forbidden(q), nil
		}
		if q.URL.Query().Get("watch") != "" {
			ctx, cancel := context.WithCancel(q.Context())
			c.live.Store(&cancel)
			q = q.WithContext(ctx)
		}
		return next.RoundTrip(q)
	})
}

// forbidden is how an API server refuses that has just come back, and whose
// authorizer does not know the roles yet.
func forbidden(q *http.Request) *http.Response {
	body := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"configmaps is forbidden: not yet"}`
	return &http.Response{
		StatusCode: http.StatusForbidden, Request: q, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

type unreachable struct{}

func (*unreachable) Error() string { return "connection refused by the test" }

func TestUnreachable(t *testing.T) {
	s := newStage(t, nil)
	line := &cut{}
	s.restart(func(o *kube.Options) {
		c := rest.CopyConfig(kubetest.Config(t))
		c.Wrap(line.wrap)
		o.Clusters = theCluster{c}
	})
	s.declare(configMap(t, "a", "1"))
	s.sync()
	told := make(chan driver.Owner, 1000)
	go func() { _ = s.driver.Watch(t.Context(), func(o driver.Owner) { told <- o }) }()
	line.off.Store(true)
	(*line.live.Load())()
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := s.driver.Compare(t.Context(), s.desired)
		if err != nil {
			if !strings.Contains(err.Error(), "https://here") || !strings.Contains(err.Error(), "refused by the test") {
				t.Errorf("the error says which cluster and why: %v", err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the loss was not noticed")
		}
		time.Sleep(time.Millisecond)
	}
	s.patch("configmaps", "a", `{"data":{"value":"2"}}`)
	for len(told) > 0 {
		<-told
	}
	line.off.Store(false)
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("the owner was not told that the cluster is back")
	}
	for {
		c, err := s.driver.Compare(t.Context(), s.desired)
		if err == nil && s.resource(c, "a").Cause == driver.CauseDrift {
			return
		}
		if time.Now().After(deadline.Add(20 * time.Second)) {
			t.Fatalf("what happened meanwhile was not seen: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// An API server that was away refuses everybody for a moment when it comes back.
// The refusal is not the first failure of the watch, and must neither be waited
// for in a busy loop nor blind the driver for good.
func TestRefusedAfterAnAbsence(t *testing.T) {
	s := newStage(t, nil)
	line := &cut{}
	s.restart(func(o *kube.Options) {
		c := rest.CopyConfig(kubetest.Config(t))
		c.Wrap(line.wrap)
		o.Clusters = theCluster{c}
	})
	s.declare(configMap(t, "a", "1"))
	s.sync()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	await := func(what string, ok func(driver.Comparison, error) bool) {
		t.Helper()
		for {
			c, err := s.driver.Compare(ctx, s.desired)
			if ok(c, err) {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: not so: %v, %+v", what, err, c.Resources)
			}
			time.Sleep(time.Millisecond)
		}
	}
	line.off.Store(true)
	(*line.live.Load())()
	await("the loss is noticed", func(_ driver.Comparison, err error) bool { return err != nil })
	s.patch("configmaps", "a", `{"data":{"value":"2"}}`)
	line.wide.Store(true)
	line.off.Store(false)
	drift := func(c driver.Comparison, err error) bool {
		return err == nil && s.resource(c, "a").Cause == driver.CauseDrift
	}
	await("what happened meanwhile is seen while the whole cluster may not be watched", drift)
	line.wide.Store(false)
	s.sync()
	s.patch("configmaps", "a", `{"data":{"value":"3"}}`)
	await("drift is seen again", drift)
}
