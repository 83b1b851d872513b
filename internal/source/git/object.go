package git

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"
	"time"
)

// objectID is a Git object's name, of SHA-1 or SHA-256.
type objectID struct {
	raw  [32]byte
	size uint8
}

func parseID(s string) (objectID, bool) {
	var id objectID
	if !fullID.MatchString(s) {
		return id, false
	}
	n, err := hex.Decode(id.raw[:], []byte(s))
	id.size = uint8(n)
	return id, err == nil
}

func (id objectID) String() string { return hex.EncodeToString(id.raw[:id.size]) }

// The modes of tree entries.
const (
	modeDir     = 0o040000
	modeLink    = 0o120000
	modeGitlink = 0o160000
	modeType    = 0o170000
)

// entry is one name in a tree object.
type entry struct {
	name string
	mode uint32
	id   objectID
}

func (e entry) isDir() bool     { return e.mode&modeType == modeDir }
func (e entry) isLink() bool    { return e.mode&modeType == modeLink }
func (e entry) isGitlink() bool { return e.mode&modeType == modeGitlink }

// fileMode gives the mode as the operating system would show it in a checkout.
func (e entry) fileMode() fs.FileMode {
	switch {
	case e.isDir(), e.isGitlink():
		return fs.ModeDir | 0o755
	case e.isLink():
		return fs.ModeSymlink | 0o777
	case e.mode&0o111 != 0:
		return 0o755
	}
	return 0o644
}

// directory is a parsed tree object: its entries sorted by name.
type directory struct {
	entries []entry
	cost    int64
}

func (d *directory) find(name string) (entry, bool) {
	i := sort.Search(len(d.entries), func(i int) bool { return d.entries[i].name >= name })
	if i < len(d.entries) && d.entries[i].name == name {
		return d.entries[i], true
	}
	return entry{}, false
}

var errMalformed = errors.New("malformed object")

// parseTree reads a tree object whose ids have idSize bytes. Trees that no
// checkout could hold (names with a slash, "..", twice the same) are refused.
func parseTree(raw []byte, idSize int) (*directory, error) {
	text := string(raw) // one copy; the names are parts of it
	d := &directory{entries: make([]entry, 0, len(raw)/(idSize+16)+1)}
	for at := 0; at < len(text); {
		space := strings.IndexByte(text[at:], ' ')
		if space < 5 || space > 6 {
			return nil, fmt.Errorf("%w: tree entry without mode", errMalformed)
		}
		mode, err := strconv.ParseUint(text[at:at+space], 8, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: tree entry's mode %q", errMalformed, clip(text[at:at+space], 10))
		}
		at += space + 1
		end := strings.IndexByte(text[at:], 0)
		if end < 0 || at+end+1+idSize > len(text) {
			return nil, fmt.Errorf("%w: tree entry cut short", errMalformed)
		}
		e := entry{name: text[at : at+end], mode: uint32(mode)}
		if e.name == "" || e.name == "." || e.name == ".." || strings.Contains(e.name, "/") {
			return nil, fmt.Errorf("%w: tree entry named %q", errMalformed, clip(e.name, 80))
		}
		at += end + 1
		e.id.size = uint8(copy(e.id.raw[:], text[at:at+idSize]))
		at += idSize
		d.entries = append(d.entries, e)
	}
	sort.Slice(d.entries, func(i, j int) bool { return d.entries[i].name < d.entries[j].name })
	for i := 1; i < len(d.entries); i++ {
		if d.entries[i].name == d.entries[i-1].name {
			return nil, fmt.Errorf("%w: tree with two entries named %q", errMalformed, clip(d.entries[i].name, 80))
		}
	}
	d.cost = int64(len(text)) + int64(cap(d.entries))*64 + 64
	return d, nil
}

// commit is the parsed part of a commit object.
type commit struct {
	tree      objectID
	author    string
	committer string
	date      time.Time
	message   string
}

func parseCommit(raw []byte) (*commit, error) {
	head, message, _ := bytes.Cut(raw, []byte("\n\n"))
	c := &commit{message: strings.ToValidUTF8(strings.TrimSpace(clip(string(message), 4096)), "\uFFFD")}
	for line := range strings.Lines(string(head)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "tree":
			id, ok := parseID(value)
			if !ok {
				return nil, fmt.Errorf("%w: commit's tree %q", errMalformed, clip(value, 80))
			}
			c.tree = id
		case "author":
			if c.author == "" {
				c.author, c.date = parseSignature(value)
			}
		case "committer":
			if c.committer == "" {
				c.committer, _ = parseSignature(value)
			}
		}
	}
	if c.tree.size == 0 {
		return nil, fmt.Errorf("%w: commit without tree", errMalformed)
	}
	return c, nil
}

// parseSignature reads "Name <mail> seconds zone".
func parseSignature(s string) (who string, when time.Time) {
	end := strings.LastIndexByte(s, '>')
	if end < 0 {
		return strings.ToValidUTF8(clip(s, 300), "\uFFFD"), time.Time{}
	}
	who = strings.ToValidUTF8(clip(s[:end+1], 300), "\uFFFD")
	fields := strings.Fields(s[end+1:])
	if len(fields) == 0 {
		return who, time.Time{}
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return who, time.Time{}
	}
	zone := time.UTC
	if len(fields) > 1 && len(fields[1]) == 5 {
		if n, err := strconv.Atoi(fields[1]); err == nil {
			zone = time.FixedZone("", (n/100*60+n%100)*60)
		}
	}
	return who, time.Unix(seconds, 0).In(zone)
}
