package main

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

const (
	annotationOptions = "argocd.argoproj.io/sync-options"
	annotationCompare = "argocd.argoproj.io/compare-options"
	annotationWave    = "argocd.argoproj.io/sync-wave"
	annotationHook    = "argocd.argoproj.io/hook"
	annotationPolicy  = "argocd.argoproj.io/hook-delete-policy"
	labelManaged      = "plumb.dev/managed"
	finalizer         = "resources-finalizer.argocd.argoproj.io"
	namePrefix        = "app-"
)

// resources are the kinds that the Applications consist of.
var resources = map[string]schema.GroupVersionResource{
	"ConfigMap":      {Version: "v1", Resource: "configmaps"},
	"Secret":         {Version: "v1", Resource: "secrets"},
	"Service":        {Version: "v1", Resource: "services"},
	"ServiceAccount": {Version: "v1", Resource: "serviceaccounts"},
	"Deployment":     {Group: "apps", Version: "v1", Resource: "deployments"},
	"Job":            {Group: "batch", Version: "v1", Resource: "jobs"},
}

// key names an object.
type key struct{ kind, namespace, name string }

func (k key) String() string { return k.kind + " " + k.namespace + "/" + k.name }

// object is a declared object.
type object struct {
	key
	value int
	wave  int
	// guarded objects must stay when they are no longer declared.
	guarded bool
	// round is that in which it was declared.
	round int
}

func (o *object) file() string { return o.kind + "-" + o.name + ".yaml" }

// app is an Application as it should be.
type app struct {
	name, group, control, target string
	repo                         int
	cascade, hooks, retry        bool
	objects                      map[string]*object // by their files
	removed                      []*object
	// revision is the commit that touched it last.
	revision string
}

func (a *app) id() string { return a.group + " " + a.control + "/" + a.name }

func (a *app) path() string { return "apps/" + a.name }

func (a *app) files() []string { return slices.Sorted(maps.Keys(a.objects)) }

func (a *app) hookKey(suffix string) key { return key{"Job", a.target, a.name + suffix} }

func (a *app) resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: a.group, Version: "v1alpha1", Resource: "applications"}
}

// manifest is the Application as it is given to the API server.
func (a *app) manifest(url string) map[string]any {
	policy := map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}}
	if a.retry {
		policy["retry"] = map[string]any{"limit": int64(5), "backoff": map[string]any{"duration": "1s", "maxDuration": "5s"}}
	}
	metadata := map[string]any{"name": a.name, "namespace": a.control}
	if a.cascade {
		metadata["finalizers"] = []any{finalizer}
	}
	return map[string]any{
		"apiVersion": a.group + "/v1alpha1", "kind": "Application", "metadata": metadata,
		"spec": map[string]any{
			"project":     "default",
			"source":      map[string]any{"repoURL": url, "path": a.path(), "targetRevision": "main"},
			"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": a.target},
			"syncPolicy":  policy,
		},
	}
}

// body is what is declared of an object.
func (o *object) body() map[string]any {
	annotations := map[string]any{"soak/value": fmt.Sprint(o.value)}
	if o.wave != 0 {
		annotations[annotationWave] = fmt.Sprint(o.wave)
	}
	if o.guarded {
		annotations[annotationOptions] = "Prune=false,Delete=false"
		annotations[annotationCompare] = "IgnoreExtraneous"
	}
	body := map[string]any{
		"apiVersion": resources[o.kind].GroupVersion().String(), "kind": o.kind,
		"metadata": map[string]any{"name": o.name, "namespace": o.namespace, "annotations": annotations},
	}
	// The names of the keys change with the value, so that some must go.
	name, text := fmt.Sprintf("key-%d", o.value%3), fmt.Sprintf("value %d", o.value)
	switch o.kind {
	case "ConfigMap":
		body["data"] = map[string]any{"always": text, name: text}
	case "Secret":
		coded := base64.StdEncoding.EncodeToString([]byte(text))
		body["type"], body["data"] = "Opaque", map[string]any{"always": coded, name: coded}
	case "Service":
		body["spec"] = map[string]any{
			"selector": map[string]any{"app": o.name},
			"ports":    []any{map[string]any{"name": "http", "port": int64(80 + o.value%50), "targetPort": int64(8080), "protocol": "TCP"}},
		}
	case "Deployment":
		labels := map[string]any{"app": o.name}
		body["spec"] = map[string]any{
			"replicas": int64(1 + o.value%2), "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				"spec": map[string]any{"containers": []any{map[string]any{
					"name": "app", "image": "registry.example.com/app:1",
					"env": []any{map[string]any{"name": "VALUE", "value": text}},
				}}},
			},
		}
	}
	return body
}

// hookFiles are the hooks of an Application: one that stays until the next sync,
// and one that must go when it has succeeded.
func (a *app) hookFiles() map[string][]byte {
	files := map[string][]byte{}
	for phase, h := range map[string]struct{ suffix, policy string }{
		"PreSync": {"-pre", "BeforeHookCreation"}, "PostSync": {"-post", "HookSucceeded"},
	} {
		files[a.path()+"/hook"+h.suffix+".yaml"] = encode(map[string]any{
			"apiVersion": "batch/v1", "kind": "Job",
			"metadata": map[string]any{
				"name": a.name + h.suffix, "namespace": a.target,
				"annotations": map[string]any{annotationHook: phase, annotationPolicy: h.policy},
			},
			"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
				"restartPolicy": "Never",
				"containers":    []any{map[string]any{"name": "hook", "image": "registry.example.com/hook:1"}},
			}}},
		})
	}
	return files
}

func encode(body map[string]any) []byte {
	content, err := yaml.Marshal(body)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return content
}
