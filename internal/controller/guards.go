package controller

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

const (
	wasChanged = "was changed"
	wasRemoved = "was removed"

	kindPolicy  = "ValidatingAdmissionPolicy"
	kindBinding = "ValidatingAdmissionPolicyBinding"
	// autoupdate is Kubernetes' own word for roles that are not to be put back.
	autoupdate = "rbac.authorization.kubernetes.io/autoupdate"
	// settleTime is how long the API servers may take until what was put back is in
	// force: each of them looks for changes of policies every second.
	settleTime = 5 * time.Second
	// calmTime without a change lets the next one be put back at once.
	calmTime = time.Minute
	// mendMost is the longest pause before it is tried again to put something back.
	mendMost = 30 * time.Second
)

// guard is one object by which the API server sees to it who may say what.
type guard struct {
	file, kind, name string
	// uid, generation and version are those of the object as Plumb wants it; roles have
	// no generation.
	uid        types.UID
	generation int64
	version    string
	// changed is when it was written last, by the API server's clock.
	changed time.Time
	// wrong is what somebody has done to it, empty while it is as it should be.
	wrong string
	// told is set once it was told that it can't be put back.
	told bool
	// lastUID and lastGeneration are of the object that was seen last, removed is of the
	// one that was seen to go.
	lastUID, removed types.UID
	lastGeneration   int64
}

func (g *guard) id() string { return g.kind + " " + g.name }

// guardOf is an object that is as it should be.
func guardOf(file string, live *unstructured.Unstructured) *guard {
	return &guard{
		file: file, kind: live.GetKind(), name: live.GetName(), uid: live.GetUID(),
		generation: live.GetGeneration(), version: live.GetResourceVersion(), changed: changedAt(live),
	}
}

// changedAt is when an object was last written, apart from its status. One that
// does not tell was written now, for all that is known.
func changedAt(live *unstructured.Unstructured) time.Time {
	last, told := live.GetCreationTimestamp().Time, false
	for _, f := range live.GetManagedFields() {
		if f.Subresource == "" && f.Time != nil {
			told = true
			if f.Time.After(last) {
				last = f.Time.Time
			}
		}
	}
	if !told {
		return time.Now()
	}
	return last
}

// GuardChange is what somebody has done to what guards approvals, and what came of it.
type GuardChange struct {
	Kind, Name string
	// What was done: "was changed" or "was removed".
	What    string
	Removed bool
	// Err is why it can't be put back; nil where it was.
	Err error
}

// guards keep the policies and roles as they should be while Plumb runs, and know
// since when they have been so without a break.
type guards struct {
	client  dynamic.Interface
	log     *slog.Logger
	tell    func(GuardChange, *corev1.ObjectReference)
	changed func() // approvals count again, or not any more
	// defined is when approvals could be made for the first time.
	defined  time.Time
	watching []func(context.Context) error
	news     chan struct{}

	mu       sync.RWMutex
	known    map[string]*guard
	restored int
	lastMend time.Time
}

func newGuards(o Options) (*guards, error) {
	g := &guards{
		log: o.Log, tell: func(GuardChange, *corev1.ObjectReference) {}, changed: func() {}, defined: o.Installed.defined,
		news: make(chan struct{}, 1), known: map[string]*guard{},
	}
	for _, k := range o.Installed.guards {
		copied := *k
		g.known[k.id()] = &copied
	}
	if len(g.known) == 0 || o.Lenient {
		return g, nil
	}
	var err error
	if g.client, err = dynamic.NewForConfig(o.Config); err != nil {
		return nil, fmt.Errorf("make a client for policies: %w", err)
	}
	return g, g.addMirrors(o.Config)
}

// seen takes what the API server tells of an object. It does not block.
func (g *guards) seen(kind, name string, uid types.UID, generation int64, what string) {
	g.mu.Lock()
	k := g.known[kind+" "+name]
	if k == nil {
		g.mu.Unlock()
		return
	}
	if what == "" && kind != kindClusterRole && (k.uid != uid || k.generation != generation) {
		what = wasChanged
	}
	if what == wasRemoved {
		k.removed = uid
	} else {
		k.lastUID, k.lastGeneration = uid, generation
	}
	news := what != "" && k.wrong == ""
	if what != "" {
		k.wrong = what
	}
	g.mu.Unlock()
	if news {
		g.wake()
		g.changed()
	} else if what != "" {
		g.wake()
	}
}

func (g *guards) wake() {
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// run puts back what is not as it should be: at once, and where somebody keeps
// changing it, after a while.
func (g *guards) run(ctx context.Context) {
	pause := time.Second
	for {
		var again <-chan time.Time
		if g.mend(ctx) {
			again = time.After(pause)
			pause = min(2*pause, mendMost)
		} else {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-g.news:
			if again != nil { // it is tried soon enough
				select {
				case <-ctx.Done():
					return
				case <-again:
				}
			}
		}
	}
}

// mend puts back what is wrong, and tells whether something is left to do.
func (g *guards) mend(ctx context.Context) bool {
	g.mu.RLock()
	var wrong []guard
	for _, k := range g.known {
		if k.wrong != "" {
			wrong = append(wrong, *k)
		}
	}
	often := time.Since(g.lastMend) < calmTime && g.restored > len(g.known)
	g.mu.RUnlock()
	if often && len(wrong) > 0 { // somebody else puts back what we do
		select {
		case <-ctx.Done():
			return false
		case <-time.After(mendMost):
		}
	}
	slices.SortFunc(wrong, func(a, b guard) int { return strings.Compare(a.id(), b.id()) })
	left := false
	for _, k := range wrong {
		live, err := g.putBack(ctx, k)
		if ctx.Err() != nil {
			return false
		}
		left = g.mended(k, live, err) || left
	}
	return left
}

func (g *guards) putBack(ctx context.Context, k guard) (*unstructured.Unstructured, error) {
	objects, err := accessObjects(k.file)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		if object.GetKind() == k.kind && object.GetName() == k.name {
			return applyAccess(ctx, g.client.Resource(accessResources[k.kind]), object)
		}
	}
	return nil, fmt.Errorf("there is no %s in %s", k.id(), k.file)
}

// mended takes up how it went, and tells whether it has to be tried again.
func (g *guards) mended(was guard, live *unstructured.Unstructured, err error) bool {
	g.mu.Lock()
	k := g.known[was.id()]
	if err != nil {
		told := k.told
		k.told = true
		g.mu.Unlock()
		if !told {
			g.say(was, err)
		}
		return true
	}
	now := guardOf(was.file, live)
	// What is known already was no news: the answer to the last time came later.
	news := was.told || now.uid != k.uid || now.generation != k.generation || was.kind == kindClusterRole && now.version != k.version
	again := k.since(now)
	*k = *now
	k.wrong = again
	if news {
		g.restored++
		g.lastMend = time.Now()
	}
	g.mu.Unlock()
	if news {
		g.say(was, nil)
	}
	g.changed()
	return again != ""
}

// since is what was seen to be done to an object that was just put back, before the
// answer to that came.
func (g *guard) since(now *guard) string {
	switch {
	case g.removed != "" && g.removed == now.uid:
		return wasRemoved
	case g.lastUID == now.uid && g.lastGeneration > now.generation:
		return wasChanged
	}
	return ""
}

// say tells loudly what has happened.
func (g *guards) say(k guard, err error) {
	if err == nil {
		g.log.Warn("somebody has weakened what the API server checks; it is put back, and approvals that were made meanwhile do not count", "kind", k.kind, "name", k.name, "what", k.wrong)
	} else {
		g.log.Error("somebody has weakened what the API server checks, and it can't be put back: no approval counts before it is", "kind", k.kind, "name", k.name, "what", k.wrong, "error", err)
	}
	g.tell(GuardChange{Kind: k.kind, Name: k.name, What: k.wrong, Removed: k.wrong == wasRemoved, Err: err}, &corev1.ObjectReference{
		APIVersion: accessResources[k.kind].GroupVersion().String(), Kind: k.kind, Name: k.name, UID: k.uid,
	})
}

// state is which of the guards in some files are wrong, and since when all of them
// have been as they should be; zero where they have never been otherwise.
func (g *guards) state(checked string, more ...string) (wrong string, since time.Time) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, k := range g.known {
		ours := k.file == checked
		if (ours || slices.Contains(more, k.file)) && k.wrong != "" && (wrong == "" || k.id() < wrong) {
			wrong = k.id()
		}
		if ours && k.changed.After(g.defined) && k.changed.After(since) {
			since = k.changed
		}
	}
	return wrong, since
}

// doubt says why an approval that was made at a time does not count, whoever it is
// of; empty where it does.
func (g *guards) doubt(made time.Time) string {
	wrong, since := g.state(policiesFile, policiesOfPlansFile)
	switch {
	case wrong != "":
		return "the API server does not check who approves at the moment: somebody has weakened the " + wrong
	case !since.IsZero() && !made.After(since.Add(settleTime)):
		return fmt.Sprintf("it was made before %s, and until then the API server did not check for sure who approves: its admission policies had been changed", since.Add(settleTime).UTC().Format(time.RFC3339))
	}
	return ""
}

// overridable says why nobody is let through gates for now, or nil.
func (g *guards) overridable(now time.Time) error {
	wrong, since := g.state(gatesFile)
	switch {
	case wrong != "":
		return fmt.Errorf("the API server does not check who may override at the moment: somebody has weakened the %s", wrong)
	case !since.IsZero() && !now.After(since.Add(settleTime)):
		return fmt.Errorf("the API server's admission policies were put back only at %s: ask again in a few seconds", since.UTC().Format(time.RFC3339))
	}
	return nil
}

// Guards tells whether all policies and roles are as they should be, and how often
// they had to be put back.
func (c *Controller) Guards() (inForce bool, restored int) {
	c.guards.mu.RLock()
	defer c.guards.mu.RUnlock()
	inForce = true
	for _, k := range c.guards.known {
		inForce = inForce && k.wrong == ""
	}
	return inForce, c.guards.restored
}

// Doubt says why an approval does not count although it is there, or nothing.
func (p *Plans) Doubt(a *v1alpha1.Approval) string { return p.c.guards.doubt(a.CreationTimestamp.Time) }

// guardChanged tells what somebody has done to what guards approvals.
func (c *Controller) guardChanged(n GuardChange, ref *corev1.ObjectReference) {
	text, reason := n.Kind+" "+n.Name+" "+n.What+" by somebody; it is put back, and approvals that were made meanwhile do not count", "PutBack"
	if n.Err != nil {
		text, reason = n.Kind+" "+n.Name+" "+n.What+" by somebody, and can't be put back: "+n.Err.Error(), "Weakened"
	}
	c.warnings.Event(ref, corev1.EventTypeWarning, reason, bounded(text))
	if c.declared != nil {
		c.declared.Guard(n)
	}
}

// reconsider has the engine look again at all that waits for people.
func (c *Controller) reconsider() {
	if c.plans == nil {
		return
	}
	c.plans.mu.Lock()
	keys := make([]engine.Key, 0, len(c.plans.of))
	for key := range c.plans.of {
		keys = append(keys, key)
	}
	c.plans.mu.Unlock()
	c.enqueue(keys...)
}

// definedAt is when approvals were defined: none is older.
func definedAt(ctx context.Context, client dynamic.Interface) (time.Time, error) {
	name := v1alpha1.ApprovalResource + "." + v1alpha1.Group
	crd, err := client.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("look for the definition %s: %w", name, err)
	}
	return crd.GetCreationTimestamp().Time, nil
}
