package git

import (
	"context"
	"fmt"
	"path"
	"strconv"

	"github.com/plumb-dev/plumb/internal/source"
)

var _ source.Compared = (*Source)(nil)

// Differences compares two commits by the ids of what they hold: what is the same in
// both is not looked into.
func (s *Source) Differences(ctx context.Context, spec source.Spec, from, to source.Resolved, cred source.Credentials, most int) (map[string]source.Difference, error) {
	d := comparison{ctx: ctx, most: most, found: map[string]source.Difference{}}
	var roots [2]*objectID
	for i, at := range []source.Resolved{from, to} {
		t, err := s.fetch(ctx, spec.Repo, at, cred, 0)
		if err != nil {
			return nil, err
		}
		c, err := t.commit()
		if err != nil {
			return nil, explain(spec.Repo, cred, err)
		}
		d.trees[i], roots[i] = t, &c.tree
	}
	if err := d.directories("", roots[0], roots[1], 0); err != nil {
		return nil, fmt.Errorf("compare %s with %s: %w", from.Revision, to.Revision, explain(spec.Repo, cred, err))
	}
	return d.found, nil
}

// comparison of two trees.
type comparison struct {
	ctx   context.Context
	trees [2]*tree
	most  int
	found map[string]source.Difference
}

// maxFolders is how deep folders are looked into.
const maxFolders = 1000

// directories compares two folders, of which one may not be there.
func (d *comparison) directories(at string, from, to *objectID, depth int) error {
	if from != nil && to != nil && *from == *to {
		return nil
	}
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if depth > maxFolders {
		return fmt.Errorf("%w: folders in folders, over %d deep", errMalformed, maxFolders)
	}
	var entries [2]map[string]entry
	names := map[string]bool{}
	for i, id := range []*objectID{from, to} {
		entries[i] = map[string]entry{}
		if id == nil {
			continue
		}
		dir, err := d.trees[i].directory(*id)
		if err != nil {
			return err
		}
		for _, e := range dir.entries {
			entries[i][e.name], names[e.name] = e, true
		}
	}
	for name := range names {
		a, hadA := entries[0][name]
		b, hasB := entries[1][name]
		if hadA && hasB && a.mode == b.mode && a.id == b.id {
			continue
		}
		if err := d.entries(path.Join(at, name), a, b, hadA, hasB, depth); err != nil {
			return err
		}
	}
	return nil
}

func (d *comparison) entries(at string, a, b entry, had, has bool, depth int) error {
	var from, to *objectID
	var file source.Difference
	if had && a.isDir() {
		from = &a.id
	} else if had {
		file.From = described(a)
	}
	if has && b.isDir() {
		to = &b.id
	} else if has {
		file.To = described(b)
	}
	if file != (source.Difference{}) {
		if len(d.found) >= d.most {
			return fmt.Errorf("over %d files differ", d.most)
		}
		d.found[at] = file
	}
	if from == nil && to == nil {
		return nil
	}
	return d.directories(at, from, to, depth+1)
}

func described(e entry) string { return strconv.FormatUint(uint64(e.mode), 8) + " " + e.id.String() }
