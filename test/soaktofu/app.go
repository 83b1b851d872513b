package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/plumb-dev/plumb/bench/harness"
)

var applications = schema.GroupVersionResource{Group: "plumb.dev", Version: "v1alpha1", Resource: "applications"}

// app is an Application as it should be: a module of some resources.
type app struct {
	name string
	// path is its own, also where another one had the name before: what Git said of
	// that must not be taken for what it says of this.
	path string
	// net is the number of the network: another one replaces it, and all in it.
	net       int
	resources map[string]*resource
	revision  string
}

// resource is a subnet or a bucket.
type resource struct {
	kind  string
	name  string
	value int
	// generation is in what can't be changed: another one replaces it.
	generation int
}

func (a *app) key(name string) string { return a.name + "/" + name }

// want are the resources by their keys, with their values.
func (a *app) want() map[string]string {
	want := map[string]string{a.key("net"): fmt.Sprint(a.net)}
	for _, r := range a.resources {
		want[a.key(r.name)] = fmt.Sprint(r.value)
	}
	return want
}

const preamble = `terraform {
  required_providers {
    cloud = { source = "plumb-dev/cloud" }
  }
}
provider "cloud" {
  idempotent = true
}
`

// text is the module.
func (a *app) text() string {
	var b strings.Builder
	b.WriteString(preamble)
	fmt.Fprintf(&b, "resource \"cloud_vpc\" \"net\" {\n  cidr_block = \"10.%d.0.0/16\"\n  tags = { Key = %q, Value = \"%d\" }\n}\n", a.net, a.key("net"), a.net)
	for _, name := range slices.Sorted(maps.Keys(a.resources)) {
		r := a.resources[name]
		mark := fmt.Sprintf("{ Key = %q, Value = \"%d\" }", a.key(name), r.value)
		if r.kind == "cloud_bucket" {
			fmt.Fprintf(&b, "resource \"cloud_bucket\" %q {\n  name = \"%s-%s-%d\"\n  labels = %s\n}\n", name, a.name, name, r.generation, mark)
			continue
		}
		fmt.Fprintf(&b, "resource \"cloud_subnet\" %q {\n  vpc_id = cloud_vpc.net.id\n  cidr_block = \"10.%d.%d.0/24\"\n  tags = %s\n}\n", name, a.net, r.generation%250, mark)
	}
	fmt.Fprintf(&b, "output \"net\" {\n  value = cloud_vpc.net.id\n}\n")
	return b.String()
}

func (s *soak) manifest(a *app) *unstructured.Unstructured {
	env := []any{
		map[string]any{"name": "FAKECLOUD_ENDPOINT", "value": s.cloud.url},
		map[string]any{"name": "FAKECLOUD_TOKEN", "value": token},
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"name": a.name, "namespace": namespace, "finalizers": []any{"resources-finalizer.argocd.argoproj.io"}},
		"spec": map[string]any{
			"source": map[string]any{
				"repoURL": "file://" + s.repo.Path, "path": a.path, "targetRevision": "main", "tofu": map[string]any{"env": env},
			},
			"syncPolicy": map[string]any{
				"automated": map[string]any{"prune": true, "selfHeal": true},
				"retry":     map[string]any{"limit": int64(20), "backoff": map[string]any{"duration": "1s", "maxDuration": "3s"}},
			},
		},
	}}
}

func (s *soak) chance(one int) bool { return s.random.IntN(one) == 0 }

func (s *soak) appNames() []string { return slices.Sorted(maps.Keys(s.apps)) }

func (s *soak) declared() int {
	n := 0
	for _, a := range s.apps {
		n += len(a.want())
	}
	return n
}

// change edits some Applications in one commit, makes some and deletes one.
func (s *soak) change(ctx context.Context) error {
	files := map[string][]byte{}
	s.going = map[string]bool{}
	var touched, fresh []*app
	for _, name := range s.appNames() {
		a := s.apps[name]
		switch {
		case len(s.apps) > 2 && s.chance(8):
			if err := s.deleteApp(ctx, a); err != nil {
				return err
			}
			continue
		case s.chance(3):
			continue
		}
		s.edit(a)
		touched = append(touched, a)
	}
	for n := 0; len(s.apps) < s.options.apps && n < 2; n++ {
		a := s.newApp()
		touched, fresh = append(touched, a), append(fresh, a)
	}
	for _, a := range touched {
		files[a.path+"/main.tf"] = []byte(a.text())
	}
	s.commits++
	revision, err := s.repo.Commit(ctx, files, fmt.Sprintf("Change %d", s.commits))
	if err != nil {
		return err
	}
	if err := s.repo.Push(ctx); err != nil {
		return err
	}
	for _, a := range touched {
		a.revision = revision
	}
	for _, a := range fresh {
		err := harness.Await(ctx, func() error {
			_, err := s.client.Resource(applications).Namespace(namespace).Create(ctx, s.manifest(a), metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// newApp makes an Application of a name that another one may have had before.
func (s *soak) newApp() *app {
	for i := 0; ; i++ {
		name := fmt.Sprintf("infra-%d", i)
		if s.apps[name] != nil || s.going[name] {
			continue
		}
		s.made++
		a := &app{name: name, path: fmt.Sprintf("apps/%s-%d", name, s.made), net: s.random.IntN(200), resources: map[string]*resource{}}
		for range 4 + s.random.IntN(5) {
			s.declare(a)
		}
		s.apps[name] = a
		s.changes = append(s.changes, name+" made")
		return a
	}
}

func (s *soak) declare(a *app) {
	s.number++
	r := &resource{kind: "cloud_bucket", name: fmt.Sprintf("r%d", s.number), generation: s.number, value: s.random.IntN(1000)}
	if s.chance(2) {
		r.kind = "cloud_subnet"
	}
	a.resources[r.name] = r
}

// edit adds, changes, replaces and removes.
func (s *soak) edit(a *app) {
	added, changed, replaced, removed := 0, 0, 0, 0
	for range 2 + s.random.IntN(4) {
		s.edits++
		names := slices.Sorted(maps.Keys(a.resources))
		r := a.resources[names[s.random.IntN(len(names))]]
		switch n := s.random.IntN(8); {
		case n < 2:
			s.declare(a)
			added++
		case n < 4 && len(names) > 2:
			delete(a.resources, r.name)
			removed++
		case n < 6:
			r.value++
			changed++
		case n == 6 && s.chance(3):
			a.net = (a.net + 1) % 250
			replaced += 1 + len(names)/2
		default:
			s.number++
			r.generation = s.number
			replaced++
		}
	}
	s.changes = append(s.changes, fmt.Sprintf("%s +%d ~%d ±%d -%d", a.name, added, changed, replaced, removed))
}

func (s *soak) deleteApp(ctx context.Context, a *app) error {
	s.deleted++
	s.changes = append(s.changes, a.name+" deleted")
	delete(s.apps, a.name)
	s.going[a.name] = true
	return harness.Await(ctx, func() error {
		err := s.client.Resource(applications).Namespace(namespace).Delete(ctx, a.name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}
