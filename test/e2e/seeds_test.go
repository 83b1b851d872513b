package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// The manifests in testdata are what people publish for Argo CD, letter for
// letter; only where the engine finds their repositories is another place, and
// that is told to Git, not to Plumb.
func TestArgoManifestsUnchanged(t *testing.T) {
	w := plumb(t)
	app := newRepository(t, map[string]string{
		"deploy/k8s/web.yaml": deployment("web", "registry.example/web:1", nil),
		"k8s/overlays/production/kustomization.yaml": "namespace: overlay\nresources: [../../base]\npatches:\n- patch: |\n" +
			"    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: api}\n    spec: {replicas: 2}\n",
		"k8s/base/kustomization.yaml": "resources: [api.yaml, namespace.yaml]\n",
		"k8s/base/api.yaml":           deployment("api", "registry.example/api:1", nil),
		"k8s/base/namespace.yaml":     manifest("v1", "Namespace", "overlay", nil),
		"k8s/committed.yaml":          configMap("committed", "1"),
	})
	infrastructure := newRepository(t, map[string]string{
		"helm-charts/mychart/Chart.yaml":                 "apiVersion: v2\nname: mychart\nversion: 1.0.0\n",
		"helm-charts/mychart/values.yaml":                "value: default\n",
		"helm-charts/mychart/values-prod.yaml":           "value: production\n",
		"helm-charts/mychart/templates/settings.yaml":    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-settings\ndata:\n  value: {{ .Values.value }}\n",
		"helm-charts/mychart/templates/tests/check.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: check\n  annotations: {helm.sh/hook: test}\nspec: {containers: [{name: c, image: c}]}\n",
	})
	config := fmt.Sprintf("[url %q]\n\tinsteadOf = https://github.com/myorg/myapp\n[url %q]\n\tinsteadOf = https://github.com/myorg/infrastructure\n",
		app.url(), infrastructure.url())
	if err := os.WriteFile(w.gitConfig(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	published := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", "manifests", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}

	w.kubectl(t, published("single.yaml"), "apply", "-f", "-")
	w.await(t, "argocd", "argoproj.io/myapp", "Synced", "Healthy")
	if got := w.value(t, ".status.readyReplicas", "deployment", "web", "-n", "production"); got != "1" {
		t.Errorf("production/web has %q ready replicas", got)
	}

	one, many := kubetest.Namespace(t), kubetest.Namespace(t)
	w.kubectl(t, published("committed.yaml"), "apply", "-n", one, "-f", "-")
	w.await(t, one, "argoproj.io/myapp", "Synced", "Healthy")
	if got := w.value(t, ".data.value", "configmap", "committed", "-n", "default"); got != "1" {
		t.Errorf("default/committed says %q", got)
	}

	w.kubectl(t, published("multi.yaml"), "apply", "-n", many, "-f", "-")
	w.await(t, many, "argoproj.io/myapp", "OutOfSync", "Missing")
	if o := w.plumb(t, "sync", "myapp", "-n", many, "--wait"); o.code != 0 {
		t.Fatalf("plumb sync: %s", o)
	}
	w.await(t, many, "argoproj.io/myapp", "Synced", "Healthy")
	if got := w.value(t, ".spec.replicas", "deployment", "api", "-n", "overlay"); got != "2" {
		t.Errorf("the overlay's api has %q replicas", got)
	}
	if got := w.value(t, ".data.value", "configmap", "myapp-settings", "-n", many); got != "production" {
		t.Errorf("the chart's settings say %q", got)
	}
	for _, ns := range []string{one, many, "argocd"} {
		w.kubectl(t, "", "delete", "applications.argoproj.io", "myapp", "-n", ns)
	}
}
