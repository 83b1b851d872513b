// Package oci reads desired state from OCI artifacts: one layer with a tar
// archive of manifests (or a Helm chart's). It knows nothing of what the
// content means.
package oci

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

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
	Limits       archive.Limits
}

// Source is source.Source for OCI artifacts.
type Source struct {
	opts  Options
	store *archive.Store
	memo  *memo.Memo
	ctx   context.Context
	stop  context.CancelFunc

	downloads singleflight.Group
	mu        sync.Mutex
	artifacts map[memo.Key]artifact
}

// maxArtifacts bounds the manifests that are remembered.
const maxArtifacts = 2000

var _ source.Source = (*Source)(nil)

// New gives a source that keeps what it downloads in the options' directory.
func New(opts Options) (*Source, error) {
	if opts.PollInterval == 0 {
		opts.PollInterval = 3 * time.Minute
	}
	if opts.Timeout == 0 {
		opts.Timeout = 90 * time.Second
	}
	opts.Limits = opts.Limits.WithDefaults()
	store, err := archive.NewStore(opts.CacheDir, opts.Limits)
	if err != nil {
		return nil, fmt.Errorf("oci source: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Source{
		opts: opts, store: store, memo: memo.New(opts.PollInterval, opts.Timeout), ctx: ctx, stop: stop,
		artifacts: map[memo.Key]artifact{},
	}, nil
}

// Close ends the polling.
func (s *Source) Close() error {
	s.stop()
	s.memo.Close()
	return nil
}

// found is what a revision means.
type found struct {
	digest string
	tag    string
}

// Resolve gives the digest of the manifest that a revision means: a tag, a
// digest, a semver range; "latest" where it is empty.
func (s *Source) Resolve(ctx context.Context, spec source.Spec, cred source.Credentials) (source.Resolved, error) {
	revision := spec.Revision
	if revision == "" {
		revision = "latest"
	}
	key := memo.Key{Repo: spec.Repo, Question: revision, Credentials: cred.Fingerprint()}
	value, stale, err := s.memo.Get(ctx, key, func(ctx context.Context, _ memo.Answer) (memo.Answer, error) {
		repo, err := registry.Open(spec.Repo, cred)
		if err != nil {
			return memo.Answer{}, err
		}
		manifest, tag, err := repo.Find(ctx, revision)
		if err != nil {
			return memo.Answer{}, revisionError(spec.Repo, revision, cred, err)
		}
		return memo.Answer{Value: found{string(manifest.Digest), tag}, Version: string(manifest.Digest)}, nil
	})
	if err != nil {
		return source.Resolved{}, err
	}
	at := value.(found)
	return source.Resolved{Revision: at.digest, Ref: at.tag, Stale: stale}, nil
}

// revisionError says that a tag is missing where the registry only says "not
// found".
func revisionError(repo, revision string, cred source.Credentials, err error) error {
	err = registry.Explain(repo, cred, err)
	if source.ReasonOf(err) != source.ReasonNotFound {
		return err
	}
	return &source.Error{Reason: source.ReasonRevisionNotFound, Repo: cred.Mask(repo), Message: fmt.Sprintf(
		"there is no artifact %q: check the address and targetRevision", revision)}
}

// artifact is what is known of a manifest, which never changes.
type artifact struct {
	manifest ocispec.Manifest
	layer    ocispec.Descriptor
	chart    bool
}

// artifact reads a manifest once for each who may read it.
func (s *Source) artifact(ctx context.Context, spec source.Spec, digest string, cred source.Credentials) (artifact, error) {
	key := memo.Key{Repo: spec.Repo, Question: digest, Credentials: cred.Fingerprint()}
	s.mu.Lock()
	a, ok := s.artifacts[key]
	s.mu.Unlock()
	if ok {
		return a, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	a, err := readArtifact(ctx, spec.Repo, digest, cred)
	if err != nil {
		return artifact{}, registry.Explain(spec.Repo, cred, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.artifacts) >= maxArtifacts {
		clear(s.artifacts)
	}
	s.artifacts[key] = a
	return a, nil
}

func readArtifact(ctx context.Context, address, digest string, cred source.Credentials) (artifact, error) {
	repo, err := registry.Open(address, cred)
	if err != nil {
		return artifact{}, err
	}
	at, err := repo.Resolve(ctx, digest)
	if err != nil {
		return artifact{}, err
	}
	m, err := repo.Manifest(ctx, at)
	if err != nil {
		return artifact{}, err
	}
	layer, chart, err := registry.Content(m)
	return artifact{m, layer, chart}, err
}

// Fetch gives the content of an artifact.
func (s *Source) Fetch(ctx context.Context, spec source.Spec, at source.Resolved, cred source.Credentials) (source.Tree, error) {
	a, err := s.artifact(ctx, spec, at.Revision, cred)
	if err != nil {
		return nil, err
	}
	digest := strings.TrimPrefix(string(a.layer.Digest), "sha256:")
	if !s.store.Has(digest) {
		if err := s.download(ctx, spec.Repo, a, cred); err != nil {
			return nil, err
		}
	}
	tree, err := s.store.Tree(digest, a.chart, at.Revision)
	return tree, registry.Explain(spec.Repo, cred, err)
}

// download brings a layer into the store; all who want it share the download.
func (s *Source) download(ctx context.Context, address string, a artifact, cred source.Credentials) error {
	key := string(a.layer.Digest) + " " + address + " " + cred.Fingerprint()
	done := s.downloads.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(s.ctx, s.opts.Timeout)
		defer cancel()
		repo, err := registry.Open(address, cred)
		if err != nil {
			return nil, err
		}
		body, wanted, err := repo.Layer(ctx, a.layer, s.opts.Limits.PackedBytes)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		return s.store.Put(body, wanted)
	})
	select {
	case r := <-done:
		return registry.Explain(address, cred, r.Err)
	case <-ctx.Done():
		return fmt.Errorf("wait for the download from %s: %w", cred.Mask(address), ctx.Err())
	}
}

// Describe gives what the artifact's annotations say.
func (s *Source) Describe(ctx context.Context, spec source.Spec, at source.Resolved, cred source.Credentials) (source.Commit, error) {
	a, err := s.artifact(ctx, spec, at.Revision, cred)
	if err != nil {
		return source.Commit{}, err
	}
	notes := a.manifest.Annotations
	out := source.Commit{
		Revision: at.Revision,
		Author:   notes[ocispec.AnnotationAuthors],
		Date:     notes[ocispec.AnnotationCreated],
		Message:  notes[ocispec.AnnotationTitle],
	}
	for _, more := range []string{ocispec.AnnotationDescription, ocispec.AnnotationRevision, ocispec.AnnotationSource} {
		if text := notes[more]; text != "" {
			out.Message = strings.TrimSpace(out.Message + "\n" + text)
		}
	}
	if at.Ref != "" {
		out.Tags = []string{at.Ref}
	}
	return out, nil
}

// Watch calls moved when a tag that was resolved means something else.
func (s *Source) Watch(ctx context.Context, moved func(repo string)) { s.memo.Watch(ctx, moved) }

// Refresh asks a repository again now.
func (s *Source) Refresh(repo string) { s.memo.Refresh(repo) }

// Forget ends the asking about a repository that nobody uses any more.
func (s *Source) Forget(repo string) { s.memo.Forget(repo) }

// Prune removes artifacts that nobody used for that long.
func (s *Source) Prune(unused time.Duration) error { return s.store.Prune(unused) }
