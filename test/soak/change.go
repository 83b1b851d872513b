package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/bench/harness"
)

func (s *soak) chance(one int) bool { return s.random.IntN(one) == 0 }

func pick[T any](s *soak, from []T) T { return from[s.random.IntN(len(from))] }

// appNames are in order, so that the seed decides which is picked.
func (s *soak) appNames() []string { return slices.Sorted(maps.Keys(s.apps)) }

func (s *soak) declared() int {
	n := 0
	for _, a := range s.apps {
		n += len(a.objects)
	}
	return n
}

func (s *soak) did(format string, args ...any) {
	s.changes = append(s.changes, fmt.Sprintf(format, args...))
}

// plantBystanders makes objects that are nobody's business.
func (s *soak) plantBystanders(ctx context.Context) error {
	for i, namespace := range namespaces {
		k := key{"ConfigMap", namespace, fmt.Sprintf("bystander-%d", i)}
		body := (&object{key: k}).body()
		live, err := s.client.Resource(resources[k.kind]).Namespace(namespace).
			Create(ctx, &unstructured.Unstructured{Object: body}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create a bystander: %w", err)
		}
		s.keep[k] = string(live.GetUID()) + "/" + live.GetResourceVersion()
	}
	return nil
}

// leaveBehind takes objects out of the Applications' hands while all is quiet:
// from then on they must stay as they are.
func (s *soak) leaveBehind(ctx context.Context) error {
	for _, name := range s.appNames() {
		a := s.apps[name]
		for _, file := range a.files() {
			if o := a.objects[file]; o.guarded && len(a.objects) > 1 && s.chance(3) {
				if err := s.keepAsIs(ctx, o.key); err != nil {
					return err
				}
				delete(a.objects, file)
				s.edits++
				s.did("%s no longer declares a guarded object", name)
				if err := s.commit(ctx, a.repo, map[string][]byte{a.path() + "/" + file: nil}, a); err != nil {
					return err
				}
			}
		}
	}
	if len(s.apps) <= minimumApps || !s.chance(3) {
		return nil
	}
	for _, name := range s.appNames() {
		if a := s.apps[name]; !a.cascade {
			return s.abandon(ctx, a)
		}
	}
	return nil
}

// abandon deletes an Application whose objects are to stay.
func (s *soak) abandon(ctx context.Context, a *app) error {
	for _, o := range a.objects {
		if err := s.keepAsIs(ctx, o.key); err != nil {
			return err
		}
	}
	if a.hooks {
		err := s.keepAsIs(ctx, a.hookKey("-pre"))
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return s.deleteApp(ctx, a, "abandoned")
}

func (s *soak) keepAsIs(ctx context.Context, k key) error {
	live, err := s.client.Resource(resources[k.kind]).Namespace(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look at %s: %w", k, err)
	}
	s.keep[k] = string(live.GetUID())
	return nil
}

// change makes random changes in a few bursts.
func (s *soak) change(ctx context.Context) error {
	for range 3 + s.random.IntN(3) {
		if err := s.burst(ctx); err != nil {
			return err
		}
		if err := harness.Sleep(ctx, time.Duration(s.random.IntN(600))*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (s *soak) burst(ctx context.Context) error {
	if len(s.apps) < minimumApps || len(s.apps) < maximumApps && s.chance(5) {
		return s.createApp(ctx)
	}
	names := s.appNames()
	if len(names) > minimumApps && s.chance(4) {
		a := s.apps[pick(s, names)]
		if a.cascade && !a.holdsGuarded() {
			return s.deleteApp(ctx, a, "deleted")
		}
	}
	// One commit to one repository, with edits of some of its Applications.
	repo := s.random.IntN(repositories)
	files := map[string][]byte{}
	var touched []*app
	for _, name := range names {
		if a := s.apps[name]; a.repo == repo && s.chance(2) {
			maps.Copy(files, s.edit(a))
			touched = append(touched, a)
		}
	}
	if len(touched) == 0 {
		return nil
	}
	return s.commit(ctx, repo, files, touched...)
}

func (a *app) holdsGuarded() bool {
	for _, o := range a.objects {
		if o.guarded {
			return true
		}
	}
	return false
}

// edit makes one to three changes to an Application, and returns the files.
func (s *soak) edit(a *app) map[string][]byte {
	files := map[string][]byte{}
	added, changed, removed := 0, 0, 0
	for range 1 + s.random.IntN(3) {
		s.edits++
		file := pick(s, a.files())
		o := a.objects[file]
		switch n := s.random.IntN(6); {
		case n < 2:
			o = s.declare(a)
			added++
		case n < 4 && len(a.objects) > 1 && !o.guarded:
			delete(a.objects, file)
			a.removed = append(a.removed, o)
			files[a.path()+"/"+file] = nil
			removed++
			continue
		default:
			o.value++
			changed++
		}
		files[a.path()+"/"+o.file()] = encode(o.body())
	}
	s.did("%s +%d ~%d -%d", a.name, added, changed, removed)
	return files
}

// declare adds an object: a new one, or one that was there before.
func (s *soak) declare(a *app) *object {
	if len(a.removed) > 0 && s.chance(2) {
		o := a.removed[len(a.removed)-1]
		a.removed = a.removed[:len(a.removed)-1]
		o.value++
		a.objects[o.file()] = o
		return o
	}
	s.number++
	kind := pick(s, []string{"ConfigMap", "ConfigMap", "Secret", "Service", "ServiceAccount", "Deployment"})
	o := &object{
		key: key{kind, a.target, fmt.Sprintf("%s-%d", a.name, s.number)}, round: s.round,
		wave: s.random.IntN(3) - 1, guarded: kind == "ConfigMap" && s.chance(4), value: s.random.IntN(20),
	}
	a.objects[o.file()] = o
	return o
}

func (s *soak) createApp(ctx context.Context) error {
	s.number++
	s.made++
	a := &app{
		name: fmt.Sprintf("%s%03d", namePrefix, s.number), group: "plumb.dev", control: "plumb-system",
		target: pick(s, namespaces), repo: s.random.IntN(repositories),
		cascade: !s.chance(4), hooks: s.chance(3), retry: s.chance(2), objects: map[string]*object{},
	}
	if s.chance(3) {
		a.group, a.control = "argoproj.io", "argocd"
	}
	files := map[string][]byte{a.path() + "/README.md": []byte("# " + a.name + "\n")}
	if a.hooks {
		maps.Copy(files, a.hookFiles())
	}
	for range 2 + s.random.IntN(4) {
		o := s.declare(a)
		files[a.path()+"/"+o.file()] = encode(o.body())
	}
	s.did("%s made", a.name)
	if err := s.commit(ctx, a.repo, files, a); err != nil {
		return err
	}
	s.apps[a.name] = a
	url := s.git.url(fmt.Sprintf("repo-%d", a.repo))
	return harness.Await(ctx, func() error {
		_, err := s.client.Resource(a.resource()).Namespace(a.control).
			Create(ctx, &unstructured.Unstructured{Object: a.manifest(url)}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil // the answer to an earlier attempt was lost
		}
		return err
	})
}

// deleteApp deletes an Application, and perhaps its directory.
func (s *soak) deleteApp(ctx context.Context, a *app, how string) error {
	s.deleted++
	s.did("%s %s", a.name, how)
	err := harness.Await(ctx, func() error {
		err := s.client.Resource(a.resource()).Namespace(a.control).Delete(ctx, a.name, metav1.DeleteOptions{})
		return ignoreNotFound(err)
	})
	if err != nil {
		return err
	}
	delete(s.apps, a.name)
	s.going[a.name] = a
	if s.chance(2) {
		return nil
	}
	files := map[string][]byte{a.path() + "/README.md": nil}
	for file := range a.objects {
		files[a.path()+"/"+file] = nil
	}
	for file := range a.hookFiles() {
		if a.hooks {
			files[file] = nil
		}
	}
	return s.commit(ctx, a.repo, files)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// commit commits and pushes, and notes which Applications must come to what that
// commit says.
func (s *soak) commit(ctx context.Context, repo int, files map[string][]byte, touched ...*app) error {
	s.commits++
	revision, err := s.repos[repo].Commit(ctx, files, fmt.Sprintf("Change %d", s.commits))
	if err != nil {
		return err
	}
	for _, a := range touched {
		a.revision = revision
	}
	return s.repos[repo].Push(ctx)
}
