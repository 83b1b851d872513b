package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/plumb-dev/plumb/internal/source"
)

// lineage compares what a branch has become with what was looked at in a pull request.
type lineage struct {
	history
	compared source.Compared
	// head is the commit that was looked at, left, where it had left the branch. It is
	// empty where that is to be found, for the last commit that came by it; told is what
	// the host says of it.
	head, left, told string
}

// covers looks whether all between base and end is what was looked at, else, whether
// all since a commit before end is.
func (l lineage) covers(ctx context.Context, base, end, name string) (coverage, error) {
	other := coverage{why: shortRevisions([]string{end}) + " holds other changes than " + name + " had when it was approved"}
	back, err := l.trunk(ctx, end, base)
	if err != nil {
		return coverage{}, err
	}
	if len(back) == 0 {
		return other, nil
	}
	last := l.left == ""
	if last {
		// What the branch had by then was not looked at, however it has come into head:
		// base may be far behind.
		l.left, err = l.leaves(ctx, end, back)
		if errors.Is(err, errNoBase) {
			return other, nil
		}
		if err != nil {
			return coverage{}, err
		}
	}
	at := func(id string) source.Resolved { return source.Resolved{Revision: id} }
	approved, err := l.compared.Differences(ctx, l.spec, at(l.left), at(l.head), l.cred, mostFiles)
	if err != nil {
		return coverage{}, err
	}
	if last {
		if whole, err := l.whole(ctx, approved, end); err != nil || !whole {
			return other, err
		}
	}
	for _, start := range append([]string{base}, back...) {
		come, err := l.compared.Differences(ctx, l.spec, at(start), at(end), l.cred, mostFiles)
		if err != nil {
			return coverage{}, err
		}
		if partOf(come, approved) {
			return coverage{start: start, left: l.left}, nil
		}
	}
	return other, nil
}

// leaves finds where what was looked at had left the branch. Where the branch has just
// gone forward to it, only the host knows which of the commits were there before.
func (l lineage) leaves(ctx context.Context, end string, back []string) (string, error) {
	if end == l.head && slices.Contains(back, l.told) {
		return l.told, nil
	}
	return l.mergeBase(ctx, back[0], l.head)
}

// partOf tells whether the difference between two commits of the branch is part of what
// was looked at: each file as it was there before, and as it was there afterwards.
// So it is the same whether the host has merged, squashed or rebased; and where a
// merge was made by hand, what was slipped in by it is not.
func partOf(come, approved map[string]source.Difference) bool {
	for name, change := range come {
		if approved[name] != change {
			return false
		}
	}
	return true
}

// whole tells whether a commit has all that was looked at, as it was there: of a merge
// that was made by hand, something may have been left out.
func (l lineage) whole(ctx context.Context, approved map[string]source.Difference, end string) (bool, error) {
	if end == l.head {
		return true, nil
	}
	has, err := l.compared.Differences(ctx, l.spec, source.Resolved{Revision: l.left}, source.Resolved{Revision: end}, l.cred, mostFiles)
	return partOf(approved, has), err
}

// trunk are the commits of a branch before one of them, the nearest first, as far as
// another, with that one.
func (l lineage) trunk(ctx context.Context, end, base string) ([]string, error) {
	var out []string
	next := end
	err := l.signed.History(ctx, l.spec, source.Resolved{Revision: end}, l.cred, func(o source.Object) bool {
		// The first parents are the branch itself. They come in order, each after the
		// one that names it.
		if o.ID != next {
			return false
		}
		parents := source.Parents(o.Raw)
		if len(parents) == 0 || len(out) == mostBack {
			return false
		}
		next = parents[0]
		out = append(out, next)
		return next != base
	})
	return out, err
}

var errNoBase = errors.New("there is not one commit that both have left")

// mergeBase is the last commit that two have in common.
func (l lineage) mergeBase(ctx context.Context, a, b string) (string, error) {
	parents := map[string][]string{}
	err := l.signed.History(ctx, l.spec, source.Resolved{Revision: a}, l.cred, func(o source.Object) bool {
		parents[o.ID] = source.Parents(o.Raw)
		return len(parents) < mostBefore
	})
	if err != nil {
		return "", err
	}
	var common []string
	n := 0
	err = l.signed.History(ctx, l.spec, source.Resolved{Revision: b}, l.cred, func(o source.Object) bool {
		n++
		if _, both := parents[o.ID]; both {
			common = append(common, o.ID)
			return false
		}
		return n < mostBefore
	})
	if err != nil {
		return "", err
	}
	// Of those the ones that others come after are not the last.
	older := map[string]bool{}
	for _, c := range common {
		for next := slices.Clone(parents[c]); len(next) > 0; next = next[1:] {
			if !older[next[0]] {
				older[next[0]] = true
				next = append(next, parents[next[0]]...)
			}
		}
	}
	common = slices.DeleteFunc(common, func(id string) bool { return older[id] })
	if len(common) != 1 {
		return "", errNoBase
	}
	return common[0], nil
}
