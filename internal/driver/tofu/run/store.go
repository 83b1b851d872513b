package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The cache of providers (TF_PLUGIN_CACHE_DIR) is written by init in ways that
// those who use a provider meanwhile do not bear: it removes packages and makes
// them anew, or writes into them. So only init uses it, one at a time; after it
// the folder's links into the cache are turned to a store beside it, to which
// each package is copied once, and which nobody changes.

func cacheOf(shared string) string { return filepath.Join(shared, "cache") }
func storeOf(shared string) string { return filepath.Join(shared, "store") }

// detach turns the links of a folder's providers from the cache to the store.
// The caller holds the lock of the cache.
func detach(data, shared string) error {
	if shared == "" {
		return nil
	}
	cache, err := filepath.EvalSymlinks(cacheOf(shared))
	if err != nil {
		return fmt.Errorf("keep providers: %w", err)
	}
	links, err := filepath.Glob(filepath.Join(data, "providers", "*", "*", "*", "*", "*"))
	if err != nil {
		return fmt.Errorf("keep providers: %w", err)
	}
	for _, link := range links {
		if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			continue // a lock, or a copy of the folder's own
		}
		target, err := filepath.EvalSymlinks(link)
		if err != nil {
			return fmt.Errorf("keep providers: %w", err)
		}
		if name, below := strings.CutPrefix(target, cache+string(filepath.Separator)); below {
			if target, err = stored(target, storeOf(shared), name); err != nil {
				return fmt.Errorf("keep the provider %s: %w", name, err)
			}
		}
		if err := relink(link, target); err != nil {
			return fmt.Errorf("keep providers: %w", err)
		}
	}
	return nil
}

func relink(link, target string) error {
	if err := os.Remove(link + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, link+".new"); err != nil {
		return err
	}
	return os.Rename(link+".new", link)
}

// stored returns where a package is in the store, and puts it there if need be.
func stored(pack, store, name string) (string, error) {
	id, err := packageID(pack)
	if err != nil {
		return "", err
	}
	target := filepath.Join(store, name, id)
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(target), ".new-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	if err := copyPackage(pack, fresh); err != nil {
		return "", err
	}
	return target, os.Rename(fresh, target)
}

// packageID stands for what is in a package: names, sizes and times.
func packageID(pack string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(pack, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(pack, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%q %d %d %v\n", name, info.Size(), info.ModTime().UnixNano(), info.Mode())
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:12]), err
}

func copyPackage(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case d.Type().IsRegular():
			return copyFile(path, target)
		default:
			return fmt.Errorf("%s is not a regular file", name)
		}
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm()&0o500|0o400)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// lockCache lets one init at a time, of any process, write to a cache of
// providers: the programs do not see to it themselves.
func lockCache(ctx context.Context, cache string) (unlock func(), err error) {
	if cache == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return nil, fmt.Errorf("make the cache of providers: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(cache, ".plumb.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the cache of providers: %w", err)
	}
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("lock the cache of providers: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, &Error{Kind: KindCancelled, Operation: "init", Cause: fmt.Errorf("wait for the cache of providers: %w", context.Cause(ctx))}
		case <-time.After(glance):
		}
	}
}
