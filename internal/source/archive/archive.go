// Package archive gives source trees over tar archives: Helm charts and OCI
// artifacts. Archives stay on disk, packed, under the digest of their content,
// and are unpacked into memory when they are read. It knows nothing of where
// they come from.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"
	"time"
)

// Limits bound what an archive may hold. Zero means the default.
type Limits struct {
	PackedBytes int64 // the archive itself, default 64 MiB
	FileBytes   int64 // one file in it, default 10 MiB
	TotalBytes  int64 // all files, default 100 MiB
	Entries     int   // default 20,000
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	if l.PackedBytes == 0 {
		l.PackedBytes = 64 << 20
	}
	if l.FileBytes == 0 {
		l.FileBytes = 10 << 20
	}
	if l.TotalBytes == 0 {
		l.TotalBytes = 100 << 20
	}
	if l.Entries == 0 {
		l.Entries = 20_000
	}
	return l
}

// node is a file or directory. Files over the limit are there without content,
// so that only who reads them fails.
type node struct {
	name    string
	id      string
	size    int64
	exec    bool
	tooBig  bool
	when    time.Time
	content []byte
	entries map[string]*node // nil for a file
	sorted  []*node
}

func (n *node) isDir() bool { return n.entries != nil }

func newDir(name string) *node { return &node{name: name, entries: map[string]*node{}} }

// content is an unpacked archive.
type content struct {
	root  *node
	bytes int64
}

// unpack reads a tar archive, gzipped or not. Where top says so, the first
// directory of every name is left off, as charts are packed.
func unpack(r io.Reader, top bool, limits Limits) (*content, error) {
	buffered := bufio.NewReader(r)
	if magic, err := buffered.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
		defer unzipped.Close()
		buffered = bufio.NewReader(unzipped)
	}
	// What is skipped (headers, files too large) costs time, so it is bounded too.
	bounded := &io.LimitedReader{R: buffered, N: limits.TotalBytes*2 + 16<<20}
	c := &content{root: newDir(".")}
	reader := tar.NewReader(bounded)
	for entries := 0; ; entries++ {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && entries >= limits.Entries {
			return nil, fmt.Errorf("archive: over %d entries", limits.Entries)
		}
		if err != nil {
			err = fmt.Errorf("archive: %w", err)
		} else {
			err = c.add(header, reader, top, limits)
		}
		if err != nil && bounded.N <= 0 {
			return nil, fmt.Errorf("archive: unpacks to more than %d bytes", limits.TotalBytes)
		}
		if err != nil {
			return nil, err
		}
	}
	c.root.seal()
	return c, nil
}

func (c *content) add(header *tar.Header, r io.Reader, top bool, limits Limits) error {
	switch header.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir, tar.TypeXGlobalHeader, tar.TypeXHeader:
		return nil
	case tar.TypeSymlink, tar.TypeLink:
		return fmt.Errorf("archive: %q is a link: links in archives are not followed", clip(header.Name))
	default:
		return fmt.Errorf("archive: %q is neither file nor directory", clip(header.Name))
	}
	parts, err := splitName(header.Name, top)
	if err != nil || len(parts) == 0 {
		return err
	}
	dir := c.root
	for _, part := range parts[:len(parts)-1] {
		next, ok := dir.entries[part]
		if !ok {
			next = newDir(part)
			dir.entries[part] = next
		}
		if !next.isDir() {
			return fmt.Errorf("archive: %q is both a file and a directory", clip(header.Name))
		}
		dir = next
	}
	name := parts[len(parts)-1]
	if old, ok := dir.entries[name]; ok && old.isDir() {
		return fmt.Errorf("archive: %q is both a file and a directory", clip(header.Name))
	}
	file := &node{name: name, size: header.Size, exec: header.Mode&0o111 != 0, when: header.ModTime.UTC()}
	dir.entries[name] = file
	return c.fill(file, r, limits)
}

func (c *content) fill(file *node, r io.Reader, limits Limits) error {
	hash := sha256.New()
	if file.size > limits.FileBytes {
		file.tooBig = true
		if _, err := io.Copy(hash, r); err != nil {
			return fmt.Errorf("archive: read %q: %w", file.name, err)
		}
	} else {
		c.bytes += file.size
		if c.bytes > limits.TotalBytes {
			return fmt.Errorf("archive: unpacks to more than %d bytes", limits.TotalBytes)
		}
		file.content = make([]byte, file.size)
		if _, err := io.ReadFull(r, file.content); err != nil {
			return fmt.Errorf("archive: read %q: %w", file.name, err)
		}
		hash.Write(file.content)
	}
	file.id = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// splitName gives the parts of an entry's name, refusing those that leave the
// archive.
func splitName(name string, top bool) ([]string, error) {
	if strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\\x00") || len(name) > 4096 {
		return nil, fmt.Errorf("archive: the name %q is not allowed", clip(name))
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			return nil, fmt.Errorf("archive: the name %q leads out of the archive", clip(name))
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) > 100 {
		return nil, fmt.Errorf("archive: the name %q is nested too deeply", clip(name))
	}
	if top {
		if len(parts) == 1 {
			return nil, fmt.Errorf("archive: %q is outside of the chart's directory", clip(name))
		}
		if len(parts) > 0 {
			parts = parts[1:]
		}
	}
	return parts, nil
}

// seal sorts the directories and gives them identities, from the leaves up.
func (n *node) seal() {
	if !n.isDir() {
		return
	}
	hash := sha256.New()
	for _, e := range n.entries {
		e.seal()
		n.sorted = append(n.sorted, e)
	}
	sort.Slice(n.sorted, func(i, j int) bool { return n.sorted[i].name < n.sorted[j].name })
	for _, e := range n.sorted {
		fmt.Fprintf(hash, "%t %t %s %q\n", e.isDir(), e.exec, e.id, e.name)
	}
	n.id = hex.EncodeToString(hash.Sum(nil))
}

// find gives what is at a clean path, or nil.
func (n *node) find(name string) *node {
	if name = path.Clean(name); name == "." {
		return n
	}
	for part := range strings.SplitSeq(name, "/") {
		if n = n.entries[part]; n == nil {
			return nil
		}
	}
	return n
}

func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
