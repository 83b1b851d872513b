// Package helmrepo gets Helm charts from HTTP chart repositories and from OCI
// registries. It knows nothing of templates or values.
package helmrepo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/archive"
	"github.com/plumb-dev/plumb/internal/source/memo"
	"github.com/plumb-dev/plumb/internal/source/registry"
)

// Options of a Source. Only CacheDir is needed.
type Options struct {
	CacheDir     string
	PollInterval time.Duration // 3 minutes where zero, never where negative
	Timeout      time.Duration // of one question or download; 90 seconds where zero
	IndexBytes   int64         // largest index.yaml, 100 MiB where zero
	Limits       archive.Limits
}

// Source is source.Source for Helm charts. The Spec's Repo is an http(s) URL,
// or an OCI registry ("oci://…", or without scheme where the credentials say
// EnableOCI).
type Source struct {
	opts  Options
	store *archive.Store
	memo  *memo.Memo
	ctx   context.Context
	stop  context.CancelFunc

	downloads singleflight.Group
	mu        sync.Mutex
	digests   map[string]string // of archives that no index gives the digest of
}

var _ source.Source = (*Source)(nil)

// New gives a source that keeps what it downloads in the options' directory.
func New(opts Options) (*Source, error) {
	if opts.PollInterval == 0 {
		opts.PollInterval = 3 * time.Minute
	}
	if opts.Timeout == 0 {
		opts.Timeout = 90 * time.Second
	}
	if opts.IndexBytes == 0 {
		opts.IndexBytes = 100 << 20
	}
	opts.Limits = opts.Limits.WithDefaults()
	store, err := archive.NewStore(opts.CacheDir, opts.Limits)
	if err != nil {
		return nil, fmt.Errorf("helm source: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Source{
		opts: opts, store: store, memo: memo.New(opts.PollInterval, opts.Timeout),
		ctx: ctx, stop: stop, digests: map[string]string{},
	}, nil
}

// Close ends the polling.
func (s *Source) Close() error {
	s.stop()
	s.memo.Close()
	return nil
}

// release is one version of a chart and where its archive is.
type release struct {
	version  string
	digest   string // SHA-256 in hex of the archive; empty where nobody says
	describe source.Commit
	// open begins the download.
	open func(ctx context.Context) (body, error)
}

func isOCI(spec source.Spec, cred source.Credentials) bool {
	return strings.HasPrefix(spec.Repo, "oci://") || cred.EnableOCI && !strings.HasPrefix(spec.Repo, "http")
}

// find gives the release that a revision means now.
func (s *Source) find(ctx context.Context, spec source.Spec, revision string, cred source.Credentials) (release, string, error) {
	if spec.Chart == "" {
		return release{}, "", refused(spec.Repo, cred, "no chart is named (chart)")
	}
	if strings.ContainsAny(spec.Chart, "\\?#%\x00") || strings.Contains("/"+spec.Chart+"/", "/../") {
		return release{}, "", refused(spec.Repo, cred, fmt.Sprintf("the chart's name %q is not allowed", clip(spec.Chart)))
	}
	if isOCI(spec, cred) {
		return s.findOCI(ctx, spec, revision, cred)
	}
	if !strings.HasPrefix(spec.Repo, "https://") && !strings.HasPrefix(spec.Repo, "http://") {
		return release{}, "", refused(spec.Repo, cred, "a chart repository's URL begins with https://, http:// or oci://")
	}
	return s.findHTTP(ctx, spec, revision, cred)
}

func refused(repo string, cred source.Credentials, message string) error {
	return &source.Error{Reason: source.ReasonRefused, Repo: cred.Mask(repo), Message: message}
}

// Resolve gives the version of a chart that a version or range means now.
func (s *Source) Resolve(ctx context.Context, spec source.Spec, cred source.Credentials) (source.Resolved, error) {
	r, stale, err := s.find(ctx, spec, spec.Revision, cred)
	if err != nil {
		return source.Resolved{}, err
	}
	return source.Resolved{Revision: r.version, Stale: stale}, nil
}

// Fetch gives the content of a chart.
func (s *Source) Fetch(ctx context.Context, spec source.Spec, at source.Resolved, cred source.Credentials) (source.Tree, error) {
	r, _, err := s.find(ctx, spec, at.Revision, cred)
	if err != nil {
		return nil, err
	}
	for range 2 {
		digest, err := s.archive(ctx, spec, r, cred)
		if err != nil {
			return nil, registry.Explain(spec.Repo, cred, err)
		}
		tree, err := s.store.Tree(digest, true, r.version)
		if err == nil {
			return tree, nil
		}
		if s.store.Has(digest) { // it is whole, and not a chart
			return nil, &source.Error{Reason: source.ReasonRefused, Repo: cred.Mask(spec.Repo), Message: fmt.Sprintf("chart %s %s: %v", spec.Chart, r.version, err)}
		}
	}
	return nil, &source.Error{Reason: source.ReasonFailed, Repo: cred.Mask(spec.Repo), Message: "the chart's archive in the cache is damaged again and again: check the disk"}
}

// archive brings a release into the store; all who want it share the download.
func (s *Source) archive(ctx context.Context, spec source.Spec, r release, cred source.Credentials) (string, error) {
	key := strings.Join([]string{spec.Repo, spec.Chart, r.version, r.digest, cred.Fingerprint()}, "\n")
	digest := r.digest
	if digest == "" {
		s.mu.Lock()
		digest = s.digests[key]
		s.mu.Unlock()
	}
	if digest != "" && s.store.Has(digest) {
		return digest, nil
	}
	done := s.downloads.DoChan(key, func() (any, error) { return s.download(r) })
	select {
	case result := <-done:
		if result.Err != nil {
			return "", result.Err
		}
		digest := result.Val.(string)
		s.mu.Lock()
		s.digests[key] = digest
		s.mu.Unlock()
		return digest, nil
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the download of chart %s: %w", spec.Chart, ctx.Err())
	}
}

func (s *Source) download(r release) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.Timeout)
	defer cancel()
	b, err := r.open(ctx)
	if err != nil {
		return "", err
	}
	defer b.Close()
	return s.store.Put(b, r.digest)
}

// Describe gives what the repository says of a version.
func (s *Source) Describe(ctx context.Context, spec source.Spec, at source.Resolved, cred source.Credentials) (source.Commit, error) {
	r, _, err := s.find(ctx, spec, at.Revision, cred)
	if err != nil {
		return source.Commit{}, err
	}
	return r.describe, nil
}

// Watch calls moved when a repository offers something else than before.
func (s *Source) Watch(ctx context.Context, moved func(repo string)) { s.memo.Watch(ctx, moved) }

// Refresh asks a repository again now.
func (s *Source) Refresh(repo string) { s.memo.Refresh(repo) }

// Forget ends the asking about a repository that nobody uses any more.
func (s *Source) Forget(repo string) { s.memo.Forget(repo) }

// Prune removes archives that nobody used for that long.
func (s *Source) Prune(unused time.Duration) error { return s.store.Prune(unused) }

var errTooLarge = errors.New("larger than is allowed")
