package helmrepo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/plumb-dev/plumb/internal/source"
	"github.com/plumb-dev/plumb/internal/source/memo"
	"github.com/plumb-dev/plumb/internal/source/registry"
)

// body is a download under way.
type body = io.ReadCloser

// offer is a repository's index and what is needed to ask for a newer one.
type offer struct {
	index        *index
	etag, lastAt string
}

// findHTTP looks a chart up in the index of its repository, which all charts
// and revisions share.
func (s *Source) findHTTP(ctx context.Context, spec source.Spec, revision string, cred source.Credentials) (release, string, error) {
	key := memo.Key{Repo: spec.Repo, Question: "index", Credentials: cred.Fingerprint()}
	value, stale, err := s.memo.Get(ctx, key, func(ctx context.Context, before memo.Answer) (memo.Answer, error) {
		answer, err := s.readIndex(ctx, spec.Repo, cred, before)
		return answer, registry.Explain(spec.Repo, cred, err)
	})
	if err != nil {
		return release{}, "", err
	}
	v, err := value.(*offer).index.find(spec.Chart, revision)
	if err != nil {
		return release{}, "", &source.Error{Reason: source.ReasonRevisionNotFound, Repo: cred.Mask(spec.Repo), Message: err.Error()}
	}
	out := release{version: v.Version, describe: describe(v)}
	if digest := strings.TrimPrefix(strings.ToLower(v.Digest), "sha256:"); sha256Hex.MatchString(digest) {
		out.digest = digest
	}
	out.open = func(ctx context.Context) (body, error) { return s.openChart(ctx, spec.Repo, v, cred) }
	return out, stale, nil
}

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

func describe(v version) source.Commit {
	out := source.Commit{Revision: v.Version, Date: v.Created, Message: v.Description}
	var authors []string
	for _, m := range v.Maintainers {
		author := m.Name
		if m.Email != "" {
			author += " <" + m.Email + ">"
		}
		authors = append(authors, author)
	}
	out.Author = strings.Join(authors, ", ")
	return out
}

// openChart begins the download of an archive, from the first of its URLs that
// answers.
func (s *Source) openChart(ctx context.Context, repo string, v version, cred source.Credentials) (body, error) {
	var last error
	for _, ref := range v.URLs[:min(5, len(v.URLs))] {
		target, own, err := chartURL(repo, ref)
		if err != nil {
			return nil, refused(repo, cred, err.Error())
		}
		use := cred
		if !own {
			use = withoutSecrets(cred)
		}
		response, err := get(ctx, target, use, nil)
		if err == nil {
			return response.Body, nil
		}
		last = err
	}
	return nil, last
}

// withoutSecrets keeps only how to reach hosts, for one that the credentials
// are not meant for.
func withoutSecrets(cred source.Credentials) source.Credentials {
	return source.Credentials{Proxy: cred.Proxy, NoProxy: cred.NoProxy, CABundle: cred.CABundle, Insecure: cred.Insecure}
}

// get asks for a URL with credentials, which a redirect to another host does
// not take along.
func get(ctx context.Context, target string, cred source.Credentials, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, fmt.Errorf("the URL is not valid")
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", "plumb")
	authorize(request, cred)
	transport, err := registry.Transport(cred)
	if err != nil {
		return nil, err
	}
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > 5 {
			return fmt.Errorf("more than five redirects")
		}
		if next.URL.Scheme != "https" && next.URL.Scheme != request.URL.Scheme || next.URL.Host != request.URL.Host {
			next.Header.Del("Authorization")
		}
		return nil
	}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotModified {
		_ = response.Body.Close()
		return nil, &registry.StatusError{Code: response.StatusCode, URL: target}
	}
	return response, nil
}

func authorize(request *http.Request, cred source.Credentials) {
	switch {
	case cred.BearerToken != "":
		request.Header.Set("Authorization", "Bearer "+cred.BearerToken)
	case cred.Password != "" || cred.Username != "":
		request.SetBasicAuth(cred.Username, cred.Password)
	}
}

// readIndex gets a repository's index, or learns that it is the same as before.
func (s *Source) readIndex(ctx context.Context, repo string, cred source.Credentials, before memo.Answer) (memo.Answer, error) {
	known, _ := before.Value.(*offer)
	if known == nil {
		known = s.readCache(repo)
	}
	header := http.Header{}
	if known != nil && known.etag != "" {
		header.Set("If-None-Match", known.etag)
	}
	if known != nil && known.lastAt != "" {
		header.Set("If-Modified-Since", known.lastAt)
	}
	target, err := indexURL(repo)
	if err != nil {
		return memo.Answer{}, refused(repo, cred, err.Error())
	}
	response, err := get(ctx, target, cred, header)
	if err != nil {
		return memo.Answer{}, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotModified && known != nil {
		return memo.Answer{Value: known, Version: before.Version}, nil
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, s.opts.IndexBytes+1))
	if err != nil {
		return memo.Answer{}, fmt.Errorf("read index.yaml: %w", err)
	}
	if int64(len(raw)) > s.opts.IndexBytes {
		return memo.Answer{}, &source.Error{Reason: source.ReasonTooLarge, Message: fmt.Sprintf("index.yaml has more than %d bytes, which is the limit", s.opts.IndexBytes), Err: errTooLarge}
	}
	parsed, err := parseIndex(raw)
	if err != nil {
		return memo.Answer{}, refused(repo, cred, err.Error())
	}
	sum := sha256.Sum256(raw)
	fresh := &offer{index: parsed, etag: response.Header.Get("ETag"), lastAt: response.Header.Get("Last-Modified")}
	s.writeCache(repo, fresh, raw)
	return memo.Answer{Value: fresh, Version: hex.EncodeToString(sum[:])}, nil
}

func indexURL(repo string) (string, error) {
	u, err := url.Parse(repo)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("the repository's URL is not valid")
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/index.yaml"
	u.RawPath = ""
	return u.String(), nil
}

// cachedIndex is an index as it is kept on disk.
type cachedIndex struct {
	ETag         string `json:"etag"`
	LastModified string `json:"lastModified"`
	Index        []byte `json:"index"`
}

func (s *Source) cacheFile(repo string) string {
	sum := sha256.Sum256([]byte(repo))
	return filepath.Join(s.opts.CacheDir, "index-"+hex.EncodeToString(sum[:16])+".json")
}

// readCache gives the index of an earlier process. It is only used when the
// server, asked with the credentials, says that it still holds.
func (s *Source) readCache(repo string) *offer {
	raw, err := os.ReadFile(s.cacheFile(repo))
	if err != nil {
		return nil
	}
	var c cachedIndex
	if json.Unmarshal(raw, &c) != nil {
		return nil
	}
	parsed, err := parseIndex(c.Index)
	if err != nil {
		return nil
	}
	return &offer{index: parsed, etag: c.ETag, lastAt: c.LastModified}
}

// writeCache keeps an index for the next process; without it, that one only
// downloads more.
func (s *Source) writeCache(repo string, o *offer, index []byte) {
	if o.etag == "" && o.lastAt == "" {
		return
	}
	raw, err := json.Marshal(cachedIndex{o.etag, o.lastAt, index})
	if err != nil {
		return
	}
	tmp, err := os.CreateTemp(s.opts.CacheDir, ".new-")
	if err != nil {
		return
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(raw)
	if closed := tmp.Close(); err == nil && closed == nil {
		_ = os.Rename(tmp.Name(), s.cacheFile(repo))
	}
}
