package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Installed is a provider that init installed.
type Installed struct {
	Source  string // host/namespace/type
	Version string
	Path    string
}

// Find finds the binary of a provider in what init wrote (.terraform). The
// lock file says which version it is; where there is none, there must be only
// one.
func Find(dataDir, lockFile, source string) (*Installed, error) {
	dir := filepath.Join(dataDir, "providers", filepath.FromSlash(source))
	if !filepath.IsLocal(filepath.FromSlash(source)) {
		return nil, fmt.Errorf("%q is no source of a provider", source)
	}
	version, err := locked(lockFile, source)
	if err != nil {
		return nil, err
	}
	if version == "" {
		if version, err = onlyEntry(dir); err != nil {
			return nil, fmt.Errorf("the provider %s is not installed (run init): %w", source, err)
		}
	}
	platform := filepath.Join(dir, version, runtime.GOOS+"_"+runtime.GOARCH)
	path, err := binary(platform, source[strings.LastIndex(source, "/")+1:])
	if err != nil {
		return nil, fmt.Errorf("the provider %s %s is not installed (run init): %w", source, version, err)
	}
	return &Installed{Source: source, Version: version, Path: path}, nil
}

func onlyEntry(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("there are %d versions of it and no lock file to choose by", len(entries))
	}
	return entries[0].Name(), nil
}

func binary(dir, name string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		file := strings.TrimSuffix(entry.Name(), ".exe")
		if file == "terraform-provider-"+name || strings.HasPrefix(file, "terraform-provider-"+name+"_") {
			return filepath.Join(dir, entry.Name()), nil
		}
	}
	return "", fmt.Errorf("there is no terraform-provider-%s in its folder", name)
}

// locked is the version that a lock file chose; empty without the file, or if
// it does not name the provider.
func locked(lockFile, source string) (string, error) {
	text, err := os.ReadFile(lockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the lock file: %w", err)
	}
	if len(text) > maxLockFile {
		return "", fmt.Errorf("the lock file is larger than %d bytes", maxLockFile)
	}
	return lockedIn(string(text), source, filepath.Base(lockFile))
}

const maxLockFile = 1 << 20

// The lock file is written by a program, in one form. It comes from a
// repository, so nothing that can be made to take long reads it.
var (
	lockBlock   = regexp.MustCompile(`(?m)^\s*provider\s+"([^"\n]*)"\s*\{`)
	lockVersion = regexp.MustCompile(`(?m)^\s*version\s*=\s*"([^"\n]*)"`)
)

func lockedIn(text, source, file string) (string, error) {
	blocks := lockBlock.FindAllStringSubmatchIndex(text, -1)
	for i, at := range blocks {
		if text[at[2]:at[3]] != source {
			continue
		}
		end := len(text)
		if i+1 < len(blocks) {
			end = blocks[i+1][0]
		}
		version := lockVersion.FindStringSubmatch(text[at[1]:end])
		if version == nil || !filepath.IsLocal(version[1]) || strings.ContainsAny(version[1], `/\`) {
			return "", fmt.Errorf("the lock file %s has no version of %s", file, source)
		}
		return version[1], nil
	}
	return "", nil
}

// Hashes remembers the hashes of binaries for as long as these do not change.
type Hashes struct {
	mu    sync.Mutex
	known map[string]hashed
}

type hashed struct {
	size int64
	time time.Time
	hash string
}

// NewHashes returns an empty memory.
func NewHashes() *Hashes { return &Hashes{known: map[string]hashed{}} }

// Of returns the hash of a file's content.
func (h *Hashes) Of(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if k, ok := h.known[path]; ok && k.size == info.Size() && k.time.Equal(info.ModTime()) {
		return k.hash, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	k := hashed{size: info.Size(), time: info.ModTime(), hash: hex.EncodeToString(sum.Sum(nil))}
	h.known[path] = k
	return k.hash, nil
}
