package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// The facets of what is declared, which the ledger has as details under these
// names. What a user may have written is there as its hash only.
const (
	facetSpec        = "spec"
	facetPermissions = "permissions"
	facetFreeze      = "freeze"
	facetPin         = "pin"
)

// somebody has done what an object does not say of itself who did.
const somebody = "unknown"

const (
	// mostWaiting bounds what waits for a ledger that cannot be written.
	mostWaiting = 20000
	// together is how many objects are written down at once, and gather how long they
	// wait for each other: a batch costs the disk as much as an entry.
	together = 256
	gather   = 200 * time.Millisecond
	// declaredPause is how long to wait after the ledger has refused.
	declaredPause = time.Second
)

// state of one declared object, at a moment.
type declaredState struct {
	id     string
	entry  entry.Entry // what all entries about it have in common
	words  map[string]string
	facets map[string]string
	// by is who has set a facet, and why, where the object says so.
	by, why map[string]string
	since   time.Time
	gone    bool
	// seen is when that was; early, where it was so when this server began, and
	// nobody knows since when. at is when it was recorded.
	seen, at time.Time
	early    bool
	// because names the object that has made it so; empty means itself. hollow is set
	// where it is gone from the record alone: it may be there, and say something else.
	because string
	hollow  bool
	// role is the id of what a binding gives.
	role string
	// told is the whole entry, where there is nothing to compare, and removed whether it
	// tells that somebody has removed what Plumb has put back.
	told    *entry.Entry
	removed bool
}

// declared records what people declare: Applications, projects, permissions,
// freezes and pins. It compares what is with what the ledger knows, so that
// nothing is recorded twice, and what has happened while Plumb did not run is not
// missed. It does not know the engine.
type declared struct {
	record *recorder
	log    *slog.Logger

	mu      sync.Mutex
	waiting []declaredState
	dropped bool
	// rights are the roles and bindings that have changed, as they did; nil where none
	// has.
	rights []seenRight
	news   chan struct{}
	// known are the facets that are recorded, by the object's id. Only run has it.
	known map[string]declaredState
	// informant may be nil.
	informant *informant
}

var _ controller.Declared = (*declared)(nil)

func newDeclared(r *recorder, log *slog.Logger) *declared {
	return &declared{record: r, log: log, news: make(chan struct{}, 1), known: map[string]declaredState{}}
}

// Application is told of an Application.
func (d *declared) Application(group string, old, now *v1alpha1.Application) {
	if old != nil && (now == nil || old.UID != now.UID) {
		d.put(declaredState{id: "app/" + string(old.UID), gone: true})
	}
	if now == nil || old != nil && old.UID == now.UID && samePin(old, now) &&
		(old.Generation == now.Generation || equality.Semantic.DeepEqual(old.Spec, now.Spec)) {
		return
	}
	s := declaredState{
		id: "app/" + string(now.UID), since: now.CreationTimestamp.Time,
		entry: entry.Entry{Project: now.Spec.GetProject(), Application: entry.Application{
			Group: group, Namespace: now.Namespace, Name: now.Name, UID: string(now.UID),
		}},
		facets: map[string]string{facetSpec: hashOf(now.Spec)}, by: map[string]string{}, why: map[string]string{},
	}
	if pin, ok := v1alpha1.PinOf(now.Annotations); ok {
		if s.facets[facetPin] = strings.Join(pin.Revisions, ","); len(s.facets[facetPin]) > mostWords {
			s.facets[facetPin] = hashOf(pin.Revisions) // what is cut would be the same as others that are
		}
		s.by[facetPin], s.why[facetPin] = pin.By, pin.Reason
	}
	s.words = wordsOfApplication(now.Spec)
	d.put(s)
}

func samePin(a, b *v1alpha1.Application) bool {
	return a.Annotations[v1alpha1.AnnotationPin] == b.Annotations[v1alpha1.AnnotationPin]
}

// Project is told of a project.
func (d *declared) Project(group string, old, now *v1alpha1.AppProject) {
	if now == nil {
		d.put(declaredState{id: projectID(group, old), gone: true})
		return
	}
	if old != nil && old.UID == now.UID && equality.Semantic.DeepEqual(old.Spec, now.Spec) {
		return
	}
	spec := now.Spec
	rights := struct {
		Roles    []v1alpha1.ProjectRole                          `json:"roles,omitempty"`
		Accounts []v1alpha1.ApplicationDestinationServiceAccount `json:"accounts,omitempty"`
	}{spec.Roles, spec.DestinationServiceAccounts}
	s := declaredState{
		id: projectID(group, now), since: now.CreationTimestamp.Time, entry: entry.Entry{Project: now.Name},
		facets: map[string]string{facetPermissions: hashOf(rights)}, by: map[string]string{}, why: map[string]string{},
	}
	s.words = wordsOfProject(spec)
	s.freeze(spec.Freeze)
	spec.Roles, spec.DestinationServiceAccounts, spec.Freeze = nil, nil, nil
	s.facets[facetSpec] = hashOf(spec)
	d.put(s)
}

func projectID(group string, p *v1alpha1.AppProject) string {
	return "project/" + group + "/" + p.Namespace + "/" + p.Name
}

// everything is the id of what holds for all projects.
const everything = "everything"

// Freeze is told of the freeze of everything.
func (d *declared) Freeze(f *v1alpha1.Freeze) {
	s := declaredState{id: everything, facets: map[string]string{}, by: map[string]string{}, why: map[string]string{}}
	s.freeze(f)
	d.put(s)
}

func (s *declaredState) freeze(f *v1alpha1.Freeze) {
	if f != nil {
		s.facets[facetFreeze], s.by[facetFreeze], s.why[facetFreeze] = hashOf(f), f.By, f.Reason
	}
}

// Guard is told what somebody has done to what the API server checks by, and that
// Plumb has put it back.
func (d *declared) Guard(n controller.GuardChange) {
	e := entry.Entry{
		Time: time.Now(), Kind: entry.PermissionChanged, Actor: entry.Actor{User: somebody, Via: "the API"}, Result: entry.Succeeded,
		Message: n.Kind + " " + n.Name + " " + n.What + "; Plumb has put it back",
		Details: map[string]string{"guard": n.Kind + "/" + n.Name},
	}
	if n.Err != nil {
		e.Result, e.Message = entry.Failed, n.Kind+" "+n.Name+" "+n.What+", and Plumb can't put it back: "+n.Err.Error()
	}
	d.put(declaredState{id: "guard/" + n.Kind + "/" + n.Name, told: &e, removed: n.Removed})
}

// hashOf identifies a part of an object.
func hashOf(part any) string {
	text, err := json.Marshal(part)
	if err != nil {
		return "?"
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// asKept are facets as the ledger has them later: it cuts what is long, and leaves out
// what it must not have.
func asKept(facets map[string]string) map[string]string {
	return entry.Clean(entry.Entry{Details: facets}).Details
}

// put has a state looked at. It does not block.
func (d *declared) put(s declaredState) {
	s.seen = time.Now()
	d.mu.Lock()
	if len(d.waiting) < mostWaiting {
		d.waiting = append(d.waiting, s)
	} else if !d.dropped {
		d.dropped = true
		d.log.Error("the ledger has not been written for so long that changes of Applications and projects between are not recorded")
	}
	d.mu.Unlock()
	d.wake()
}

func (d *declared) wake() {
	select {
	case d.news <- struct{}{}:
	default:
	}
}

func (d *declared) take() []declaredState {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.waiting
	d.waiting, d.dropped = nil, false
	return all
}

// run records until ctx is done. The mirrors of what is declared are filled.
func (d *declared) run(ctx context.Context, p *parts) {
	for d.load(ctx) != nil {
		if !pause(ctx, declaredPause) {
			return
		}
	}
	first := d.take()
	first = append(first, d.missing(first, p.controller.Serves)...)
	for i := range first {
		first[i].early, first[i].seen = true, time.Now()
	}
	d.catchUp(ctx)
	for all := first; ; all = append(d.take(), d.changedRights(p)...) {
		d.recordAll(ctx, all)
		select {
		case <-ctx.Done():
			return
		case <-d.news:
		}
		if !pause(ctx, gather) {
			return // the next process sees the same
		}
	}
}

// missing is what the ledger knows of and is not there any more.
func (d *declared) missing(there []declaredState, serves func(group string) bool) (out []declaredState) {
	present := map[string]bool{}
	for _, s := range there {
		present[s.id] = present[s.id] || !s.gone
	}
	for id, s := range d.known {
		switch {
		case present[id]:
		case id == everything:
			out = append(out, declaredState{id: id, facets: map[string]string{}})
		case serves(s.group()):
			out = append(out, declaredState{id: id, gone: true})
		}
	}
	return out
}

func pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

// load takes from the ledger what it knows.
func (d *declared) load(ctx context.Context) error {
	l, err := d.record.ledger()
	if err != nil {
		return err
	}
	q := entry.Query{Oldest: true, Kinds: []entry.Kind{
		entry.ApplicationCreated, entry.ApplicationChanged, entry.ApplicationDeleted, entry.Pinned, entry.Unpinned,
		entry.ProjectChanged, entry.PermissionChanged, entry.Frozen, entry.Thawed,
	}}
	clear(d.known)
	return l.Each(ctx, q, func(e entry.Entry) bool {
		if e.Details["guard"] != "" {
			return true // that is no object whose state is kept
		}
		id := e.Details["object"]
		if e.Application.UID != "" {
			id = "app/" + e.Application.UID
		}
		if e.Kind == entry.ApplicationDeleted || e.Details["gone"] != "" {
			delete(d.known, id)
			return true
		}
		s, ok := d.known[id]
		if !ok {
			s = declaredState{id: id, facets: map[string]string{}}
		}
		s.entry.Application, s.entry.Project, s.at, s.role = e.Application, e.Project, e.Time, e.Details["role"]
		for _, facet := range []string{facetSpec, facetPermissions, facetFreeze, facetPin} {
			if v, ok := e.Details[facet]; ok {
				s.facets[facet] = v
			}
		}
		s.hear(e.Details)
		d.known[id] = s
		return true
	})
}

// recordAll records what is new about objects: those of one in their order.
func (d *declared) recordAll(ctx context.Context, all []declaredState) {
	var order []string
	entries := map[string][]*entry.Entry{}
	var open []openEntry
	for _, s := range all {
		before := d.known[s.id]
		for _, e := range d.entries(s) {
			if len(entries[s.id]) == 0 {
				order = append(order, s.id)
			}
			entries[s.id] = append(entries[s.id], &e)
			if e.Actor.User == somebody {
				open = append(open, openEntry{&e, s, before})
			}
		}
	}
	d.identify(ctx, open)
	for some := range slices.Chunk(order, together) {
		var running sync.WaitGroup
		for _, id := range some {
			running.Go(func() {
				for _, e := range entries[id] {
					d.write(ctx, *e)
				}
			})
		}
		running.Wait()
	}
}

// write records an entry, however long it takes.
func (d *declared) write(ctx context.Context, e entry.Entry) {
	for {
		err := d.record.write(ctx, e)
		if err == nil || ctx.Err() != nil {
			return
		}
		d.log.Warn("ledger not written", "kind", e.Kind, "error", err)
		if !pause(ctx, declaredPause) {
			return
		}
	}
}

// entries are what is new about an object; they are taken for known then.
func (d *declared) entries(s declaredState) []entry.Entry {
	if s.told != nil {
		return []entry.Entry{*s.told}
	}
	known, ok := d.known[s.id]
	if s.gone {
		delete(d.known, s.id)
		if !ok {
			return nil
		}
		return []entry.Entry{known.ended(s.seen)}
	}
	if !ok && s.id == everything && s.facets[facetFreeze] == "" {
		return nil
	}
	s.at, s.facets = s.seen, asKept(s.facets)
	d.known[s.id] = s
	var out []entry.Entry
	add := func(kind entry.Kind, facet, message string) {
		e := s.entry
		e.Time, e.Kind, e.Message = s.seen, kind, message
		e.Actor = entry.Actor{User: cmp.Or(s.by[facet], somebody), Via: "the API"}
		e.Details = map[string]string{facet: s.facets[facet]}
		s.tell(&e, facet, known)
		if before := known.facets[facet]; before != "" {
			e.Details["before"] = before
		}
		if facet == facetFreeze && s.by[facet] != "" && !ok && !s.early && s.id != everything {
			// The API server checks the name where somebody freezes what is there; what is
			// made frozen, as from a backup, names whom it named before, or anybody.
			e.Actor.User, e.Details["named"] = somebody, s.by[facet]
		}
		if why := s.why[facet]; why != "" {
			e.Details["reason"] = why
		}
		if s.entry.Application.UID == "" {
			e.Details["object"] = s.id
		}
		if s.role != "" {
			e.Details["role"] = s.role
		}
		if !ok && !s.since.IsZero() {
			e.Details["created"] = s.since.UTC().Format(time.RFC3339)
		}
		out = append(out, e)
	}
	if known.facets[facetSpec] != s.facets[facetSpec] {
		add(s.specKind(ok), facetSpec, s.specText(ok))
	}
	if known.facets[facetPermissions] != s.facets[facetPermissions] {
		add(entry.PermissionChanged, facetPermissions, s.rightText())
	}
	switch was, is := known.facets[facetPin], s.facets[facetPin]; {
	case was == is:
	case is == "":
		add(entry.Unpinned, facetPin, "follows Git again")
	default:
		add(entry.Pinned, facetPin, "pinned at "+is)
	}
	switch was, is := known.facets[facetFreeze], s.facets[facetFreeze]; {
	case was == is:
	case is == "":
		add(entry.Thawed, facetFreeze, s.where()+" may be changed again")
	default:
		add(entry.Frozen, facetFreeze, s.where()+" must not be changed")
	}
	return out
}

// group is the API group of the object.
func (s *declaredState) group() string {
	if parts := strings.Split(s.id, "/"); parts[0] == "project" && len(parts) > 1 {
		return parts[1]
	}
	return s.entry.Application.Group
}

func (s *declaredState) where() string {
	if s.id == everything {
		return "all projects"
	}
	return "project " + s.entry.Project
}

func (s *declaredState) specKind(known bool) entry.Kind {
	switch {
	case s.entry.Application.UID == "":
		return entry.ProjectChanged
	case known:
		return entry.ApplicationChanged
	}
	return entry.ApplicationCreated
}

func (s *declaredState) specText(known bool) string {
	switch {
	case s.entry.Application.UID == "" && !known:
		return "project " + s.entry.Project + " was made"
	case s.entry.Application.UID == "":
		return "project " + s.entry.Project + " was changed"
	case !known:
		return "the Application was made"
	}
	return "the Application was changed"
}

// ended is the entry about an object that is gone.
func (s *declaredState) ended(seen time.Time) entry.Entry {
	e := s.entry
	e.Time, e.Kind, e.Message, e.Actor = seen, entry.ApplicationDeleted, "the Application is gone", entry.Actor{User: somebody, Via: "the API"}
	if e.Application.UID == "" {
		e.Kind, e.Message = entry.ProjectChanged, "project "+e.Project+" is gone"
		if s.isRight() {
			e.Kind, e.Message = entry.PermissionChanged, "no more: "+s.rightText()
		}
		e.Details = map[string]string{"object": s.id, "gone": "true"}
	}
	return e
}
