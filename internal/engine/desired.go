package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// desired is what an Application's sources mean, made concrete.
type desired struct {
	// hash identifies what a sync would make true, and how.
	hash   string
	bundle render.Bundle
	// secrets that the bundle itself holds; bundle.Secrets has those of the one
	// before, too.
	secrets render.Texts
	// revisions of the sources, in their order; sourceTypes likewise.
	revisions   []string
	sourceTypes []string
	// seen are the newest revisions of the sources that mean the same.
	seen []string
	// signatures of the sources, as far as the project asks for them.
	signatures []source.Signature
	// commits are those of the revisions that are described.
	commits   []source.Commit
	described []string
	// stale says why a source could not be asked just now, so that what it said
	// last is taken to hold; empty where all were.
	stale string
	// made from: the same inputs give the same bundle without a look at it.
	inputs inputs
}

// inputs are what a bundle is made from, as far as it can be known without
// fetching anything.
type inputs struct {
	spec      string
	revisions string
	caps      string
	values    string
	keys      string
}

// request to make a bundle.
type request struct {
	app *v1alpha1.Application
	key Key
	// override revisions, by source; empty ones are the declared.
	revisions []string
	// local replaces the tree of the only source (for `plumb diff --local`).
	local source.Tree
	// tree changes the trees of the sources (for looking at what is not in Git).
	tree func(source int, tree source.Tree) source.Tree
	// places has repositories read somewhere else, for previews.
	places map[string]string
	// vouched are the revisions that have to be signed, by source, in place of those
	// that are read.
	vouched []string
	fence   Fence
	caps    driver.Capabilities
	// inputs are the outputs of others that the Application uses.
	inputs map[string]render.Value
	// target namespace
	namespace string
	// fresh asks for references to be looked up now.
	fresh bool
	// uncached asks for everything to be rendered now.
	uncached bool
}

// resolved is a source with all that is needed to fetch it.
type resolved struct {
	source v1alpha1.ApplicationSource
	from   source.Source
	spec   source.Spec
	cred   source.Credentials
	at     source.Resolved
}

// origin chooses where a source comes from.
func (e *Engine) origin(s v1alpha1.ApplicationSource) (source.Source, error) {
	var from source.Source
	switch {
	case s.IsHelmRepo():
		from = e.Sources.Helm
	case s.IsOCI():
		from = e.Sources.OCI
	default:
		from = e.Sources.Git
	}
	if from == nil {
		return nil, fmt.Errorf("no source can fetch %s", v1alpha1.RedactURL(s.RepoURL))
	}
	return from, nil
}

// resolve makes the revisions of all sources immutable.
func (e *Engine) resolve(ctx context.Context, r request) ([]resolved, error) {
	declared := r.app.Spec.GetSources()
	if len(declared) == 0 {
		return nil, invalid("spec.source is missing: name a repository (repoURL) and a path or chart")
	}
	out := make([]resolved, len(declared))
	for i, s := range declared {
		if err := r.fence.AllowSource(s.RepoURL); err != nil {
			return nil, invalid(err.Error())
		}
		from, err := e.origin(s)
		if err != nil {
			return nil, err
		}
		cred, err := e.Credentials.For(s.RepoURL, r.app.Spec.GetProject())
		if err != nil {
			return nil, fmt.Errorf("credentials of %s: %w", v1alpha1.RedactURL(s.RepoURL), err)
		}
		spec := source.Spec{Repo: s.RepoURL, Revision: s.TargetRevision, Chart: s.Chart, TagPrefix: s.TagPrefix}
		if place, ok := r.places[s.RepoURL]; ok {
			spec.Repo, cred = place, source.Credentials{}
		}
		if i < len(r.revisions) && r.revisions[i] != "" {
			spec.Revision = r.revisions[i]
		}
		out[i] = resolved{source: s, from: from, spec: spec, cred: cred}
		if r.local != nil {
			out[i].at = source.Resolved{Revision: "local"}
			continue
		}
		if out[i].at, err = from.Resolve(ctx, spec, cred); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// want gives the bundle that the sources mean now; before is what they meant
// last, and is returned again where nothing has changed.
func (e *Engine) want(ctx context.Context, r request, before *desired) (*desired, error) {
	sources, err := e.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	revisions, stale := make([]string, len(sources)), ""
	for i, s := range sources {
		revisions[i] = s.at.Revision
		stale = orDefault(s.at.Stale, stale)
	}
	signatures, err := e.verifyAll(ctx, r, sources)
	if err != nil {
		return nil, err
	}
	given, err := e.given(ctx, r, tofuOptions(r.app))
	if err != nil {
		return nil, err
	}
	in := inputs{spec: specHash(r.app, r.namespace), revisions: fmt.Sprint(revisions), caps: capsHash(r.caps), values: given.hash(r.inputs)}
	keys := e.keysOf(r.app)
	if keys != nil {
		in.keys = keys.Fingerprint()
	}
	if before != nil && before.inputs == in && r.local == nil && !e.lapsed(before, r) {
		before.stale, before.signatures, before.seen = stale, signatures, revisions
		return before, nil
	}
	bundle, types, err := e.render(ctx, r, sources, keys)
	if err != nil {
		return nil, err
	}
	if texts := sensitive(r.inputs); len(texts) > 0 {
		bundle.Secrets = bundle.Secrets.With(texts)
	}
	if bundle.Module != nil {
		m := *bundle.Module // that of the cache is shared
		// What the renderer has looked up stands in the source itself, and goes
		// before what is given from elsewhere.
		m.Variables, m.Env = over(given.variables, m.Variables), over(given.env, m.Env)
		bundle.Module = &m
	}
	d := &desired{
		bundle: bundle, revisions: revisions, seen: revisions, sourceTypes: types, stale: stale, inputs: in, signatures: signatures,
		hash: hashOf(bundle.Hash, in.spec, in.values),
	}
	if before != nil && before.hash == d.hash {
		// Nothing of it has changed by the new commit: keep the revision that it
		// was made from, so that a commit elsewhere costs this Application nothing.
		d.revisions, d.bundle = before.revisions, before.bundle
		d.bundle.Expires = bundle.Expires
	}
	d.secrets = bundle.Secrets
	if before != nil {
		// What was secret until now may still be live, and be shown as what was
		// before a change.
		d.bundle.Secrets = d.secrets.With(before.secrets)
	}
	return d, nil
}

// tofuOptions are those of the only source that can have any.
func tofuOptions(app *v1alpha1.Application) *v1alpha1.ApplicationSourceTofu {
	for _, s := range app.Spec.GetSources() {
		if s.Tofu != nil {
			return s.Tofu
		}
	}
	return nil
}

func over(below, above map[string]render.Value) map[string]render.Value {
	if len(above) == 0 {
		return below
	}
	out := maps.Clone(above)
	for name, v := range below {
		if _, set := out[name]; !set {
			out[name] = v
		}
	}
	return out
}

func (e *Engine) keysOf(app *v1alpha1.Application) render.Keys {
	if e.Secrets == nil {
		return nil
	}
	return e.Secrets.Keys(app.Spec.GetProject())
}

// lapsed tells whether references must be looked up again.
func (e *Engine) lapsed(d *desired, r request) bool {
	until := d.bundle.Expires
	return !until.IsZero() && (r.fresh || !e.Clock.Now().Before(until))
}

func (e *Engine) render(ctx context.Context, r request, sources []resolved, keys render.Keys) (render.Bundle, []string, error) {
	trees := make([]render.Input, len(sources))
	refs := map[string]render.Input{}
	for i, s := range sources {
		tree := r.local
		if tree == nil {
			var err error
			if tree, err = s.from.Fetch(ctx, s.spec, s.at, s.cred); err != nil {
				return render.Bundle{}, nil, err
			}
		}
		if r.tree != nil {
			tree = r.tree(i, tree)
		}
		trees[i] = render.Input{Source: s.source, Tree: tree, Path: pathOf(s.source)}
		if s.source.IsRef() {
			refs[s.source.Ref] = trees[i]
		}
	}
	others := fetcher{e, r.fence, r.app.Spec.GetProject(), r.app, r.key}
	var bundles []render.Bundle
	var types []string
	for i, in := range trees {
		if sources[i].source.IsRef() && in.Source.Path == "" && in.Source.Chart == "" {
			continue // only referred to by others
		}
		b, err := e.Renderer.Render(ctx, render.Request{
			AppName: r.app.Name, Namespace: r.namespace, Project: r.app.Spec.GetProject(),
			Input: in, Refs: refs, KubeVersion: r.caps.KubeVersion, APIVersions: r.caps.APIVersions,
			Charts: others, Remotes: others, Inputs: r.inputs,
			Keys: keys, At: e.Clock.Now(), Fresh: r.fresh, Uncached: r.uncached,
		})
		if err != nil {
			return render.Bundle{}, nil, err
		}
		bundles = append(bundles, b)
		types = append(types, b.SourceType)
	}
	if len(bundles) == 1 {
		return bundles[0], types, nil
	}
	if slices.ContainsFunc(bundles, func(b render.Bundle) bool { return b.Module != nil }) {
		return render.Bundle{}, nil, invalid("a module can't be one of several sources: give it an Application of its own (sources with a ref and no path may stand beside it)")
	}
	return render.Merge(bundles...), types, nil
}

func pathOf(s v1alpha1.ApplicationSource) string {
	if s.Path == "" {
		return "."
	}
	return s.Path
}

// specHash is of all that changes what is applied, or how, beside the content
// of the sources. Whether and when to sync is not in it.
func specHash(app *v1alpha1.Application, namespace string) string {
	var options v1alpha1.SyncOptions
	var meta *v1alpha1.ManagedNamespaceMetadata
	var drift *v1alpha1.DriftPolicy
	if p := app.Spec.SyncPolicy; p != nil {
		options, meta, drift = p.SyncOptions, p.ManagedNamespaceMetadata, p.Drift
	}
	sources := slices.Clone(app.Spec.GetSources())
	for i := range sources {
		sources[i].TargetRevision = "" // another name for the same commit changes nothing
	}
	b, err := json.Marshal([]any{
		sources, app.Spec.Destination, namespace, app.Spec.GetProject(), options, meta, drift, app.Spec.IgnoreDifferences,
	})
	if err != nil { // only values that came out of JSON are in a spec
		panic("engine: hash of spec: " + err.Error())
	}
	return hashOf(string(b))
}

func capsHash(c driver.Capabilities) string {
	return hashOf(append([]string{c.KubeVersion}, c.APIVersions...)...)
}

func hashOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// invalid is an error in what the user declared: trying again does not help.
type invalid string

func (e invalid) Error() string { return string(e) }
