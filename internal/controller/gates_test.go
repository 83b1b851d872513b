package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// as gives a client of a user who may do what the verbs say with Applications,
// AppProjects and ConfigMaps, and nothing else.
func (w *world) as(t *testing.T, user string, verbs ...string) dynamic.Interface {
	t.Helper()
	meta := metav1.ObjectMeta{Name: strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")) + "-" + user}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{v1alpha1.Group, v1alpha1.ArgoGroup, ""}, Resources: []string{"applications", "appprojects", "configmaps"}, Verbs: verbs},
	}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}
	if _, err := w.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.kube.RbacV1().ClusterRoleBindings().Delete(context.Background(), meta.Name, metav1.DeleteOptions{})
		_ = w.kube.RbacV1().ClusterRoles().Delete(context.Background(), meta.Name, metav1.DeleteOptions{})
	})
	config := rest.CopyConfig(kubetest.Config(t))
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	return dynamic.NewForConfigOrDie(config)
}

// denied waits until a request is refused for the reason: RBAC and admission
// policies are noticed by the API server a moment after they are written.
func denied(t *testing.T, what, reason string, do func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = do(); err != nil && strings.Contains(err.Error(), reason) {
			return
		}
	}
	t.Fatalf("%s: got %v, want a refusal with %q", what, err, reason)
}

func allowed(t *testing.T, what string, do func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = do(); err == nil || !apierrors.IsForbidden(err) {
			break
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func patch(t *testing.T, client dynamic.Interface, group, kind, namespace, name string, what map[string]any) error {
	t.Helper()
	body, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Resource(resource(group, kind)).Namespace(namespace).Patch(t.Context(), name, types.MergePatchType, body, metav1.PatchOptions{})
	return err
}

func TestWhoMayOverride(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	lead := w.as(t, "lead", "get", "update", "patch", "override")
	dev := w.as(t, "dev", "get", "update", "patch")
	for _, group := range []string{v1alpha1.Group, v1alpha1.ArgoGroup} {
		t.Run(group, func(t *testing.T) {
			key := engine.Key{Group: group, Namespace: ns, Name: "web"}
			w.create(t, key, map[string]any{"source": map[string]any{"repoURL": "https://git.example/x"}, "destination": map[string]any{}, "project": "default"}, nil)
			ask := func(client dynamic.Interface, user, reason string, prune bool) func() error {
				return func() error {
					return patch(t, client, group, v1alpha1.ApplicationResource, ns, "web", map[string]any{"operation": map[string]any{
						"sync": map[string]any{"prune": prune}, "initiatedBy": map[string]any{"username": user},
						"info": []any{map[string]any{"name": v1alpha1.InfoOverride, "value": reason}},
					}})
				}
			}
			denied(t, "without the verb", `needs the verb "override"`, ask(dev, "dev", "down", false))
			denied(t, "under another name", "must be your own name, lead", ask(lead, "boss", "down", false))
			denied(t, "without a reason", "needs a reason", ask(lead, "lead", " ", false))
			allowed(t, "with all of it", ask(lead, "lead", "the shop is down", false))
			allowed(t, "another change beside it", func() error {
				return patch(t, dev, group, v1alpha1.ApplicationResource, ns, "web", map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}})
			})
			denied(t, "a change of what it asks for", `needs the verb "override"`, ask(dev, "lead", "the shop is down", true))
		})
	}
}

func TestWhoPinsSaysSo(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	dev := w.as(t, "dev", "get", "update", "patch")
	key := engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "web"}
	w.create(t, key, map[string]any{"source": map[string]any{"repoURL": "https://git.example/x"}, "destination": map[string]any{}, "project": "default"}, nil)
	pin := func(client dynamic.Interface, by any) func() error {
		return func() error {
			return patch(t, client, v1alpha1.Group, v1alpha1.ApplicationResource, ns, "web", map[string]any{"metadata": map[string]any{"annotations": map[string]any{
				v1alpha1.AnnotationPin: "abc", v1alpha1.AnnotationPinBy: by,
			}}})
		}
	}
	denied(t, "under another name", "must be your own name, dev", pin(dev, "ada"))
	denied(t, "as Plumb", "must be your own name, dev", pin(dev, v1alpha1.PinnedByFailure))
	allowed(t, "under one's own name", pin(dev, "dev"))
	allowed(t, "without a name", pin(dev, nil))
	eventually(t, "the pin is known", func() bool {
		app, ok := w.Get(key)
		_, pinned := v1alpha1.PinOf(app.Annotations)
		return ok && pinned
	})
	app, _ := w.Get(key)
	if err := w.Pin(t.Context(), app, key, v1alpha1.Pin{Revisions: []string{"def"}, By: v1alpha1.PinnedByFailure}); err != nil {
		t.Fatal(err)
	}
	if app, _ := w.Get(key); app.Annotations[v1alpha1.AnnotationPin] != "abc" {
		t.Error("a pin of somebody's is not replaced")
	}
	allowed(t, "taking it away", func() error {
		return patch(t, dev, v1alpha1.Group, v1alpha1.ApplicationResource, ns, "web", map[string]any{"metadata": map[string]any{"annotations": nil}})
	})
	eventually(t, "the pin is gone", func() bool { app, ok := w.Get(key); return ok && len(app.Annotations) == 0 })
	app, _ = w.Get(key)
	if err := w.Pin(t.Context(), app, key, v1alpha1.Pin{Revisions: []string{"def"}, By: v1alpha1.PinnedByFailure, Reason: "it failed"}); err != nil {
		t.Fatal(err)
	}
	if app, _ := w.Get(key); app.Annotations[v1alpha1.AnnotationPin] != "def" {
		t.Error("Plumb may pin")
	}
}

func TestWhoMayFreeze(t *testing.T) {
	w := newWorld(t)
	lead := w.as(t, "lead", "get", "create", "update", "patch", "delete", "freeze")
	dev := w.as(t, "dev", "get", "create", "update", "patch", "delete")
	project := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "AppProject",
		"metadata": map[string]any{"namespace": SystemNamespace, "name": "frosty"}, "spec": map[string]any{},
	}}
	projects := w.client.Resource(resource(v1alpha1.Group, v1alpha1.AppProjectResource)).Namespace(SystemNamespace)
	if _, err := projects.Create(t.Context(), project, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = projects.Delete(context.Background(), "frosty", metav1.DeleteOptions{}) })
	freeze := func(client dynamic.Interface, freeze any) func() error {
		return func() error {
			return patch(t, client, v1alpha1.Group, v1alpha1.AppProjectResource, SystemNamespace, "frosty", map[string]any{"spec": map[string]any{"freeze": freeze}})
		}
	}
	key := engine.Key{Group: v1alpha1.Group, Namespace: SystemNamespace, Name: "web"}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: v1alpha1.ApplicationSpec{Project: "frosty"}}
	denied(t, "without the verb", `needs the verb "freeze"`, freeze(dev, map[string]any{"reason": "launch", "by": "dev"}))
	denied(t, "under another name", "must be your own name, lead", freeze(lead, map[string]any{"reason": "launch", "by": "dev"}))
	allowed(t, "with the verb", freeze(lead, map[string]any{"reason": "launch", "by": "lead"}))
	eventually(t, "it is known", func() bool { return len(w.Freezes(app, key)) == 1 })
	if got, want := w.Freezes(app, key)[0].String(), "project frosty is frozen by lead: launch"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	denied(t, "thawing without the verb", `needs the verb "freeze"`, freeze(dev, nil))
	denied(t, "deleting what is frozen", `needs the verb "freeze"`, func() error {
		return dev.Resource(resource(v1alpha1.Group, v1alpha1.AppProjectResource)).Namespace(SystemNamespace).Delete(t.Context(), "frosty", metav1.DeleteOptions{})
	})
	allowed(t, "another change of what is frozen", func() error {
		return patch(t, dev, v1alpha1.Group, v1alpha1.AppProjectResource, SystemNamespace, "frosty", map[string]any{"spec": map[string]any{"description": "cold"}})
	})
	allowed(t, "thawing", freeze(lead, nil))
	eventually(t, "it is known", func() bool { return len(w.Freezes(app, key)) == 0 })
	t.Run("all", func(t *testing.T) { w.freezeAll(t, lead, dev, app, key) })
}

func (w *world) freezeAll(t *testing.T, lead, dev dynamic.Interface, app *v1alpha1.Application, key engine.Key) {
	all := func(client dynamic.Interface, data map[string]any) func() error {
		return func() error {
			u := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": SystemNamespace, "name": v1alpha1.FreezeConfigMap}, "data": data,
			}}
			_, err := client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(SystemNamespace).Create(t.Context(), u, metav1.CreateOptions{})
			return err
		}
	}
	remove := func(client dynamic.Interface) func() error {
		return func() error {
			return client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(SystemNamespace).Delete(t.Context(), v1alpha1.FreezeConfigMap, metav1.DeleteOptions{})
		}
	}
	t.Cleanup(func() {
		_ = w.kube.CoreV1().ConfigMaps(SystemNamespace).Delete(context.Background(), v1alpha1.FreezeConfigMap, metav1.DeleteOptions{})
	})
	denied(t, "all without the verb", `needs the verb "freeze"`, all(dev, map[string]any{"reason": "launch", "by": "dev"}))
	denied(t, "all under another name", "must be your own name, lead", all(lead, map[string]any{"reason": "launch", "by": "dev"}))
	denied(t, "all without a reason", "needs a reason", all(lead, map[string]any{"by": "lead"}))
	allowed(t, "all", all(lead, map[string]any{"reason": "launch", "by": "lead", "at": "2026-01-01T09:00:00Z"}))
	eventually(t, "all is known", func() bool { return len(w.Freezes(app, key)) == 1 })
	if got, want := w.Freezes(app, key)[0].String(), "all projects are frozen by lead since 2026-01-01T09:00:00Z: launch"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	denied(t, "thawing all without the verb", `needs the verb "freeze"`, remove(dev))
	allowed(t, "thawing all", remove(lead))
	eventually(t, "all is known", func() bool { return len(w.Freezes(app, key)) == 0 })
	if err := w.Overridable(); err != nil {
		t.Errorf("what the API server checks may be overridden: %v", err)
	}
}

func TestWindowsThatCannotBeUnderstood(t *testing.T) {
	w := newWorld(t)
	projects := w.client.Resource(resource(v1alpha1.Group, v1alpha1.AppProjectResource)).Namespace(SystemNamespace)
	project := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "AppProject",
		"metadata": map[string]any{"namespace": SystemNamespace, "name": "drafty"},
		"spec": map[string]any{"sourceNamespaces": []any{"*"}, "syncWindows": []any{
			map[string]any{"kind": "deny", "schedule": "0 22 * *", "duration": "1h", "applications": []any{"*"}},
		}},
	}}
	if _, err := projects.Create(t.Context(), project, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = projects.Delete(context.Background(), "drafty", metav1.DeleteOptions{}) })
	conditions := func() string {
		u, err := projects.Get(t.Context(), "drafty", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		return fmt.Sprint(list)
	}
	eventually(t, "the project says what is wrong", func() bool { return strings.Contains(conditions(), "spec.syncWindows[0].schedule") })
	key := engine.Key{Group: v1alpha1.Group, Namespace: SystemNamespace, Name: "web"}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: v1alpha1.ApplicationSpec{Project: "drafty"}}
	if _, err := w.Fence(app, key); err == nil || !strings.Contains(err.Error(), `spec.syncWindows[0].schedule: "0 22 * *"`) {
		t.Errorf("its Applications are blocked, and told why: got %v", err)
	}
	err := patch(t, w.client, v1alpha1.Group, v1alpha1.AppProjectResource, SystemNamespace, "drafty", map[string]any{"spec": map[string]any{"syncWindows": []any{
		map[string]any{"kind": "deny", "schedule": "0 22 * * *", "duration": "1h", "applications": []any{"*"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is content again", func() bool { return conditions() == "[]" })
	if set, where := w.Windows(app, key); len(set) != 1 || where != "project drafty (AppProject plumb-system/drafty)" {
		t.Errorf("got %v in %q", set, where)
	}
}
