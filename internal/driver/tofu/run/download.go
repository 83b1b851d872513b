package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opentofu/tofudl"
)

// Download says where OpenTofu is to be downloaded to, and from.
type Download struct {
	// Dir keeps what was downloaded, by version.
	Dir string
	// Version is the newest stable one where it is empty.
	Version string
	// Options of the downloader: mirrors, keys. The signature of the release is
	// verified in any case.
	Options []tofudl.ConfigOpt
}

// FindOrDownload is Find, and where nothing is found and OpenTofu would do,
// downloads that.
func FindOrDownload(ctx context.Context, tool string, path []string, d Download) (string, error) {
	program, err := Find(tool, path)
	if err == nil || !errors.Is(err, ErrNotFound) || tool == "terraform" {
		return program, err
	}
	return d.get(ctx)
}

// get returns a downloaded program. Several processes may ask at once.
func (d Download) get(ctx context.Context) (string, error) {
	if program := d.kept(); program != "" {
		return program, nil
	}
	unlock, err := lockCache(ctx, d.Dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	if program := d.kept(); program != "" {
		return program, nil
	}
	downloader, err := tofudl.New(d.Options...)
	if err != nil {
		return "", fmt.Errorf("download OpenTofu: %w", err)
	}
	var opts []tofudl.DownloadOpt
	if d.Version != "" {
		opts = append(opts, tofudl.DownloadOptVersion(tofudl.Version(d.Version)))
	}
	binary, err := downloader.Download(ctx, opts...)
	if err != nil {
		return "", &Error{Kind: KindRegistry, Operation: "download", Cause: fmt.Errorf("no tofu or terraform is on the PATH, and OpenTofu can't be downloaded: %w", err)}
	}
	return d.keep(binary)
}

// kept looks for what was downloaded before: that version, or where none is
// asked for, the one downloaded last.
func (d Download) kept() string {
	if d.Version != "" {
		program := filepath.Join(d.Dir, d.Version, "tofu")
		if _, err := os.Stat(program); err == nil {
			return program
		}
		return ""
	}
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return ""
	}
	var newest string
	var when time.Time
	for _, entry := range entries {
		program := filepath.Join(d.Dir, entry.Name(), "tofu")
		if info, err := os.Stat(program); err == nil && info.ModTime().After(when) {
			newest, when = program, info.ModTime()
		}
	}
	return newest
}

func (d Download) keep(binary []byte) (string, error) {
	version := d.Version
	if version == "" {
		version = "latest"
	}
	if strings.ContainsAny(version, `/\`) || strings.HasPrefix(version, ".") {
		return "", fmt.Errorf("download OpenTofu: %q is not a version", version)
	}
	dir := filepath.Join(d.Dir, version)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("keep OpenTofu: %w", err)
	}
	program := filepath.Join(dir, "tofu")
	if err := writeSecret(program+".new", binary); err != nil {
		return "", fmt.Errorf("keep OpenTofu: %w", err)
	}
	if err := errors.Join(os.Chmod(program+".new", 0o700), os.Rename(program+".new", program)); err != nil { //nolint:gosec // it is to be executed
		return "", fmt.Errorf("keep OpenTofu: %w", err)
	}
	return program, nil
}
