package git

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // Git's own
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/plumb-dev/plumb/internal/source"
)

var _ source.Signed = (*Source)(nil)

const (
	// maxTags bounds how many tags on a commit are looked at, and maxTagBytes, how
	// large one may be.
	maxTags     = 16
	maxTagBytes = 1 << 20
	// maxHistory bounds how many commits are visited.
	maxHistory = 100_000
)

// Signatures visits the objects that can vouch for a commit.
func (s *Source) Signatures(ctx context.Context, spec source.Spec, at source.Resolved, cred source.Credentials, visit func(source.Object) bool) error {
	t, err := s.fetch(ctx, spec.Repo, at, cred, 0)
	if err != nil {
		return err
	}
	known, _, err := t.repo.view(cred).current(ctx)
	if err != nil {
		return err
	}
	if tag, annotated := known.annotated[at.Ref]; annotated && known.ids[at.Ref] == at.Revision {
		o, err := t.tag(ctx, at.Ref, tag)
		if err == nil {
			visit(o)
		}
		return err
	}
	raw, err := t.signedObject(t.repo.mirror.objects, at.Revision, "commit", maxCommitBytes)
	if err != nil || visit(source.Object{ID: at.Revision, Raw: raw}) {
		return err
	}
	names := known.tagsAt(at.Revision)
	for _, name := range names[:min(maxTags, len(names))] {
		ref := "refs/tags/" + name
		tag, annotated := known.annotated[ref]
		if !annotated {
			continue
		}
		o, err := t.tag(ctx, ref, tag)
		if err != nil || visit(o) {
			return err
		}
	}
	return nil
}

// tag reads an annotated tag, and makes sure that it is on the commit itself.
func (t *tree) tag(ctx context.Context, ref, id string) (source.Object, error) {
	if err := t.repo.mirror.ensure(ctx, id, ref, t.from); err != nil {
		return source.Object{}, explain(t.repo.url, t.from.cred, err)
	}
	raw, err := t.signedObject(t.repo.mirror.objects, id, "tag", maxTagBytes)
	if err != nil {
		return source.Object{}, err
	}
	if !bytes.HasPrefix(raw, []byte("object "+t.revision+"\ntype commit\n")) {
		return source.Object{}, fmt.Errorf("%w: tag %s is not on the commit %s itself", errMalformed, clip(ref, 80), t.revision)
	}
	return source.Object{ID: id, Tag: strings.TrimPrefix(ref, "refs/tags/"), Raw: raw}, nil
}

// signedObject reads an object, and checks that it is what its id says: what is
// vouched for is a name.
func (t *tree) signedObject(from *catFile, id, kind string, limit int64) ([]byte, error) {
	oid, ok := parseID(id)
	if !ok {
		return nil, fmt.Errorf("%w: the id %q", errMalformed, clip(id, 80))
	}
	raw, err := from.read(oid, kind, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind, id, explain(t.repo.url, t.from.cred, err))
	}
	h := sha1.New() //nolint:gosec // Git's own
	if oid.size == sha256.Size {
		h = sha256.New()
	}
	h.Write([]byte(kind + " " + strconv.Itoa(len(raw)) + "\x00"))
	h.Write(raw)
	if hex.EncodeToString(h.Sum(nil)) != id {
		return nil, fmt.Errorf("%w: %s %s is not what its id says", errMalformed, kind, id)
	}
	return raw, nil
}

// History visits a commit and those before it. They are brought into a mirror of
// their own, without what they hold.
func (s *Source) History(ctx context.Context, spec source.Spec, at source.Resolved, cred source.Credentials, visit func(source.Object) bool) error {
	t, err := s.fetch(ctx, spec.Repo, at, cred, 0)
	if err != nil {
		return err
	}
	past := t.repo.past
	if err := past.ensure(ctx, at.Revision, at.Ref, t.from); err != nil {
		return explain(spec.Repo, cred, err)
	}
	seen := map[string]bool{at.Revision: true}
	for next := []string{at.Revision}; len(next) > 0; {
		id := next[0]
		next = next[1:]
		if err := ctx.Err(); err != nil {
			return err
		}
		raw, err := t.signedObject(past.objects, id, "commit", maxCommitBytes)
		if err != nil {
			return err
		}
		if !visit(source.Object{ID: id, Raw: raw}) {
			continue
		}
		for _, parent := range source.Parents(raw) {
			if !seen[parent] {
				seen[parent] = true
				next = append(next, parent)
			}
		}
		if len(seen) > maxHistory {
			return &source.Error{Reason: source.ReasonTooLarge, Repo: cred.Mask(spec.Repo), Message: fmt.Sprintf(
				"the history has over %d commits, too many to verify: make a signed commit with the trailer Argocd-gpg-seal, before which nothing is verified", maxHistory)}
		}
	}
	return nil
}
