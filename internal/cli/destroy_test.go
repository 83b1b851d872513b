package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/internal/server"
	"github.com/plumb-dev/plumb/test/tofutest"
)

// serving is a world whose Applications a server holds true.
type serving struct {
	*world
	client dynamic.Interface
}

func newServing(t *testing.T, tools server.Tools) *serving {
	s := &serving{newWorld(t), dynamic.NewForConfigOrDie(kubetest.Config(t))}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	options := server.Options{
		RESTConfig: kubetest.Config(t), DataDir: t.TempDir(), Listen: "off", PollInterval: time.Second, Tools: tools,
		Log: slog.New(slog.DiscardHandler),
	}
	go func() { ended <- server.Run(ctx, options) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// apply applies manifests as kubectl would.
func (s *serving) apply(manifests ...string) {
	s.t.Helper()
	for _, text := range manifests {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			s.t.Fatal(err)
		}
		_, err := s.client.Resource(applicationResource).Namespace(s.namespace).Apply(s.t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "test", Force: true})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

var applicationResource = schema.GroupVersionResource{Group: v1alpha1.Group, Version: v1alpha1.Version, Resource: v1alpha1.ApplicationResource}

// kindsOfState are what the end state is compared by.
var kindsOfState = []schema.GroupVersionResource{
	{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "secrets"},
	{Group: "apps", Version: "v1", Resource: "deployments"}, applicationResource,
}

// state is all that is in the namespace, without what is new in each life.
func (s *serving) state() map[string]any {
	s.t.Helper()
	out := map[string]any{}
	for _, resource := range kindsOfState {
		list, err := s.client.Resource(resource).Namespace(s.namespace).List(s.t.Context(), metav1.ListOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, u := range list.Items {
			if u.GetName() == "kube-root-ca.crt" {
				continue
			}
			out[resource.Resource+"/"+u.GetName()] = lasting(u)
		}
	}
	return out
}

// lasting is what of an object does not differ from one life to the next.
func lasting(u unstructured.Unstructured) any {
	metadata := map[string]any{"labels": u.GetLabels(), "annotations": u.GetAnnotations(), "finalizers": u.GetFinalizers()}
	out := map[string]any{"metadata": metadata}
	for _, field := range []string{"spec", "data", "type"} {
		out[field] = u.Object[field]
	}
	switch u.GetKind() {
	case "Application":
		status, _ := u.Object["status"].(map[string]any)
		health, _ := status["health"].(map[string]any)
		out["status"] = map[string]any{"sync": status["sync"], "health": health["status"], "resources": status["resources"], "outputs": status["outputs"]}
	case "Service":
		spec, _ := out["spec"].(map[string]any)
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	case "Deployment":
		delete(u.GetAnnotations(), "deployment.kubernetes.io/revision")
	case "Secret": // the state of a module: a lineage of its own in each life
		if strings.HasPrefix(u.GetName(), "tfstate-") {
			return u.GetName()
		}
	}
	return out
}

// settled waits until all Applications are synced and healthy.
func (s *serving) settled(names ...string) {
	s.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		var open []string
		list, err := s.client.Resource(applicationResource).Namespace(s.namespace).List(s.t.Context(), metav1.ListOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		var found []string
		for _, u := range list.Items {
			sync, _, _ := unstructured.NestedString(u.Object, "status", "sync", "status")
			health, _, _ := unstructured.NestedString(u.Object, "status", "health", "status")
			found = append(found, u.GetName())
			if phase, _, _ := unstructured.NestedString(u.Object, "status", "operationState", "phase"); sync != "Synced" || health != "Healthy" || phase != "Succeeded" {
				text, _ := json.Marshal(u.Object["status"])
				open = append(open, fmt.Sprintf("%s is %s, %s: %.1500s", u.GetName(), sync, health, text))
			}
		}
		slices.Sort(found)
		if len(open) == 0 && slices.Equal(found, names) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("never settled: %v\n%s", found, strings.Join(open, "\n"))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func TestDestroyAndRecreateFromGitGivesTheSame(t *testing.T) {
	r := newGitRepo(t)
	tools := tofutest.Get(t)
	s := newServing(t, server.Tools{Path: []string{filepath.Dir(tools.Tofu)}, Env: []string{"PATH=" + os.Getenv("PATH")}, Config: tools.CLIConfig(t)})
	application := func(name, path, more string) string {
		return fmt.Sprintf(`apiVersion: plumb.dev/v1alpha1
kind: Application
metadata: {name: %s, namespace: %s, finalizers: [resources-finalizer.plumb.dev]}
spec:
  source: {repoURL: "file://%s", path: %s, targetRevision: main}
  destination: {server: https://kubernetes.default.svc, namespace: %s}
  syncPolicy: {automated: {prune: true, selfHeal: true}}
%s`, name, s.namespace, r.bare, path, s.namespace, more)
	}
	r.commit("all of it", map[string]string{
		"net/main.tf":  "resource \"terraform_data\" \"net\" {\n  input = \"10.0.0.0/16\"\n}\noutput \"cidr\" {\n  value = terraform_data.net.output\n}\n",
		"db/db.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db, annotations: {argocd.argoproj.io/sync-wave: \"1\"}}\ndata: {size: \"10\"}\n",
		"db/svc.yaml":  "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec:\n  ports: [{port: 5432}]\n",
		"web/cm.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: b}\n",
		"all/web.yaml": application("web", "web", "  dependsOn: [{name: db}]\n"),
		"all/db.yaml":  application("db", "db", "  dependsOn: [{name: net}]\n"),
		"all/net.yaml": application("net", "net", ""),
	})
	declared := []string{application("all", "all", "")}
	names := []string{"all", "db", "net", "web"}
	s.apply(declared...)
	s.settled(names...)
	first := s.state()
	if len(first) < 8 {
		t.Errorf("there is less than was declared: %v", first)
	}
	if _, errs, code := s.plumb("destroy", "--all", "-n", s.namespace); code == 0 || !strings.Contains(errs, "--yes") {
		t.Errorf("it is not asked for sure: exit %d: %s", code, errs)
	}
	out, errs, code := s.plumb("destroy", "--all", "-n", s.namespace, "--yes", "--timeout", "2m")
	if code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if left := s.state(); len(left) > 0 {
		t.Errorf("what is left: %v", left)
	}
	s.apply(declared...)
	s.settled(names...)
	if diff := cmp.Diff(first, s.state()); diff != "" {
		t.Errorf("the second life differs (-first +second):\n%s", diff)
	}
}
