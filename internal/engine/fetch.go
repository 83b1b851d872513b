package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/source"
)

// fetcher gets what a repository's content refers to in other places: charts
// that a chart depends on, remote bases of a kustomization. What may be fetched,
// and with which credentials, is up to the Application's project.
type fetcher struct {
	e       *Engine
	fence   Fence
	project string
	app     *v1alpha1.Application
	key     Key
}

// FetchChart gives the content of a chart by its version or range of versions.
func (f fetcher) FetchChart(ctx context.Context, repo, name, version string) (source.Tree, error) {
	if !strings.Contains(repo, "://") {
		return nil, fmt.Errorf("dependency %s: the repository %q is not a URL: give its URL in Chart.yaml, or put the chart into charts/", name, v1alpha1.RedactURL(repo))
	}
	tree, err := f.fetch(ctx, f.e.Sources.Helm, source.Spec{Repo: repo, Chart: name, Revision: version})
	if err != nil {
		return nil, fmt.Errorf("dependency %s: %w", name, err)
	}
	return tree, nil
}

// FetchRepo gives a Git repository's content.
func (f fetcher) FetchRepo(ctx context.Context, repo, revision string) (source.Tree, error) {
	return f.fetch(ctx, f.e.Sources.Git, source.Spec{Repo: repo, Revision: revision})
}

// FetchFile refuses: a file at a URL has no revision that could be rolled back.
func (f fetcher) FetchFile(_ context.Context, url string) ([]byte, error) {
	return nil, fmt.Errorf("%s is not fetched, since a file at a URL has no revision: put it into a Git repository", v1alpha1.RedactURL(url))
}

// copier copies repositories for other programs.
type copier interface {
	Copy(ctx context.Context, repo string, cred source.Credentials, dir string) error
	CopyAt(ctx context.Context, repo string, cred source.Credentials, dir string, commits map[string]string) error
}

// clone makes a folder a copy of a Git repository, where there are credentials for
// it, or the project wants it to be signed: who needs neither can do it without us.
func (f fetcher) clone(ctx context.Context, repo string, revisions []string, dir string) (bool, error) {
	rule, err := f.signed(repo)
	if err != nil || dir == "" {
		if err == nil && rule != nil {
			err = untrusted(fmt.Sprintf("%s wants %s to be signed, and what it has can't be verified by the way it is named: name it as git::https://HOST/PATH.git?ref=REVISION or git::ssh://…, written out and without a password", rule.Where, v1alpha1.RedactURL(repo)))
		}
		return false, err
	}
	from, can := f.e.Sources.Git.(copier)
	cred, err := f.e.Credentials.For(repo, f.project)
	switch {
	case err != nil:
		return false, fmt.Errorf("credentials of %s: %w", v1alpha1.RedactURL(repo), err)
	case !can && rule != nil:
		return false, untrusted(rule.Where + " wants " + v1alpha1.RedactURL(repo) + " to be signed, which its source cannot tell")
	case !can || rule == nil && !cred.Opens():
		return false, nil
	}
	if cred.Opens() {
		if err := f.fence.AllowSource(repo); err != nil {
			return false, err
		}
	}
	if rule == nil {
		return true, from.Copy(ctx, repo, cred, dir)
	}
	commits := map[string]string{}
	for _, revision := range revisions {
		spec := source.Spec{Repo: repo, Revision: revision}
		at, err := f.e.Sources.Git.Resolve(ctx, spec, cred)
		if err != nil {
			return false, err
		}
		if _, err := f.e.verify(ctx, f.app, f.key, resolved{from: f.e.Sources.Git, spec: spec, cred: cred, at: at}); err != nil {
			return false, err
		}
		commits[revision] = at.Revision
	}
	return true, from.CopyAt(ctx, repo, cred, dir, commits)
}

// signed is how the project wants a repository to be signed, or nil.
func (f fetcher) signed(repo string) (*Integrity, error) {
	if f.e.Signatures == nil || f.app == nil {
		return nil, nil
	}
	rule, err := f.e.Signatures.Integrity(f.app, f.key, repo)
	if err != nil {
		return nil, untrusted(err.Error())
	}
	return rule, nil
}

func (f fetcher) fetch(ctx context.Context, from source.Source, spec source.Spec) (source.Tree, error) {
	if from == nil {
		return nil, fmt.Errorf("nothing can fetch %s", v1alpha1.RedactURL(spec.Repo))
	}
	if err := f.fence.AllowSource(spec.Repo); err != nil {
		return nil, err
	}
	cred, err := f.e.Credentials.For(spec.Repo, f.project)
	if err != nil {
		return nil, fmt.Errorf("credentials of %s: %w", v1alpha1.RedactURL(spec.Repo), err)
	}
	at, err := from.Resolve(ctx, spec, cred)
	if err != nil {
		return nil, err
	}
	if _, err := f.e.verify(ctx, f.app, f.key, resolved{from: from, spec: spec, cred: cred, at: at}); err != nil {
		return nil, err
	}
	return from.Fetch(ctx, spec, at, cred)
}
