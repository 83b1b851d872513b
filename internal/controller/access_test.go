package controller

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func TestAccessIsWellFormed(t *testing.T) {
	names := map[string]bool{}
	for _, file := range []string{policiesFile, policiesOfPlansFile, rolesFile, gatesFile, projectsFile} {
		objects, err := accessObjects(file)
		if err != nil || len(objects) == 0 {
			t.Fatalf("%s: %d objects, %v", file, len(objects), err)
		}
		for _, o := range objects {
			names[o.GetKind()+" "+o.GetName()] = true
		}
	}
	for name := range names {
		const kind = "ValidatingAdmissionPolicy "
		if len(name) > len(kind) && name[:len(kind)] == kind && !names["ValidatingAdmissionPolicyBinding "+name[len(kind):]] {
			t.Errorf("nothing binds the %s", name)
		}
	}
}

func TestWhoDeletesManyThawsNothing(t *testing.T) {
	w := newWorld(t)
	dev := w.as(t, "dev", "get", "list", "delete", "deletecollection")
	lead := w.as(t, "lead", "get", "list", "create", "update", "patch", "delete", "deletecollection", "freeze")
	meta := map[string]any{"namespace": SystemNamespace, "labels": map[string]any{"test": "thaw"}}
	with := func(name string) map[string]any {
		return map[string]any{"namespace": SystemNamespace, "labels": meta["labels"], "name": name}
	}
	project := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "AppProject", "metadata": with("glacier"),
		"spec": map[string]any{"freeze": map[string]any{"reason": "launch", "by": "lead"}},
	}}
	everything := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": with(v1alpha1.FreezeConfigMap), "data": map[string]any{"reason": "launch", "by": "lead"},
	}}
	projects, configMaps := resource(v1alpha1.Group, v1alpha1.AppProjectResource), corev1.SchemeGroupVersion.WithResource("configmaps")
	t.Cleanup(func() {
		_ = w.client.Resource(projects).Namespace(SystemNamespace).Delete(context.Background(), "glacier", metav1.DeleteOptions{})
		_ = w.client.Resource(configMaps).Namespace(SystemNamespace).Delete(context.Background(), v1alpha1.FreezeConfigMap, metav1.DeleteOptions{})
	})
	allowed(t, "freeze the project", func() error {
		_, err := lead.Resource(projects).Namespace(SystemNamespace).Create(t.Context(), project, metav1.CreateOptions{})
		return err
	})
	denied(t, "without a name", "must be your own name", func() error {
		wrong := everything.DeepCopy()
		wrong.Object["data"] = map[string]any{"reason": "launch", "by": "dev"}
		_, err := lead.Resource(configMaps).Namespace(SystemNamespace).Create(t.Context(), wrong, metav1.CreateOptions{})
		return err
	})
	allowed(t, "freeze everything", func() error {
		_, err := lead.Resource(configMaps).Namespace(SystemNamespace).Create(t.Context(), everything, metav1.CreateOptions{})
		return err
	})
	for name, r := range map[string]struct {
		what   string
		delete func() error
		get    func() error
	}{
		"project": {"a frozen project", func() error {
			return dev.Resource(projects).Namespace(SystemNamespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=thaw"})
		}, func() error {
			_, err := w.client.Resource(projects).Namespace(SystemNamespace).Get(t.Context(), "glacier", metav1.GetOptions{})
			return err
		}},
		"all": {"the freeze of everything", func() error {
			return dev.Resource(configMaps).Namespace(SystemNamespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=thaw"})
		}, func() error {
			_, err := w.client.Resource(configMaps).Namespace(SystemNamespace).Get(t.Context(), v1alpha1.FreezeConfigMap, metav1.GetOptions{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			denied(t, "deleting many", `needs the verb "freeze"`, r.delete)
			if err := r.get(); err != nil {
				t.Errorf("%s is gone: %v", r.what, err)
			}
		})
	}
}

func TestWhoMayDoWithoutApprovals(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	dev := w.as(t, "dev", "get", "update", "patch")
	lead := w.as(t, "lead", "get", "update", "patch", "override")
	key := engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "web"}
	w.create(t, key, map[string]any{
		"source": map[string]any{"repoURL": "https://git.example/x"}, "destination": map[string]any{}, "project": "default",
	}, nil)
	set := func(approval any) map[string]any {
		return map[string]any{"spec": map[string]any{"syncPolicy": map[string]any{"approval": approval}}}
	}
	try := func(what map[string]any) func() error {
		return func() error { return patch(t, dev, v1alpha1.Group, v1alpha1.ApplicationResource, ns, "web", what) }
	}
	allowed(t, "asking for approvals", try(set(map[string]any{"when": "always", "minApprovals": 2})))
	const reason = `needs the verb "override"`
	denied(t, "asking for fewer", reason, try(set(map[string]any{"minApprovals": 1})))
	denied(t, "asking for none", reason, try(set(map[string]any{"when": "never"})))
	denied(t, "turning it off", reason, try(set(map[string]any{"required": false})))
	denied(t, "taking it away", reason, try(set(nil)))
	denied(t, "taking all of it away", reason, try(map[string]any{"spec": map[string]any{"syncPolicy": nil}}))
	allowed(t, "another change beside it", try(map[string]any{"spec": map[string]any{"syncPolicy": map[string]any{"automated": map[string]any{}}}}))
	allowed(t, "taking it away, who may override", func() error {
		return patch(t, lead, v1alpha1.Group, v1alpha1.ApplicationResource, ns, "web", set(nil))
	})
}

func TestStatusesAreToldByPlumbAlone(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	dev := w.as(t, "dev", "get", "update", "patch")
	crds := w.client.Resource(definitions)
	name := v1alpha1.ApplicationResource + "." + v1alpha1.ArgoGroup
	change := func(patch string) {
		t.Helper()
		if _, err := crds.Patch(context.Background(), name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	key := engine.Key{Group: v1alpha1.ArgoGroup, Namespace: ns, Name: "web"}
	w.create(t, key, map[string]any{"source": map[string]any{"repoURL": "https://git.example/x"}, "destination": map[string]any{}, "project": "default"}, nil)
	change(`[{"op":"remove","path":"/spec/versions/0/subresources"}]`)
	t.Cleanup(func() { change(`[{"op":"add","path":"/spec/versions/0/subresources","value":{"status":{}}}]`) })
	const reason = "told by Plumb alone"
	denied(t, "an operation", reason, func() error {
		return patch(t, dev, v1alpha1.ArgoGroup, v1alpha1.ApplicationResource, ns, "web", map[string]any{"status": map[string]any{"operationState": map[string]any{
			"phase": "Running", "startedAt": "2026-01-01T09:00:00Z", "operation": map[string]any{
				"sync": map[string]any{}, "info": []any{map[string]any{"name": v1alpha1.InfoOverride, "value": "mine"}},
			},
		}}})
	})
	denied(t, "an inventory", reason, func() error {
		return patch(t, dev, v1alpha1.ArgoGroup, v1alpha1.ApplicationResource, ns, "web", map[string]any{"metadata": map[string]any{"annotations": map[string]any{foreignAnnotation: "x"}}})
	})
	allowed(t, "what is no claim", func() error {
		return patch(t, dev, v1alpha1.ArgoGroup, v1alpha1.ApplicationResource, ns, "web", map[string]any{"metadata": map[string]any{"annotations": map[string]any{"a": "b"}}})
	})
	if err := patch(t, w.client, v1alpha1.ArgoGroup, v1alpha1.ApplicationResource, ns, "web", map[string]any{"metadata": map[string]any{"annotations": map[string]any{foreignAnnotation: "x"}}}); err != nil {
		t.Errorf("Plumb may: %v", err)
	}
}

func TestWithoutPoliciesNobodyIsAsked(t *testing.T) {
	gone := apierrors.NewNotFound(accessResources["ValidatingAdmissionPolicy"].GroupResource(), "")
	forbidden := apierrors.NewForbidden(accessResources["ValidatingAdmissionPolicy"].GroupResource(), "approvals.plumb.dev", nil)
	down := apierrors.NewServiceUnavailable("starting")
	for name, c := range map[string]struct {
		reason string
		err    error
		fails  bool
	}{
		"Old":       {"an API server without policies serves all but approvals", gone, false},
		"Forbidden": {"so does one where Plumb may install none", forbidden, false},
		"Down":      {"what may pass is tried again", down, true},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleDynamicClient(runtime.NewScheme())
			client.PrependReactor("*", "*", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
			log := slog.New(slog.DiscardHandler)
			for _, file := range []string{policiesFile, policiesOfPlansFile} {
				if _, ok, err := guardApprovals(t.Context(), client, log, file); ok || (err != nil) != c.fails {
					t.Errorf("%s: %s: got %t, %v", c.reason, file, ok, err)
				}
			}
			if _, ok, err := guardGates(t.Context(), client, log); ok || (err != nil) != c.fails {
				t.Errorf("%s: got %t, %v", c.reason, ok, err)
			}
		})
	}
}

func TestWeakenedPoliciesAreMended(t *testing.T) {
	config := kubetest.Config(t)
	client := dynamic.NewForConfigOrDie(config)
	install := func() {
		t.Helper()
		if _, err := Install(t.Context(), config, false, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	install()
	bindings := client.Resource(accessResources["ValidatingAdmissionPolicyBinding"])
	actions := func() string {
		u, err := bindings.Get(t.Context(), "approvals.plumb.dev", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		list, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "validationActions")
		return strings.Join(list, ",")
	}
	_, err := bindings.Patch(t.Context(), "approvals.plumb.dev", types.MergePatchType,
		[]byte(`{"spec":{"validationActions":["Audit"],"matchResources":{"namespaceSelector":{"matchLabels":{"a":"b"}}}}}`), metav1.PatchOptions{})
	if err != nil || actions() != "Audit" {
		t.Fatal(err, actions())
	}
	install()
	if got := actions(); got != "Deny" {
		t.Errorf("the binding still says %s", got)
	}
	u, err := bindings.Get(t.Context(), "approvals.plumb.dev", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if labels, _, _ := unstructured.NestedMap(u.Object, "spec", "matchResources", "namespaceSelector", "matchLabels"); len(labels) > 0 {
		t.Errorf("the binding still leaves out what is not %v", labels)
	}
	install()
	again, err := bindings.Get(t.Context(), "approvals.plumb.dev", metav1.GetOptions{})
	if err != nil || again.GetResourceVersion() != u.GetResourceVersion() {
		t.Errorf("what is as it should be is written again: %v", err)
	}
}
