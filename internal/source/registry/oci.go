package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/plumb-dev/plumb/internal/source"
)

// Repository is a repository in an OCI registry.
type Repository struct {
	*remote.Repository
}

// The bounds of what a registry may answer.
const (
	maxTags          = 100_000
	maxManifestBytes = 4 << 20
)

// ChartLayer and the others are the media types of layers that hold content.
const (
	ChartLayer       = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	legacyChartLayer = "application/tar+gzip"
	fluxLayer        = "application/vnd.cncf.flux.content.v1.tar+gzip"
)

// Open gives a repository by its address, with or without "oci://".
func Open(address string, cred source.Credentials) (*Repository, error) {
	repo, err := remote.NewRepository(strings.TrimPrefix(strings.TrimSuffix(address, "/"), "oci://"))
	if err != nil {
		return nil, &source.Error{Reason: source.ReasonRefused, Repo: cred.Mask(address), Message: "this is no address in an OCI registry (oci://host/path)"}
	}
	if repo.Reference.Reference != "" {
		return nil, &source.Error{Reason: source.ReasonRefused, Repo: cred.Mask(address), Message: "the address must not hold a tag or digest: put that into targetRevision"}
	}
	transport, err := Transport(cred)
	if err != nil {
		return nil, err
	}
	transport.DisableKeepAlives = true
	client := &auth.Client{Client: &http.Client{Transport: transport}, Cache: auth.NewCache()}
	client.SetUserAgent("plumb")
	if cred.Username != "" || cred.Password != "" || cred.BearerToken != "" {
		client.Credential = auth.StaticCredential(repo.Reference.Registry, auth.Credential{
			Username: cred.Username, Password: cred.Password, AccessToken: cred.BearerToken,
		})
	}
	repo.Client = client
	repo.PlainHTTP = cred.InsecureOCIForceHTTP
	repo.MaxMetadataBytes = maxManifestBytes
	return &Repository{repo}, nil
}

// AllTags lists the tags. By convention a "_" in a tag stands for the "+" of
// semver.
func (r *Repository) AllTags(ctx context.Context) ([]string, error) {
	var all []string
	err := r.Tags(ctx, "", func(tags []string) error {
		all = append(all, tags...)
		if len(all) > maxTags {
			return fmt.Errorf("over %d tags", maxTags)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the tags: %w", err)
	}
	return all, nil
}

// Find gives the manifest that a revision means: a digest, a tag, or a semver
// range over the tags; tag is the one it came from.
func (r *Repository) Find(ctx context.Context, revision string) (manifest ocispec.Descriptor, tag string, err error) {
	if strings.HasPrefix(revision, "sha256:") {
		manifest, err = r.Resolve(ctx, revision)
		return manifest, "", err
	}
	if !IsRange(revision) {
		tag = strings.ReplaceAll(revision, "+", "_")
		manifest, err = r.Resolve(ctx, tag)
		return manifest, tag, err
	}
	tags, err := r.AllTags(ctx)
	if err != nil {
		return manifest, "", err
	}
	tag, ok := Newest(tags, revision)
	if !ok {
		return manifest, "", &source.Error{Reason: source.ReasonRevisionNotFound, Message: fmt.Sprintf(
			"no version fits %q: there are %d tags%s", revision, len(tags), some(tags))}
	}
	manifest, err = r.Resolve(ctx, tag)
	return manifest, tag, err
}

// IsRange tells whether a revision is a semver range rather than a name.
func IsRange(revision string) bool {
	if _, err := semver.NewVersion(revision); err == nil {
		return false
	}
	_, err := semver.NewConstraint(revision)
	return err == nil
}

// Newest gives the highest of the versions (or tags) in a range.
func Newest(versions []string, wanted string) (string, bool) {
	constraint, err := semver.NewConstraint(wanted)
	if err != nil {
		return "", false
	}
	var best *semver.Version
	name := ""
	for _, v := range versions {
		version, err := semver.NewVersion(strings.ReplaceAll(v, "_", "+"))
		if err == nil && constraint.Check(version) && (best == nil || version.GreaterThan(best)) {
			best, name = version, v
		}
	}
	return name, best != nil
}

func some(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	last := slices.Clone(tags[max(0, len(tags)-3):])
	return ", for example " + strings.Join(last, ", ")
}

// Manifest reads an artifact's manifest.
func (r *Repository) Manifest(ctx context.Context, at ocispec.Descriptor) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if at.MediaType == ocispec.MediaTypeImageIndex || strings.Contains(at.MediaType, "manifest.list") {
		return m, &source.Error{Reason: source.ReasonRefused, Message: "this is an image for several platforms, not an artifact with manifests or a chart"}
	}
	if at.Size > maxManifestBytes {
		return m, &source.Error{Reason: source.ReasonTooLarge, Message: fmt.Sprintf("the artifact's manifest has %d bytes, over the limit of %d", at.Size, maxManifestBytes)}
	}
	raw, err := content.FetchAll(ctx, r.Repository, at)
	if err != nil {
		return m, fmt.Errorf("read the artifact's manifest: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("read the artifact's manifest: %w", err)
	}
	return m, nil
}

// Content chooses the one layer that holds the content; chart tells whether it
// is a packed Helm chart.
func Content(m ocispec.Manifest) (layer ocispec.Descriptor, chart bool, err error) {
	if len(m.Layers) > 50 {
		return layer, false, &source.Error{Reason: source.ReasonRefused, Message: fmt.Sprintf("the artifact has %d layers, over the limit of 50", len(m.Layers))}
	}
	found := 0
	var kinds []string
	for _, l := range m.Layers {
		kinds = append(kinds, l.MediaType)
		switch l.MediaType {
		case ChartLayer, legacyChartLayer:
			layer, chart = l, l.MediaType == ChartLayer || m.Config.MediaType == "application/vnd.cncf.helm.config.v1+json"
			found++
		case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, fluxLayer:
			layer = l
			found++
		}
	}
	if found != 1 {
		return layer, false, &source.Error{Reason: source.ReasonRefused, Message: fmt.Sprintf(
			"an artifact must have one layer with a tar archive, this one has %d (its layers are %s)", found, strings.Join(kinds, ", "))}
	}
	return layer, chart, nil
}

// Layer opens a layer's bytes. Who reads them checks the digest.
func (r *Repository) Layer(ctx context.Context, layer ocispec.Descriptor, limit int64) (io.ReadCloser, string, error) {
	digest, ok := strings.CutPrefix(string(layer.Digest), "sha256:")
	if !ok {
		return nil, "", errors.New("the layer's digest is not SHA-256")
	}
	if layer.Size > limit {
		return nil, "", &source.Error{Reason: source.ReasonTooLarge, Message: fmt.Sprintf("the artifact has %d bytes, over the limit of %d", layer.Size, limit)}
	}
	body, err := r.Blobs().Fetch(ctx, layer)
	if err != nil {
		return nil, "", fmt.Errorf("download the artifact: %w", err)
	}
	return body, digest, nil
}
