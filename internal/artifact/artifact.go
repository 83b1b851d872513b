// Package artifact keeps texts that are too large for the API server in files, by
// the digest of their content. It does not know what they say, or who may read
// them: whoever knows a digest has seen where it is written.
package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// Store is a directory of texts.
type Store struct{ dir string }

// Open gives the store in a directory, which is made when it is needed.
func Open(dir string) *Store { return &Store{dir} }

// ErrUnknown says that there is no such text.
var ErrUnknown = errors.New("there is no such artifact")

var form = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Digest is the digest of a text.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (s *Store) path(digest string) (string, error) {
	if !form.MatchString(digest) {
		return "", fmt.Errorf("%q is no digest: %w", digest, ErrUnknown)
	}
	hash := digest[len("sha256:"):]
	return filepath.Join(s.dir, hash[:2], hash[2:]), nil
}

// Put keeps a text and gives its digest. A crash leaves all of it or nothing.
func (s *Store) Put(text string) (string, error) {
	digest := Digest(text)
	path, err := s.path(digest)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return digest, nil
	}
	if err := write(path, text); err != nil {
		return "", fmt.Errorf("keep an artifact: %w", err)
	}
	return digest, nil
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Get gives a text. One that is not what its digest says is an error.
func (s *Store) Get(digest string) (string, error) {
	path, err := s.path(digest)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", digest, ErrUnknown)
	}
	if err != nil {
		return "", fmt.Errorf("read an artifact: %w", err)
	}
	if Digest(string(text)) != digest {
		return "", fmt.Errorf("the artifact %s is damaged", digest)
	}
	return string(text), nil
}

// Remove forgets a text.
func (s *Store) Remove(digest string) error {
	path, err := s.path(digest)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an artifact: %w", err)
	}
	return nil
}
