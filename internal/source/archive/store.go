package archive

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/source"
)

// Store keeps archives on disk by the digest of their bytes, and the unpacked
// ones that were read last in memory. Several processes may share its
// directory.
type Store struct {
	dir    string
	limits Limits
	memory int64 // bound of the unpacked archives in memory

	mu     sync.Mutex
	bytes  int64
	order  *list.List
	loaded map[string]*list.Element
}

type loadedArchive struct {
	key  string
	once sync.Once
	c    *content
	err  error
	cost int64
}

// memoryBytes bounds the unpacked archives kept in memory, beyond the last one.
const memoryBytes = 128 << 20

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// NewStore keeps archives in a directory.
func NewStore(dir string, limits Limits) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("archive store: %w", err)
	}
	return &Store{dir: dir, limits: limits.WithDefaults(), memory: memoryBytes, order: list.New(), loaded: map[string]*list.Element{}}, nil
}

func (s *Store) path(digest string) string { return filepath.Join(s.dir, digest+".tgz") }

// Has tells whether an archive is there, and marks it as used.
func (s *Store) Has(digest string) bool {
	if !digestForm.MatchString(digest) {
		return false
	}
	now := time.Now()
	return os.Chtimes(s.path(digest), now, now) == nil
}

// Put keeps what the reader gives, which must have the wanted digest (SHA-256
// in hex) unless that is empty, and returns its digest.
func (s *Store) Put(r io.Reader, wanted string) (string, error) {
	tmp, err := os.CreateTemp(s.dir, ".new-")
	if err != nil {
		return "", fmt.Errorf("archive store: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(tmp, hash), io.LimitReader(r, s.limits.PackedBytes+1))
	if err != nil {
		return "", fmt.Errorf("download the archive: %w", err)
	}
	if n > s.limits.PackedBytes {
		return "", &source.Error{Reason: source.ReasonTooLarge, Message: fmt.Sprintf("the archive has more than %d bytes, which is the limit", s.limits.PackedBytes)}
	}
	digest := hex.EncodeToString(hash.Sum(nil))
	if wanted != "" && digest != wanted {
		return "", &source.Error{Reason: source.ReasonRefused, Message: fmt.Sprintf(
			"the archive's digest is sha256:%s, but sha256:%s was announced: it was changed on the way or after it was published", digest, wanted)}
	}
	if err := tmp.Close(); err != nil {
		return "", fmt.Errorf("archive store: %w", err)
	}
	if err := os.Rename(tmp.Name(), s.path(digest)); err != nil {
		return "", fmt.Errorf("archive store: %w", err)
	}
	return digest, nil
}

// Tree gives the content of an archive that is there. With top, the first
// directory of all names is left off.
func (s *Store) Tree(digest string, top bool, revision string) (source.Tree, error) {
	if _, err := s.load(digest, top); err != nil {
		return nil, err
	}
	return &tree{store: s, digest: digest, top: top, revision: revision}, nil
}

// load unpacks an archive, unless it is in memory. An archive that is damaged
// on disk is removed, so that it is fetched again.
func (s *Store) load(digest string, top bool) (*content, error) {
	key := fmt.Sprint(digest, top)
	s.mu.Lock()
	e, ok := s.loaded[key]
	if ok {
		s.order.MoveToFront(e)
	} else {
		e = s.order.PushFront(&loadedArchive{key: key})
		s.loaded[key] = e
	}
	s.mu.Unlock()
	l := e.Value.(*loadedArchive)
	l.once.Do(func() {
		l.c, l.err = s.read(digest, top)
		s.settle(e, l)
	})
	return l.c, l.err
}

// settle counts what was loaded, and lets go of what is over the bound.
func (s *Store) settle(e *list.Element, l *loadedArchive) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.err != nil {
		s.order.Remove(e)
		delete(s.loaded, l.key)
		return
	}
	l.cost = l.c.bytes + 4096
	s.bytes += l.cost
	for s.bytes > s.memory && s.order.Len() > 1 {
		last := s.order.Back()
		old := last.Value.(*loadedArchive)
		s.order.Remove(last)
		delete(s.loaded, old.key)
		s.bytes -= old.cost
	}
}

func (s *Store) read(digest string, top bool) (*content, error) {
	if !digestForm.MatchString(digest) {
		return nil, fmt.Errorf("archive store: %q is not a digest", clip(digest))
	}
	f, err := os.Open(s.path(digest))
	if err != nil {
		return nil, fmt.Errorf("archive store: %w", err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return nil, fmt.Errorf("archive store: %w", err)
	}
	if hex.EncodeToString(hash.Sum(nil)) != digest {
		_ = os.Remove(s.path(digest))
		return nil, fmt.Errorf("archive store: %w: the file of sha256:%s is damaged and was removed", fs.ErrNotExist, digest)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("archive store: %w", err)
	}
	return unpack(f, top, s.limits)
}

// Prune removes archives that nobody used for that long.
func (s *Store) Prune(unused time.Duration) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("archive store: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.IsDir() || time.Since(info.ModTime()) < unused {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("archive store: %w", err)
		}
	}
	return nil
}
