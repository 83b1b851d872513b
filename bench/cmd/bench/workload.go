package main

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/bench/harness"
)

const (
	controlNamespace = "plumb-system"
	partOf           = "app.kubernetes.io/part-of"
	partOfBench      = "bench"
	objectsPerApp    = 4
	teams            = 5
)

// kind is one of the kinds that the Applications consist of.
type kind struct {
	name, apiVersion, prefix, plural string
}

var (
	configMaps      = kind{"ConfigMap", "v1", "/api/v1", "configmaps"}
	secrets         = kind{"Secret", "v1", "/api/v1", "secrets"}
	services        = kind{"Service", "v1", "/api/v1", "services"}
	serviceAccounts = kind{"ServiceAccount", "v1", "/api/v1", "serviceaccounts"}
	deployments     = kind{"Deployment", "apps/v1", "/apis/apps/v1", "deployments"}
)

// id names an object.
type id struct{ plural, namespace, name string }

// object is a declared object. Its value is the one declared field that the
// benchmark changes and looks at.
type object struct {
	id    id
	kind  kind
	value string
	file  string
	body  map[string]any
}

func (o object) url() string {
	return fmt.Sprintf("%s/namespaces/%s/%s/%s", o.kind.prefix, o.id.namespace, o.id.plural, o.id.name)
}

func (o object) json() []byte {
	content, err := json.Marshal(o.body)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return content
}

func (o object) yaml() []byte {
	content, err := yaml.Marshal(o.body)
	if err != nil {
		panic(err)
	}
	return content
}

// sabotage is the merge patch that changes the object's value behind the
// engine's back, and the value that it then has.
func (o object) sabotage() (patch, value string) {
	switch o.kind {
	case configMaps:
		return `{"data":{"version":"edited"}}`, "edited"
	case secrets:
		return `{"data":{"token":"` + harness.Base64("edited") + `"}}`, "edited"
	case services:
		return `{"spec":{"sessionAffinity":"ClientIP"}}`, "ClientIP"
	case serviceAccounts:
		return `{"metadata":{"annotations":{"bench/note":"edited"}}}`, "edited"
	default:
		return `{"spec":{"replicas":2}}`, "2"
	}
}

// workload is a monorepo with Applications of four objects each.
type workload struct {
	apps    [][]object
	objects []object
}

func newWorkload(n int) workload {
	var w workload
	for i := range n {
		objects := objectsOf(i, "1")
		w.apps = append(w.apps, objects)
		w.objects = append(w.objects, objects...)
	}
	return w
}

func appName(i int) string { return fmt.Sprintf("app-%04d", i) }

func teamName(i int) string { return fmt.Sprintf("team-%d", i%teams) }

func teamNames() []string {
	var names []string
	for i := range teams {
		names = append(names, teamName(i))
	}
	return names
}

// objectsOf declares the objects of an Application: its configuration is of the
// given version.
func objectsOf(i int, version string) []object {
	third := account(i)
	if i%2 == 1 {
		third = secret(i)
	}
	return []object{configuration(i, version), third, service(i), deployment(i)}
}

func declare(i int, k kind, suffix, value string, rest map[string]any) object {
	name, namespace := appName(i)+suffix, teamName(i)
	body := map[string]any{
		"apiVersion": k.apiVersion, "kind": k.name,
		"metadata": map[string]any{
			"name": name, "namespace": namespace,
			"labels": map[string]any{partOf: partOfBench, "app.kubernetes.io/name": appName(i)},
		},
	}
	for key, v := range rest {
		body[key] = v
	}
	return object{
		id: id{k.plural, namespace, name}, kind: k, value: value, body: body,
		file: fmt.Sprintf("apps/%s/%s.yaml", appName(i), k.plural),
	}
}

func configuration(i int, version string) object {
	return declare(i, configMaps, "-config", version, map[string]any{"data": map[string]any{
		"version": version,
		"app.properties": fmt.Sprintf("name=%s\nlisten=:8080\nlog.level=info\nlog.format=json\n"+
			"database.pool=20\ndatabase.timeout=5s\ncache.ttl=300s\nfeature.checkout=true\n", appName(i)),
	}})
}

func account(i int) object {
	o := declare(i, serviceAccounts, "", "runs "+appName(i), nil)
	o.body["metadata"].(map[string]any)["annotations"] = map[string]any{"bench/note": o.value}
	return o
}

func secret(i int) object {
	value := "not-a-secret-" + appName(i)
	return declare(i, secrets, "-token", value, map[string]any{
		"type": "Opaque", "data": map[string]any{"token": harness.Base64(value)},
	})
}

func service(i int) object {
	return declare(i, services, "", "None", map[string]any{"spec": map[string]any{
		"selector":        map[string]any{"app.kubernetes.io/name": appName(i)},
		"sessionAffinity": "None",
		"ports":           []any{map[string]any{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}},
	}})
}

func deployment(i int) object {
	labels := map[string]any{"app.kubernetes.io/name": appName(i)}
	probe := map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": "http"}, "periodSeconds": 10}
	container := map[string]any{
		"name": "app", "image": "registry.example.com/team/app:1.4.2",
		"ports":   []any{map[string]any{"name": "http", "containerPort": 8080, "protocol": "TCP"}},
		"envFrom": []any{map[string]any{"configMapRef": map[string]any{"name": appName(i) + "-config"}}},
		"env":     []any{map[string]any{"name": "GOMAXPROCS", "value": "2"}},
		"resources": map[string]any{
			"requests": map[string]any{"cpu": "10m", "memory": "32Mi"},
			"limits":   map[string]any{"memory": "64Mi"},
		},
		"readinessProbe": probe,
		"livenessProbe":  probe,
	}
	return declare(i, deployments, "", "1", map[string]any{"spec": map[string]any{
		"replicas": 1,
		"selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{
			"metadata": map[string]any{"labels": labels},
			"spec": map[string]any{
				"containers":                   []any{container},
				"automountServiceAccountToken": false,
			},
		},
	}})
}

// application is the Application that holds directory i.
func application(i int, repository string) map[string]any {
	return map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"name": appName(i), "namespace": controlNamespace},
		"spec": map[string]any{
			"project": "default",
			"source": map[string]any{
				"repoURL": repository, "path": "apps/" + appName(i), "targetRevision": "main",
			},
			"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": teamName(i)},
			"syncPolicy":  map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}},
		},
	}
}
