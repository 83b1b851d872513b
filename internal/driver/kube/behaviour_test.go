package kube_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/kube"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

func with(t *testing.T, o render.Object, annotations map[string]string) render.Object {
	t.Helper()
	return annotate(o, annotations)
}

// problemOf applies what is declared and gives the problem of one object.
func (s *stage) problemOf(name string) *driver.Problem {
	s.Helper()
	c := s.compare()
	if p := s.resource(c, name).Problem; p != nil {
		return p
	}
	for _, r := range s.apply(c.Plan.Steps) {
		if r.Step.Change.Target().Name == name && r.Problem != nil {
			return r.Problem
		}
	}
	s.Fatalf("%s has no problem", name)
	return nil
}

func TestProblems(t *testing.T) {
	job := func(image string) map[string]any {
		return map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "bad"},
			"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"restartPolicy": "Never",
				"containers": []any{map[string]any{"name": "main", "image": image}}}}}}
	}
	cases := map[string]struct {
		reason        string
		before, after map[string]any
		want, says    string
	}{
		"Invalid": {reason: "a refused field is named", want: kube.ReasonInvalid, says: "replicas",
			after: deploymentMap("bad", "img", -1)},
		"UnknownField": {reason: "a field that does not exist is refused", want: kube.ReasonInvalid, says: "nonsense",
			after: map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "bad"}, "spec": map[string]any{"nonsense": true}}},
		"Immutable": {reason: "what to do about it is said", before: job("a"), after: job("b"), want: kube.ReasonImmutable, says: "Replace=true"},
		"UnknownKind": {reason: "a kind that is not served", want: kube.ReasonUnknownKind, says: "example.com/v1",
			after: map[string]any{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": map[string]any{"name": "bad"}}},
		"NamespaceMissing": {reason: "a namespace that nobody made", want: kube.ReasonNamespaceMissing, says: "CreateNamespace=true",
			after: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "bad", "namespace": "nowhere"}}},
		"NoName": {reason: "a name is needed", want: kube.ReasonInvalid, says: "metadata.name",
			after: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"generateName": "bad-"}}},
		"Traversal": {reason: "a name must not lead elsewhere", want: kube.ReasonInvalid, says: "cannot be used",
			after: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "../secrets/bad"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil)
			if c.before != nil {
				s.declare(object(t, c.before))
				s.sync()
			}
			s.declare(object(t, c.after), configMap(t, "good", "1"))
			var p *driver.Problem
			comparison := s.compare()
			for _, r := range comparison.Resources {
				if r.Problem != nil {
					p = r.Problem
				}
			}
			for _, r := range s.apply(comparison.Plan.Steps) {
				if r.Problem != nil {
					p = r.Problem
				}
			}
			if p == nil || p.Reason != c.want || !strings.Contains(p.Message, c.says) {
				t.Errorf("%s: got %+v, want %s that says %q", c.reason, p, c.want, c.says)
			}
			s.get("configmaps", "good")
		})
	}
}

func TestForceReplacesTheImmutable(t *testing.T) {
	s := newStage(t, nil)
	service := func(ip string) render.Object {
		return object(t, map[string]any{"apiVersion": "v1", "kind": "Secret", "immutable": true,
			"metadata": map[string]any{"name": "x", "annotations": map[string]any{"argocd.argoproj.io/sync-options": "Force=true,Replace=true"}},
			"data":     map[string]any{"a": ip}})
	}
	s.declare(service("MQ=="))
	s.sync()
	before := s.get("secrets", "x").GetUID()
	s.declare(service("Mg=="))
	if c := s.compare(); len(c.Plan.Steps) != 1 || c.Plan.Steps[0].Change.Action() != plan.ActionReplace {
		t.Fatalf("plan: %s", steps(c))
	}
	s.sync()
	if s.get("secrets", "x").GetUID() == before {
		t.Error("the object is the same one")
	}
}

func TestReplaceTrue(t *testing.T) {
	s := newStage(t, nil)
	s.declare(with(t, configMap(t, "x", "1"), map[string]string{"argocd.argoproj.io/sync-options": "Replace=true"}))
	s.sync()
	s.patch("configmaps", "x", `{"data":{"stray":"1"}}`)
	s.declare(with(t, configMap(t, "x", "2"), map[string]string{"argocd.argoproj.io/sync-options": "Replace=true"}))
	s.sync()
	data, _, _ := unstructured.NestedStringMap(s.get("configmaps", "x").Object, "data")
	if len(data) != 1 || data["value"] != "2" {
		t.Errorf("data %v: a replaced object holds what is declared and nothing else", data)
	}
	s.patch("configmaps", "x", `{"data":{"value":"3"}}`)
	s.eventually("drift of a replaced object is seen", func(c driver.Comparison) bool { return s.resource(c, "x").Cause == driver.CauseDrift })
}

func TestDefinitionsAndTheirObjects(t *testing.T) {
	s := newStage(t, nil)
	group := strings.ReplaceAll(s.namespace, "-", "") + ".example.com"
	crd := object(t, map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "things." + group},
		"spec": map[string]any{"group": group, "scope": "Namespaced",
			"names": map[string]any{"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object",
					"properties": map[string]any{"spec": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}}}})
	thing := object(t, map[string]any{"apiVersion": group + "/v1", "kind": "Thing", "metadata": map[string]any{"name": "one"}, "spec": map[string]any{"a": int64(1)}})
	s.declare(thing, crd)
	s.sync()
	if r := s.resource(s.compare(), "one"); r.Sync != driver.Synced || !r.Exists {
		t.Errorf("the object of the new kind: %+v", r)
	}
	s.patch("things.v1."+group, "one", `{"spec":{"a":2}}`)
	s.eventually("its drift is seen", func(c driver.Comparison) bool { return s.resource(c, "one").Cause == driver.CauseDrift })
	s.sync()
	s.declare()
	s.eventually("all is extra", func(c driver.Comparison) bool { return c.Plan.Count().Delete == 2 })
	if c := s.compare(); c.Plan.Steps[0].Change.Target().Name != "one" {
		t.Errorf("objects go before their definition: %s", steps(c))
	}
	s.sync()
}

func TestCreateNamespace(t *testing.T) {
	s := newStage(t, nil)
	s.desired.Target.Namespace = s.namespace + "-new"
	s.desired.SyncOptions = v1alpha1.SyncOptions{"CreateNamespace=true"}
	s.desired.NamespaceMetadata = &v1alpha1.ManagedNamespaceMetadata{Labels: map[string]string{"team": "a"}}
	hook := with(t, configMap(t, "hook", "1"), map[string]string{"argocd.argoproj.io/hook": "PreSync"})
	s.declare(configMap(t, "a", "1"), hook)
	if c := s.compare(); c.Plan.Steps[0].Change.Target().Kind != "Namespace" || c.Plan.Steps[0].Phase != plan.PreSync {
		t.Fatalf("the namespace comes first: %s", steps(c))
	}
	s.sync()
	ns, err := s.client.Resource(namespaces).Get(t.Context(), s.desired.Target.Namespace, get)
	if err != nil || ns.GetLabels()["team"] != "a" || ns.GetAnnotations()[kube.AnnotationOwner] != "" {
		t.Errorf("namespace %v %v: %v", ns.GetLabels(), ns.GetAnnotations(), err)
	}
	s.requests.take()
	s.compare()
	if sent := s.requests.take(); len(sent) != 0 {
		t.Errorf("unchanged: sent %q", sent)
	}
	s.desired.NamespaceMetadata.Labels["team"] = "b"
	s.sync()
	if ns, err = s.client.Resource(namespaces).Get(t.Context(), s.desired.Target.Namespace, get); err != nil || ns.GetLabels()["team"] != "b" {
		t.Errorf("labels %v: %v", ns.GetLabels(), err)
	}
	s.desired.Deleting = true
	s.declare()
	if c := s.compare(); strings.Contains(steps(c), "Namespace/") {
		t.Errorf("the namespace must stay: %s", steps(c))
	}
}

func TestIgnoreDifferences(t *testing.T) {
	cases := map[string]struct {
		reason string
		ignore v1alpha1.ResourceIgnoreDifferences
	}{
		"pointer":  {"a field by its place", v1alpha1.ResourceIgnoreDifferences{Group: "apps", Kind: "Deployment", JSONPointers: []string{"/spec/replicas"}}},
		"jq":       {"a field by expression", v1alpha1.ResourceIgnoreDifferences{Group: "*", Kind: "*", JQPathExpressions: []string{".spec.replicas"}}},
		"managers": {"the fields of a manager", v1alpha1.ResourceIgnoreDifferences{Group: "apps", Kind: "Deployment", ManagedFieldsManagers: []string{"someone"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil)
			s.desired.IgnoreDifferences = []v1alpha1.ResourceIgnoreDifferences{c.ignore}
			s.declare(deployment(t, "web", "img:1", 1))
			s.sync()
			told := make(chan driver.Owner, 10)
			go func() { _ = s.driver.Watch(t.Context(), func(o driver.Owner) { told <- o }) }()
			s.patch("deployments.v1.apps", "web", `{"spec":{"replicas":4}}`)
			s.patch("deployments.v1.apps", "web", `{"metadata":{"annotations":{"argocd.argoproj.io/sync-options":"Prune=false"}}}`)
			<-told // the annotation, which is not ignored as a change, has been seen
			if cmp := s.compare(); !cmp.Plan.Empty() {
				t.Errorf("%s: %s %+v", c.reason, steps(cmp), cmp.Resources)
			}
			s.desired.SyncOptions = v1alpha1.SyncOptions{"RespectIgnoreDifferences=true"}
			s.declare(deployment(t, "web", "img:2", 1))
			s.sync()
			if n, _, _ := unstructured.NestedInt64(s.get("deployments.v1.apps", "web").Object, "spec", "replicas"); n != 4 {
				t.Errorf("%s: %d replicas, want the 4 that are to be respected", c.reason, n)
			}
		})
	}
}

func TestDriftAnswers(t *testing.T) {
	s := newStage(t, nil)
	s.desired.Drift = &v1alpha1.DriftPolicy{Default: v1alpha1.DriftRevert, Rules: []v1alpha1.DriftRule{
		{Group: "apps", Kind: "Deployment", JSONPointers: []string{"/spec/replicas"}, Action: v1alpha1.DriftReport},
		{Kind: "ConfigMap", Name: "lax-*", Action: v1alpha1.DriftIgnore},
	}}
	s.declare(deployment(t, "web", "img:1", 1), configMap(t, "lax-1", "1"))
	s.sync()
	s.patch("deployments.v1.apps", "web", `{"spec":{"replicas":4}}`)
	c := s.eventually("drift", func(c driver.Comparison) bool { return !c.Plan.Empty() })
	if a := s.resource(c, "web").Answer; a != v1alpha1.DriftReport {
		t.Errorf("replicas alone are reported: %q", a)
	}
	s.patch("deployments.v1.apps", "web", `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"other"}]}}}}`)
	s.eventually("an image as well is reverted", func(c driver.Comparison) bool { return s.resource(c, "web").Answer == v1alpha1.DriftRevert })
	s.sync()
	s.patch("configmaps", "lax-1", `{"data":{"value":"2"}}`)
	for range 20 {
		if c := s.compare(); !c.Plan.Empty() {
			t.Fatalf("ignored drift is in the plan: %s", steps(c))
		}
	}
	s.declare(deployment(t, "web", "img:1", 1), configMap(t, "lax-1", "3"))
	s.sync() // a declared change still applies
	if v, _, _ := unstructured.NestedString(s.get("configmaps", "lax-1").Object, "data", "value"); v != "3" {
		t.Errorf("value %q, want 3", v)
	}
}

func TestAdoptionAndMigration(t *testing.T) {
	s := newStage(t, nil)
	applied := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"old":"1","value":"1"}}`
	_, err := s.in("configmaps").Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "x", "annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": applied}},
		"data":     map[string]any{"old": "1", "value": "1"}}}, createAs("kubectl-client-side-apply"))
	if err != nil {
		t.Fatal(err)
	}
	s.declare(configMap(t, "x", "2"))
	s.desired.Full = true
	if c := s.compare(); len(c.Plan.Steps) != 1 || c.Plan.Steps[0].Change.Action() != plan.ActionUpdate {
		t.Errorf("who looks sees that it exists: %s", steps(c))
	}
	s.desired.Full = false
	s.sync()
	o := s.get("configmaps", "x")
	data, _, _ := unstructured.NestedStringMap(o.Object, "data")
	if len(data) != 1 || data["value"] != "2" || len(o.GetAnnotations()) != 1 {
		t.Errorf("data %v, annotations %v: what is no longer declared goes", data, o.GetAnnotations())
	}
}

func TestSecretsAreNowhere(t *testing.T) {
	const canary = "canary-7f3a9"
	s := newStage(t, nil)
	s.desired.Full = true
	secret := func(extra map[string]any) render.Object {
		m := map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s"}, "stringData": map[string]any{"a": canary}}
		for k, v := range extra {
			m[k] = v
		}
		return object(t, m)
	}
	s.declare(secret(nil))
	s.sync()
	s.declare(secret(map[string]any{"stringData": map[string]any{"a": canary + "2", "b": canary}}))
	s.compare()
	s.patch("secrets", "s", fmt.Sprintf(`{"stringData":{"a":"%s3"},"metadata":{"annotations":{"copy":"%s3"}}}`, canary, canary))
	s.eventually("drift", func(c driver.Comparison) bool { return !c.Plan.Empty() })
	for _, bad := range []map[string]any{
		{"data": map[string]any{"x": canary}}, {"stringData": map[string]any{"x": 12345678}}, {"type": "kubernetes.io/tls"},
		{"data": map[string]any{"x/" + canary: "eA=="}}, {"data": canary},
	} {
		s.declare(secret(bad))
		s.apply(s.compare().Plan.Steps)
	}
	s.declare()
	s.compare()
	s.sync()
	for _, leak := range []string{canary, "Y2FuYXJ5LTdmM2E5", "12345678"} {
		if i := strings.Index(s.shown.String(), leak); i >= 0 {
			t.Errorf("the secret is shown: …%s…", s.shown.String()[max(0, i-200):i+20])
		}
	}
}
