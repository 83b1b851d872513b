package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

func state(object map[string]any, hash string) plan.State {
	return plan.State{Object: object, Hash: hash}
}

func configMap(name, value string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name, "namespace": "shop", "resourceVersion": "7", "managedFields": []any{}},
		"data":     map[string]any{"colour": value, "other": "same"},
	}
}

// secret is one that nobody masked.
func secret(value string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"name": "keys", "annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": value}},
		"data":     map[string]any{"password": value},
	}
}

// example is a preview with a change of every kind.
func example() engine.Preview {
	ref := func(group, kind, name string) plan.Ref {
		return plan.Ref{Group: group, Version: "v1", Kind: kind, Namespace: "shop", Name: name}
	}
	return engine.Preview{
		Revisions: []string{"abc"},
		Bundle:    render.Bundle{Warnings: []string{"an old API version"}},
		Comparison: driver.Comparison{
			Resources: []driver.Resource{
				{Ref: ref("apps", "Deployment", "web"), Sync: driver.OutOfSync, Problem: &driver.Problem{Reason: "Forbidden", Message: "not allowed"}},
				{Ref: ref("", "ConfigMap", "kept"), Sync: driver.OutOfSync, Cause: driver.CauseExtra, Guard: "Prune=false"},
			},
			Plan: plan.New([]plan.Step{
				{Change: plan.Create{Resource: ref("batch", "Job", "migrate")}, Phase: plan.PreSync, Hook: true},
				{Change: plan.Create{Resource: ref("", "ConfigMap", "new"), After: state(configMap("new", "red"), "1")}, Phase: plan.Sync},
				{Change: plan.Update{Resource: ref("", "ConfigMap", "settings"), Before: state(configMap("settings", "red"), "1"), After: state(configMap("settings", "blue"), "2"), Drift: true}, Phase: plan.Sync},
				{Change: plan.Update{Resource: ref("", "Secret", "keys"), Before: state(secret(canary), "1"), After: state(secret(canary+"2"), "2")}, Phase: plan.Sync},
				{Change: plan.Replace{Resource: ref("batch", "Job", "once"), Reason: "spec.template is immutable"}, Phase: plan.Sync, Wave: 1},
				{Change: plan.Delete{Resource: ref("", "ConfigMap", "gone"), Before: state(configMap("gone", "red"), "1")}, Phase: plan.Sync, Wave: 1},
			}),
		},
	}
}

func views(t *testing.T, format string, show func(c commandline, o *output, a application) error) (string, string) {
	t.Helper()
	var out, errs buffer
	c := commandline{streams: Streams{Out: &out, Err: &errs}}
	a := application{key: engine.Key{Group: "plumb.dev", Namespace: "default", Name: "web"}}
	if err := show(c, &output{format: format}, a); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{out.String(), errs.String()} {
		if strings.Contains(text, canary) {
			t.Errorf("a Secret's value is shown:\n%s", text)
		}
	}
	return out.String(), errs.String()
}

func TestDiffView(t *testing.T) {
	show := func(c commandline, o *output, a application) error { return c.newDiffView(o).show(a, example()) }
	out, errs := views(t, "", show)
	want := `create ConfigMap/shop/new
--- live/ConfigMap/shop/new
+++ git/ConfigMap/shop/new
@@ -0,0 +1,8 @@
+apiVersion: v1
+data:
+  colour: red
+  other: same
+kind: ConfigMap
+metadata:
+  name: new
+  namespace: shop
update ConfigMap/shop/settings (changed where it runs, not in Git)
--- live/ConfigMap/shop/settings
+++ git/ConfigMap/shop/settings
@@ -1,6 +1,6 @@
 apiVersion: v1
 data:
-  colour: red
+  colour: blue
   other: same
 kind: ConfigMap
 metadata:
update Secret/shop/keys
  (only what is masked or kept by the server differs)
delete ConfigMap/shop/gone
--- live/ConfigMap/shop/gone
+++ git/ConfigMap/shop/gone
@@ -1,8 +0,0 @@
-apiVersion: v1
-data:
-  colour: red
-  other: same
-kind: ConfigMap
-metadata:
-  name: gone
-  namespace: shop
replace batch/Job/shop/once (spec.template is immutable)
`
	if d := cmp.Diff(want, out); d != "" {
		t.Errorf("diff (-want +got):\n%s", d)
	}
	if !strings.Contains(errs, "apps/Deployment/shop/web: not allowed") || !strings.Contains(errs, "kept because of Prune=false") || !strings.Contains(errs, "warning: an old API version") {
		t.Errorf("remarks are missing:\n%s", errs)
	}

	out, _ = views(t, "json", show)
	var doc diffDocument
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	if !doc.Different || len(doc.Changes) != 5 || len(doc.Remarks) != 2 || doc.Application.Name != "web" {
		t.Errorf("the document is not whole:\n%s", out)
	}
}

func TestPlanView(t *testing.T) {
	noDiff := true
	show := func(c commandline, o *output, a application) error {
		return c.newPlanView(o, noDiff).show(a, example())
	}
	out, _ := views(t, "", show)
	_, steps, _ := strings.Cut(out, "\n\n")
	want := `PreSync, wave 0
  > run     batch/Job/shop/migrate

Sync, wave 0 (when PreSync, wave 0 is done and healthy)
  + create  ConfigMap/shop/new
  ~ update  ConfigMap/shop/settings (changed where it runs)
  ~ update  Secret/shop/keys

Sync, wave 1 (when Sync, wave 0 is done and healthy)
  - delete  ConfigMap/shop/gone
  ± replace batch/Job/shop/once (cannot be undone)
`
	if d := cmp.Diff(want, steps); d != "" {
		t.Errorf("steps (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(out, "Plan of default/web: 1 to create, 2 to update, 1 to delete, 1 to replace, 1 hook to run\nsha256:") {
		t.Errorf("no summary:\n%s", out)
	}
	noDiff = false
	views(t, "", show)
	out, _ = views(t, "json", show)
	var doc struct {
		Digest  string
		Steps   []map[string]any
		Blocked []plan.Blocked
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Digest != example().Comparison.Plan.Digest() || len(doc.Steps) != 6 || len(doc.Blocked) != 5 {
		t.Errorf("the document is not whole:\n%s", out)
	}
}

func TestMaskSecret(t *testing.T) {
	cases := map[string]struct {
		reason string
		object map[string]any
		want   map[string]any
	}{
		"Values":  {"masks data and stringData", map[string]any{"apiVersion": "v1", "kind": "Secret", "data": map[string]any{"a": "b"}, "stringData": map[string]any{"c": 1}}, map[string]any{"apiVersion": "v1", "kind": "Secret", "data": map[string]any{"a": mask}, "stringData": map[string]any{"c": mask}}},
		"Odd":     {"masks data that is no map", map[string]any{"apiVersion": "v1", "kind": "Secret", "data": "text"}, map[string]any{"apiVersion": "v1", "kind": "Secret", "data": mask}},
		"Changed": {"keeps the mask of a changed value", map[string]any{"apiVersion": "v1", "kind": "Secret", "data": map[string]any{"a": mask + " (changed)"}}, map[string]any{"apiVersion": "v1", "kind": "Secret", "data": map[string]any{"a": mask + " (changed)"}}},
		"Other":   {"leaves other kinds alone", map[string]any{"apiVersion": "x.io/v1", "kind": "Secret", "data": map[string]any{"a": "b"}}, map[string]any{"apiVersion": "x.io/v1", "kind": "Secret", "data": map[string]any{"a": "b"}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, maskSecret(tc.object)); d != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, d)
			}
		})
	}
}

func TestPrintable(t *testing.T) {
	if got, want := printable("a\x1b[31mred\u202etxt\nb\u009bc ä"), "a?[31mred?txt b?c ä"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTranslate(t *testing.T) {
	cases := map[string]struct{ args, want string }{
		"ArgoGet":     {"app get web", "describe web"},
		"ArgoList":    {"app list -o wide", "get -o wide"},
		"ArgoSync":    {"app sync web", "sync web"},
		"ArgoRender":  {"app manifests web", "render web"},
		"Kubectl":     {"get applications web", "get web"},
		"KubectlAll":  {"get apps", "get"},
		"Flux":        {"reconcile kustomization web", "reconcile web"},
		"Status":      {"status", "get"},
		"StatusOne":   {"status web", "describe web"},
		"NamedApp":    {"describe app", "describe app"},
		"NothingToDo": {"sync web --prune", "sync web --prune"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(translate(strings.Fields(tc.args)), " "); got != tc.want {
				t.Errorf("%q became %q, want %q", tc.args, got, tc.want)
			}
		})
	}
}
