package render

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"sync"

	"github.com/plumb-dev/plumb/internal/source"
)

// openedTree decrypts what is read of a tree.
type openedTree struct {
	source.Tree
	opened *Opened

	mu   sync.Mutex
	memo map[string][]byte // decrypted files by path
}

// ReadFile decrypts.
func (t *openedTree) ReadFile(name string) ([]byte, error) {
	t.mu.Lock()
	plain, known := t.memo[name]
	t.mu.Unlock()
	if known {
		return bytes.Clone(plain), nil
	}
	data, err := t.Tree.ReadFile(name)
	if err != nil || !bytes.Contains(data, []byte("sops")) {
		return data, err
	}
	if int64(len(data)) > t.opened.limits.FileBytes {
		return data, nil // whoever reads it refuses it
	}
	plain, secrets, err := t.opened.opener.Decrypt(name, data)
	if err != nil {
		return nil, At(name, 0, err)
	}
	t.opened.note(secrets)
	if secrets != nil {
		t.mu.Lock()
		t.memo[name] = bytes.Clone(plain)
		t.mu.Unlock()
	}
	return plain, nil
}

// Open gives a file whose content is decrypted.
func (t *openedTree) Open(name string) (fs.File, error) {
	f, err := t.Tree.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return f, nil //nolint:nilerr // whoever reads it hears of it
	}
	_ = f.Close()
	data, err := t.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &openedFile{Reader: bytes.NewReader(data), info: info}, nil
}

// noteDestination keeps the tree's own word of what a rendering looked at.
func (t *openedTree) noteDestination() {
	if n, ok := t.Tree.(interface{ noteDestination() }); ok {
		n.noteDestination()
	}
}

type openedFile struct {
	*bytes.Reader
	info fs.FileInfo
}

var _ io.ReadSeeker = (*openedFile)(nil)

func (f *openedFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openedFile) Close() error               { return nil }

// openedRemotes decrypts what is fetched from other repositories.
type openedRemotes struct {
	RemoteFetcher
	wrap func(source.Tree) source.Tree
}

func (r openedRemotes) FetchRepo(ctx context.Context, repo, revision string) (source.Tree, error) {
	t, err := r.RemoteFetcher.FetchRepo(ctx, repo, revision)
	if err != nil {
		return nil, err
	}
	return r.wrap(t), nil
}

type openedCharts struct {
	ChartFetcher
	wrap func(source.Tree) source.Tree
}

func (c openedCharts) FetchChart(ctx context.Context, repo, name, version string) (source.Tree, error) {
	t, err := c.ChartFetcher.FetchChart(ctx, repo, name, version)
	if err != nil {
		return nil, err
	}
	return c.wrap(t), nil
}
