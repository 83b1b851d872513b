package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/bench/harness"
)

// settling is how long the cloud may differ from what the Applications say.
const settling = 3 * time.Second

// converge waits until all Applications say that they are as they should be, and
// then the cloud and the states must be.
func (s *soak) converge(ctx context.Context) error {
	deadline := time.Now().Add(s.options.patience)
	var said time.Time
	for {
		pending, err := s.pending(ctx)
		var wrong []string
		if err == nil && len(pending) == 0 {
			wrong, err = s.wrong(ctx)
		}
		switch {
		case err != nil || len(pending) > 0:
			said = time.Time{}
		case len(wrong) == 0:
			return nil
		case said.IsZero():
			said = time.Now()
		case time.Since(said) > settling:
			return fmt.Errorf("VIOLATION: all Applications say Synced and Healthy, but:\n  %s", strings.Join(wrong, "\n  "))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("VIOLATION: stuck for %s (%v):\n  %s", s.options.patience, err, strings.Join(append(pending, wrong...), "\n  ")) //nolint:errorlint // it may be nil
		}
		if err := harness.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// pending tells which Applications are not as they should be.
func (s *soak) pending(ctx context.Context) ([]string, error) {
	list, err := s.client.Resource(applications).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var pending []string
	seen := map[string]bool{}
	for i := range list.Items {
		u := &list.Items[i]
		seen[u.GetName()] = true
		if a := s.apps[u.GetName()]; a == nil {
			pending = append(pending, u.GetName()+" should be gone")
		} else if why := s.unsettled(a, u); why != "" {
			pending = append(pending, a.name+" "+why)
		}
	}
	for _, name := range s.appNames() {
		if !seen[name] {
			pending = append(pending, name+" does not exist")
		}
	}
	return pending, nil
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
	case phase != "Succeeded" && phase != "Failed" && phase != "Error":
		return fmt.Sprintf("has an operation in phase %q", phase)
	case u.Object["operation"] != nil:
		return "has an operation that has not begun"
	}
	return ""
}

// tree identifies what a revision says of an Application.
func (s *soak) tree(a *app, revision string) string {
	at := fmt.Sprintf("%s:%s", revision, a.path)
	if s.trees[at] == "" {
		out, err := exec.Command("git", "-C", s.repo.Path, "rev-parse", at).Output()
		if err != nil {
			return "unknown " + at
		}
		s.trees[at] = strings.TrimSpace(string(out))
	}
	return s.trees[at]
}

// wrong tells how the cloud, the states and the locks are not as they should be.
func (s *soak) wrong(ctx context.Context) ([]string, error) {
	var wrong []string
	known, err := s.states(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, ids := range known {
		all = append(all, ids...)
	}
	if audit := s.cloud.Audit(all...); !audit.Clean() {
		wrong = append(wrong, "the cloud and the states: "+audit.String())
	}
	ours := s.cloud.ours()
	for _, name := range s.appNames() {
		want := s.apps[name].want()
		for _, key := range slices.Sorted(maps.Keys(want)) {
			o, ok := ours[key]
			delete(ours, key)
			switch {
			case !ok:
				wrong = append(wrong, key+" does not exist")
			case value(o) != want[key]:
				wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", key, value(o), want[key]))
			case !slices.Contains(known[name], o.ID):
				wrong = append(wrong, fmt.Sprintf("%s (%s) is not in the state of %s", key, o.ID, name))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(ours)) {
		wrong = append(wrong, key+" is declared by nobody")
	}
	locks, err := s.locks(ctx)
	for _, l := range locks {
		wrong = append(wrong, "locked: "+l)
	}
	for _, p := range s.programs() {
		if p.applies() {
			wrong = append(wrong, "still under way: "+p.String())
		}
	}
	return wrong, err
}

// states are the ids of the cloud's objects in the states, by Application.
func (s *soak) states(ctx context.Context) (map[string][]string, error) {
	list, err := s.kube.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "tfstate=true"})
	if err != nil {
		return nil, err
	}
	known := map[string][]string{}
	for i := range list.Items {
		secret := &list.Items[i]
		r, err := gzip.NewReader(bytes.NewReader(secret.Data["tfstate"]))
		if err != nil {
			return nil, fmt.Errorf("the state %s: %w", secret.Name, err)
		}
		var doc struct {
			Resources []struct {
				Mode      string
				Instances []struct{ Attributes struct{ ID string } }
			}
		}
		if err := json.NewDecoder(r).Decode(&doc); err != nil {
			return nil, fmt.Errorf("the state %s: %w", secret.Name, err)
		}
		name := secret.Labels["tfstateSecretSuffix"]
		for _, r := range doc.Resources {
			for _, instance := range r.Instances {
				known[name] = append(known[name], instance.Attributes.ID)
			}
		}
	}
	return known, nil
}

// locks are those that somebody holds.
func (s *soak) locks(ctx context.Context) ([]string, error) {
	list, err := s.kube.CoordinationV1().Leases(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var held []string
	for i := range list.Items {
		l := &list.Items[i]
		if strings.HasPrefix(l.Name, "lock-tfstate-") && l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != "" {
			held = append(held, fmt.Sprintf("%s by %s (%s)", l.Name, *l.Spec.HolderIdentity, l.Annotations["app.terraform.io/lock-info"]))
		}
	}
	return held, nil
}

// nothingKept checks that nothing is kept of Applications that are gone.
func (s *soak) nothingKept(ctx context.Context) error {
	secrets, err := s.kube.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "tfstate=true"})
	if err != nil {
		return err
	}
	leases, err := s.kube.CoordinationV1().Leases(namespace).List(ctx, metav1.ListOptions{LabelSelector: "tfstate=true"})
	if err != nil {
		return err
	}
	if n := len(secrets.Items) + len(leases.Items); n > 0 {
		return fmt.Errorf("VIOLATION: %d states and %d locks are kept of Applications that are gone", len(secrets.Items), len(leases.Items))
	}
	return nil
}

// diagnosis is what helps to find out what went wrong.
func (s *soak) diagnosis() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var b strings.Builder
	fmt.Fprintf(&b, "\nthis round: %s\n", strings.Join(s.changes, ", "))
	list, err := s.client.Resource(applications).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Fprintf(&b, "the Applications: %v\n", err)
	} else {
		for i := range list.Items {
			u := &list.Items[i]
			if a := s.apps[u.GetName()]; a != nil && s.unsettled(a, u) == "" {
				continue
			}
			u.SetManagedFields(nil)
			content, _ := yaml.Marshal(u.Object)
			fmt.Fprintf(&b, "--- %s\n%s", u.GetName(), content)
		}
	}
	fmt.Fprintf(&b, "--- processes: %v\n", s.processes())
	if s.engine != nil {
		fmt.Fprintf(&b, "--- the end of %s\n%s\n", s.engine.Log, harness.Tail(s.engine.Log, 80))
	}
	return b.String()
}
