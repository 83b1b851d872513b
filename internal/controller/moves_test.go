package controller

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// fence makes a project.
func (w *world) fence(t *testing.T, group, namespace, name string, spec map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/" + v1alpha1.Version, "kind": "AppProject",
		"metadata": map[string]any{"namespace": namespace, "name": name}, "spec": spec,
	}}
	projects := w.client.Resource(resource(group, v1alpha1.AppProjectResource)).Namespace(namespace)
	if _, err := projects.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = projects.Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

const cascade = "resources-finalizer.argocd.argoproj.io"

func TestWhoMayLeaveAProjectThatAsksForApprovals(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	dev := w.as(t, "dev", "get", "create", "update", "patch", "delete", "deletecollection", "approve")
	lead := w.as(t, "lead", "get", "update", "patch", "delete", "override")
	asks := map[string]any{"approval": map[string]any{"when": "always"}}
	for group, home := range map[string]string{v1alpha1.Group: SystemNamespace, v1alpha1.ArgoGroup: ArgoNamespace} {
		w.fence(t, group, home, "strict", asks)
		w.fence(t, group, home, "loose", map[string]any{"approval": map[string]any{"when": "always", "required": false}})
		t.Run(group, func(t *testing.T) {
			apps := func(c dynamic.Interface) dynamic.ResourceInterface {
				return c.Resource(resource(group, v1alpha1.ApplicationResource)).Namespace(ns)
			}
			app := func(name, project string, finalizers ...any) {
				t.Helper()
				key := engine.Key{Group: group, Namespace: ns, Name: name}
				w.create(t, key, map[string]any{"source": map[string]any{"repoURL": "https://git.example/x"}, "destination": map[string]any{}, "project": project},
					map[string]any{"finalizers": finalizers})
				t.Cleanup(func() {
					_, _ = apps(w.client).Patch(context.Background(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
					_ = apps(w.client).Delete(context.Background(), name, metav1.DeleteOptions{})
				})
			}
			move := func(c dynamic.Interface, name, project string) func() error {
				return func() error {
					return patch(t, c, group, v1alpha1.ApplicationResource, ns, name, map[string]any{"spec": map[string]any{"project": project}})
				}
			}
			orphan := func(c dynamic.Interface, name string) func() error {
				return func() error {
					return patch(t, c, group, v1alpha1.ApplicationResource, ns, name, map[string]any{"metadata": map[string]any{"finalizers": nil}})
				}
			}
			remove := func(c dynamic.Interface, name string, dry bool) func() error {
				return func() error {
					o := metav1.DeleteOptions{}
					if dry {
						o.DryRun = []string{metav1.DryRunAll}
					}
					return apps(c).Delete(context.Background(), name, o)
				}
			}
			const reason = `project strict asks for approvals`
			app("held", "strict", cascade)
			app("bare", "strict")
			app("free", "loose")
			denied(t, "to delete and leave behind", reason, remove(dev, "bare", true)) // a dry run: the API server has to hear of the projects first
			denied(t, "to leave", reason, move(dev, "held", "loose"))
			denied(t, "to leave for none", reason, move(dev, "held", ""))
			denied(t, "to delete many and leave behind", reason, func() error {
				return apps(dev).DeleteCollection(context.Background(), metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}, metav1.ListOptions{FieldSelector: "metadata.name=bare"})
			})
			denied(t, "to give up what goes with it", reason, orphan(dev, "held"))
			denied(t, "to leave behind what another kind of source made", reason, func() error {
				return patch(t, dev, group, v1alpha1.ApplicationResource, ns, "held", map[string]any{"metadata": map[string]any{"annotations": map[string]any{"plumb.dev/leave-behind": "module"}}})
			})
			allowed(t, "another change", func() error {
				return patch(t, dev, group, v1alpha1.ApplicationResource, ns, "held", map[string]any{"spec": map[string]any{"destination": map[string]any{"namespace": "x"}}})
			})
			allowed(t, "to delete with all of it, which waits for approval", remove(dev, "held", true))
			allowed(t, "to move between others", move(dev, "free", "default"))
			allowed(t, "to come in", move(dev, "free", "strict"))
			allowed(t, "to leave, who may override", move(lead, "free", "loose"))
			allowed(t, "to delete, who may override", remove(lead, "bare", true))
			allowed(t, "Plumb lets go of it", orphan(w.client, "held"))
		})
	}
	w.fence(t, v1alpha1.Group, ns, "own", asks)
	key := engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "mine"}
	w.create(t, key, map[string]any{"source": map[string]any{"repoURL": "https://git.example/x"}, "destination": map[string]any{}, "project": "own"}, nil)
	denied(t, "to leave it behind", "project own asks for approvals", func() error {
		return dev.Resource(resource(v1alpha1.Group, v1alpha1.ApplicationResource)).Namespace(ns).Delete(t.Context(), "mine", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	})
	denied(t, "to leave a project of the namespace", "project own asks for approvals", func() error {
		return patch(t, dev, v1alpha1.Group, v1alpha1.ApplicationResource, ns, "mine", map[string]any{"spec": map[string]any{"project": "default"}})
	})
}

func TestWhoMayLeaveBehindWhatNeedsApproval(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	dev := w.as(t, "dev", "get", "update", "patch", "delete")
	for name, finalizers := range map[string][]any{"bare": nil, "held": {cascade}} {
		w.create(t, engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: name}, map[string]any{
			"source": map[string]any{"repoURL": "https://git.example/x"}, "destination": map[string]any{}, "project": "default",
			"syncPolicy": map[string]any{"approval": map[string]any{"when": "always"}},
		}, map[string]any{"finalizers": finalizers})
	}
	remove := func(name string) func() error {
		return func() error {
			return dev.Resource(resource(v1alpha1.Group, v1alpha1.ApplicationResource)).Namespace(ns).
				Delete(t.Context(), name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		}
	}
	denied(t, "to leave it behind", "leave behind what the Application holds", remove("bare"))
	allowed(t, "to delete it with all that it holds", remove("held"))
	denied(t, "to give up what goes with it", "leave behind what the Application holds", func() error {
		return patch(t, dev, v1alpha1.Group, v1alpha1.ApplicationResource, ns, "held", map[string]any{"metadata": map[string]any{"finalizers": nil}})
	})
	denied(t, "to leave behind what another kind of source made", "leave behind what the Application holds", func() error {
		return patch(t, dev, v1alpha1.Group, v1alpha1.ApplicationResource, ns, "held", map[string]any{"metadata": map[string]any{"annotations": map[string]any{"plumb.dev/leave-behind": "module"}}})
	})
	w.patch(t, engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "held"}, `{"metadata":{"finalizers":null}}`)
}

func TestWhoAsksForASyncSaysSo(t *testing.T) {
	w := newWorld(t)
	ns := kubetest.Namespace(t)
	dev := w.as(t, "dev", "get", "create", "update", "patch")
	for _, group := range []string{v1alpha1.Group, v1alpha1.ArgoGroup} {
		key := engine.Key{Group: group, Namespace: ns, Name: "web"}
		spec := map[string]any{"source": map[string]any{"repoURL": "https://git.example/x"}, "destination": map[string]any{}, "project": "default"}
		w.create(t, key, spec, nil)
		ask := func(client dynamic.Interface, by map[string]any) func() error {
			return func() error {
				return patch(t, client, group, v1alpha1.ApplicationResource, ns, "web", map[string]any{"operation": map[string]any{"sync": map[string]any{}, "initiatedBy": by}})
			}
		}
		denied(t, "in another's name", "must be your own name, dev", ask(dev, map[string]any{"username": "ada"}))
		allowed(t, "in one's own", ask(dev, map[string]any{"username": "dev"}))
		allowed(t, "in nobody's", ask(dev, map[string]any{"username": nil}))
		allowed(t, "who may impersonate others", ask(w.client, map[string]any{"username": "ada"}))
		allowed(t, "another change beside it", func() error {
			return patch(t, dev, group, v1alpha1.ApplicationResource, ns, "web", map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}})
		})
		for name, made := range map[string]*unstructured.Unstructured{
			"sync": {Object: map[string]any{"metadata": map[string]any{"namespace": ns, "name": "made"}, "operation": map[string]any{"sync": map[string]any{}, "initiatedBy": map[string]any{"username": "ada"}}}},
			"pin":  {Object: map[string]any{"metadata": map[string]any{"namespace": ns, "name": "made", "annotations": map[string]any{v1alpha1.AnnotationPin: "abc", v1alpha1.AnnotationPinBy: "ada"}}}},
		} {
			made.SetAPIVersion(group + "/" + v1alpha1.Version)
			made.SetKind("Application")
			made.Object["spec"] = spec
			denied(t, "a new one with a "+name+" in another's name", "must be your own name, dev", func() error {
				_, err := dev.Resource(resource(group, v1alpha1.ApplicationResource)).Namespace(ns).Create(t.Context(), made, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err
			})
			text, _ := made.MarshalJSON()
			if err := made.UnmarshalJSON([]byte(strings.ReplaceAll(string(text), `"ada"`, `"dev"`))); err != nil {
				t.Fatal(err)
			}
			allowed(t, "a new one with a "+name+" in one's own", func() error {
				_, err := dev.Resource(resource(group, v1alpha1.ApplicationResource)).Namespace(ns).Create(t.Context(), made, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err
			})
		}
	}
}
