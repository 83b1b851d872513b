package main

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/bench/harness"
)

// settling is how long the destination may differ from what the Applications
// say: objects that are being deleted take their time to go.
const settling = 5 * time.Second

// converge waits until all Applications say that they are as they should be and
// then the destination equals Git; it returns how long the latter took longer.
func (s *soak) converge(ctx context.Context) (time.Duration, error) {
	deadline := time.Now().Add(s.options.patience)
	var said time.Time
	for {
		pending, err := s.pending(ctx)
		var differences []string
		if err == nil {
			var lost []string
			differences, lost, err = s.compare(ctx)
			if err == nil && len(lost) > 0 {
				return 0, fmt.Errorf("VIOLATION: what should stay did not:\n  %s", strings.Join(lost, "\n  "))
			}
		}
		switch {
		case err != nil || len(pending) > 0:
			said = time.Time{}
		case said.IsZero():
			said = time.Now()
		}
		if err == nil && len(pending) == 0 && len(differences) == 0 {
			s.going = map[string]*app{}
			return time.Since(said), nil
		}
		if !said.IsZero() && time.Since(said) > settling {
			return 0, fmt.Errorf("VIOLATION: all Applications say Synced and Healthy, but:\n  %s", strings.Join(differences, "\n  "))
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("VIOLATION: stuck for %s (%v):\n  %s", s.options.patience, err, //nolint:errorlint // it may be nil
				strings.Join(append(pending, differences...), "\n  "))
		}
		if err := harness.Sleep(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// pending tells which Applications are not as they should be.
func (s *soak) pending(ctx context.Context) ([]string, error) {
	live, err := s.applications(ctx)
	if err != nil {
		return nil, err
	}
	var pending []string
	for _, name := range s.appNames() {
		a := s.apps[name]
		u, ok := live[a.id()]
		if !ok {
			pending = append(pending, a.id()+" does not exist")
		} else if why := s.unsettled(a, u); why != "" {
			pending = append(pending, a.id()+" "+why)
		}
		delete(live, a.id())
	}
	for _, id := range slices.Sorted(maps.Keys(live)) {
		pending = append(pending, id+" should be gone")
	}
	return pending, nil
}

func (s *soak) applications(ctx context.Context) (map[string]*unstructured.Unstructured, error) {
	live := map[string]*unstructured.Unstructured{}
	for _, group := range []string{"plumb.dev", "argoproj.io"} {
		resource := schema.GroupVersionResource{Group: group, Version: "v1alpha1", Resource: "applications"}
		list, err := s.client.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			u := &list.Items[i]
			live[group+" "+u.GetNamespace()+"/"+u.GetName()] = u
		}
	}
	return live, nil
}

func (s *soak) unsettled(a *app, u *unstructured.Unstructured) string {
	text := func(fields ...string) string {
		value, _, _ := unstructured.NestedString(u.Object, fields...)
		return value
	}
	sync, health := text("status", "sync", "status"), text("status", "health", "status")
	revision, phase := text("status", "sync", "revision"), text("status", "operationState", "phase")
	switch {
	case u.GetDeletionTimestamp() != nil:
		return "is being deleted"
	case sync != "Synced" || health != "Healthy":
		return fmt.Sprintf("is %q, %q", sync, health)
	case s.tree(a, revision) != s.tree(a, a.revision):
		return fmt.Sprintf("is at %s, whose content is not that of %s", revision, a.revision)
	case phase == "Running" || phase == "Terminating" || phase == "":
		return fmt.Sprintf("has an operation in phase %q", phase)
	case u.Object["operation"] != nil:
		return "has an operation that has not begun"
	}
	return ""
}

// tree identifies what a revision says of an Application: a commit that changes
// nothing of it need not change the revision that it shows.
func (s *soak) tree(a *app, revision string) string {
	at := fmt.Sprintf("%s:%s", revision, a.path())
	if s.trees[at] == "" {
		out, err := exec.Command("git", "-C", s.repos[a.repo].Path, "rev-parse", at).Output()
		if err != nil {
			return "unknown " + at
		}
		s.trees[at] = strings.TrimSpace(string(out))
	}
	return s.trees[at]
}

// compare tells how the destination differs from Git, and what is lost that
// should stay.
func (s *soak) compare(ctx context.Context) (differences, lost []string, err error) {
	live, err := s.live(ctx)
	if err != nil {
		return nil, nil, err
	}
	for k, want := range s.keep {
		s.checks++
		uid, version, exact := strings.Cut(want, "/")
		u := live[k]
		switch {
		case u == nil:
			lost = append(lost, k.String()+" is gone")
		case string(u.GetUID()) != uid:
			lost = append(lost, k.String()+" was made anew")
		case u.GetDeletionTimestamp() != nil:
			lost = append(lost, k.String()+" is being deleted")
		case exact && u.GetResourceVersion() != version:
			lost = append(lost, k.String()+" was changed")
		}
		delete(live, k)
	}
	for _, name := range s.appNames() {
		a := s.apps[name]
		for _, file := range a.files() {
			s.checks++
			o := a.objects[file]
			if why := differs(o, live[o.key]); why != "" {
				differences = append(differences, o.String()+" "+why)
			}
			delete(live, o.key)
		}
		if a.hooks {
			delete(live, a.hookKey("-pre"))
		}
	}
	for k, u := range live {
		if u.GetLabels()[labelManaged] != "" || strings.HasPrefix(k.name, namePrefix) {
			why := " is declared by nobody"
			if u.GetDeletionTimestamp() != nil {
				why += " and is being deleted"
			}
			differences = append(differences, k.String()+why)
		}
	}
	slices.Sort(differences)
	slices.Sort(lost)
	return differences, lost, nil
}

// live returns what runs, of the kinds that the Applications consist of.
func (s *soak) live(ctx context.Context) (map[key]*unstructured.Unstructured, error) {
	live := map[key]*unstructured.Unstructured{}
	for kind, resource := range resources {
		list, err := s.client.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			u := &list.Items[i]
			live[key{kind, u.GetNamespace(), u.GetName()}] = u
		}
	}
	return live, nil
}

// differs tells how an object differs from what is declared of it.
func differs(o *object, u *unstructured.Unstructured) string {
	if u == nil {
		return "is missing"
	}
	if u.GetDeletionTimestamp() != nil {
		return "is being deleted"
	}
	if u.GetLabels()[labelManaged] != "true" {
		return "has no mark"
	}
	body := o.body()
	if data, ok := body["data"]; ok && !reflect.DeepEqual(data, u.Object["data"]) {
		return fmt.Sprintf("has the data %v, not %v", u.Object["data"], data)
	}
	return within("", body, u.Object)
}

// within tells where live lacks what is declared.
func within(path string, declared, live any) string {
	switch declared := declared.(type) {
	case map[string]any:
		have, _ := live.(map[string]any)
		for name, value := range declared {
			if why := within(path+"."+name, value, have[name]); why != "" {
				return why
			}
		}
	case []any:
		have, _ := live.([]any)
		if len(have) != len(declared) {
			return fmt.Sprintf("has %d items at %s, not %d", len(have), path, len(declared))
		}
		for i := range declared {
			if why := within(fmt.Sprintf("%s[%d]", path, i), declared[i], have[i]); why != "" {
				return why
			}
		}
	default:
		if !reflect.DeepEqual(declared, live) {
			return fmt.Sprintf("has %v at %s, not %v", live, path, declared)
		}
	}
	return ""
}

// diagnosis is what helps to find out what went wrong.
func (s *soak) diagnosis() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var b strings.Builder
	fmt.Fprintf(&b, "\nthis round: %s\n", strings.Join(s.changes, ", "))
	live, err := s.applications(ctx)
	if err != nil {
		fmt.Fprintf(&b, "the Applications: %v\n", err)
	}
	for _, id := range slices.Sorted(maps.Keys(live)) {
		u := live[id]
		a := s.apps[u.GetName()]
		if a != nil && s.unsettled(a, u) == "" {
			continue
		}
		u.SetManagedFields(nil)
		content, _ := yaml.Marshal(u.Object)
		fmt.Fprintf(&b, "--- %s\n%s", id, content)
	}
	if s.engine != nil {
		fmt.Fprintf(&b, "--- the end of %s\n%s\n", s.engine.Log, harness.Tail(s.engine.Log, 60))
	}
	return b.String()
}
