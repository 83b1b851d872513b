package helmrepo

import (
	"context"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/memo"
	"github.com/plumb-dev/plumb/internal/source/registry"
)

// findOCI looks a chart up in a registry: a version is a tag.
func (s *Source) findOCI(ctx context.Context, spec source.Spec, revision string, cred source.Credentials) (release, string, error) {
	address := strings.TrimSuffix(spec.Repo, "/") + "/" + spec.Chart
	key := memo.Key{Repo: spec.Repo, Question: spec.Chart + " " + revision, Credentials: cred.Fingerprint()}
	value, stale, err := s.memo.Get(ctx, key, func(ctx context.Context, _ memo.Answer) (memo.Answer, error) {
		found, digest, err := s.lookUp(ctx, address, revision, cred)
		err = registry.Explain(address, cred, err)
		if source.ReasonOf(err) == source.ReasonNotFound {
			err = &source.Error{Reason: source.ReasonRevisionNotFound, Repo: cred.Mask(spec.Repo), Message: fmt.Sprintf(
				"there is no chart %s with version %q: check the address, the chart's name and targetRevision", spec.Chart, revision)}
		}
		return memo.Answer{Value: found, Version: digest}, err
	})
	if err != nil {
		return release{}, "", err
	}
	return value.(release), stale, nil
}

// lookUp reads the manifest of the version that a revision means.
func (s *Source) lookUp(ctx context.Context, address, revision string, cred source.Credentials) (release, string, error) {
	repo, err := registry.Open(address, cred)
	if err != nil {
		return release{}, "", err
	}
	if revision == "" {
		revision = "*"
	}
	at, tag, err := repo.Find(ctx, revision)
	if err != nil {
		return release{}, "", err
	}
	m, err := repo.Manifest(ctx, at)
	if err != nil {
		return release{}, "", err
	}
	layer, _, err := registry.Content(m)
	if err != nil {
		return release{}, "", err
	}
	version := strings.ReplaceAll(tag, "_", "+")
	if version == "" {
		version = revision
	}
	notes := m.Annotations
	out := release{
		version: version,
		digest:  strings.TrimPrefix(string(layer.Digest), "sha256:"),
		describe: source.Commit{
			Revision: version, Author: notes[ocispec.AnnotationAuthors],
			Date: notes[ocispec.AnnotationCreated], Message: notes[ocispec.AnnotationDescription],
		},
		open: func(ctx context.Context) (body, error) {
			b, _, err := repo.Layer(ctx, layer, s.opts.Limits.PackedBytes)
			return b, err
		},
	}
	return out, string(at.Digest), nil
}
