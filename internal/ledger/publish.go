package ledger

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/transparency-dev/tessera/api/layout"
)

// Places of what a ledger gives to readers elsewhere, beside the tiles and bundles of
// the log, which are where tlog-tiles has them.
const (
	placeCheckpoint = layout.CheckpointPath
	placeKeys       = "keys"
	placeHandovers  = "handovers"
)

// Public is a file that readers elsewhere may have.
type Public struct {
	Content []byte
	// Lasting tells that it is the same for ever.
	Lasting bool
}

// maxPublicSize is more than any of these files has: a bundle of 256 entries of the
// largest size that the log can hold.
const maxPublicSize = 17 << 20

// ReadPublic gives what the ledger in a folder has at a place: its public keys, the
// checkpoint, a tile, a bundle of entries, or the last checkpoint of each earlier
// key. Nothing else in the folder has a place. What is not there is an error that
// wraps fs.ErrNotExist.
func ReadPublic(dir, place string) (Public, error) {
	switch place {
	case placeKeys:
		return readPublic(dir, publicFile, false)
	case placeCheckpoint:
		return readPublic(dir, path.Join(logDir, layout.CheckpointPath), false)
	case placeHandovers:
		content, err := handovers(dir)
		return Public{Content: content}, err
	}
	file, whole := tilePlace(place)
	if file == "" {
		return Public{}, fmt.Errorf("a ledger has nothing at this place: %w", fs.ErrNotExist)
	}
	return readPublic(dir, path.Join(logDir, file), whole)
}

// tilePlace gives the file of a tile or a bundle, written anew from what its place
// means, and whether it is a whole one; nothing for any other place.
func tilePlace(place string) (file string, whole bool) {
	rest, ok := strings.CutPrefix(place, "tile/")
	if !ok {
		return "", false
	}
	level, at, ok := strings.Cut(rest, "/")
	if !ok {
		return "", false
	}
	if level == "entries" {
		i, p, err := layout.ParseTileIndexPartial(at)
		if file = layout.EntriesPath(i, p); err != nil || file != place {
			return "", false
		}
		return file, p == 0
	}
	l, i, p, err := layout.ParseTileLevelIndexPartial(level, at)
	if err != nil {
		return "", false
	}
	if file = layout.TilePath(l, i, p); file != place {
		return "", false
	}
	return file, p == 0
}

func readPublic(dir, name string, lasting bool) (Public, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Public{}, fmt.Errorf("read the ledger: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return Public{}, fmt.Errorf("read the ledger: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxPublicSize {
		return Public{}, fmt.Errorf("read the ledger: %s is not a file of a ledger", filepath.Base(name))
	}
	content, err := root.ReadFile(name)
	if err != nil {
		return Public{}, fmt.Errorf("read the ledger: %w", err)
	}
	return Public{content, lasting}, nil
}

// handovers gives, for each key but the latest, the last checkpoint that it has
// signed: it commits to the entry that names the next key.
func handovers(dir string) ([]byte, error) {
	keys, err := ReadKeys(filepath.Join(dir, publicFile))
	if err != nil {
		return nil, err
	}
	last := map[uint32]string{}
	if len(keys.list) > 1 {
		err = readChain(dir, func(_ int, raw []byte) error {
			if id, ok := signedBy(raw, keys.origin); ok {
				last[id] = string(raw)
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	all := []string{}
	for _, v := range keys.list[:len(keys.list)-1] {
		if note, ok := last[v.KeyHash()]; ok {
			all = append(all, note)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("write checkpoints: %w", err)
	}
	return text, nil
}

// signedBy tells which key a signed note names, without verifying it.
func signedBy(raw []byte, origin string) (uint32, bool) {
	for line := range strings.Lines(string(raw)) {
		signature, ok := strings.CutPrefix(strings.TrimSpace(line), "— "+origin+" ")
		if !ok {
			continue
		}
		if b, err := base64.StdEncoding.DecodeString(signature); err == nil && len(b) > 4 {
			return binary.BigEndian.Uint32(b), true
		}
	}
	return 0, false
}

// errNotThere tells whether an error is of something that is not there.
func errNotThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
