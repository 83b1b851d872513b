package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/signature"
	"github.com/plumb-dev/plumb/internal/source"
)

// Integrity is how a project wants a repository to be signed.
type Integrity struct {
	// Strict asks for all commits of the history to be signed, not only for the
	// last one.
	Strict bool
	Trust  signature.Trust
	Keys   *signature.Keyring
	// ID changes with all of that, and Where names the rule in messages.
	ID, Where string
}

// Signatures tells how sources must be signed.
type Signatures interface {
	// Integrity is how an Application's project wants a repository to be signed, or
	// nil where it does not ask for it.
	Integrity(app *v1alpha1.Application, key Key, repo string) (*Integrity, error)
}

// untrusted is a source that is not signed as its project wants it to be.
type untrusted string

func (e untrusted) Error() string { return string(e) }

// verifiedFor is how long a result holds: keys expire.
const verifiedFor = time.Hour

// maxVerified bounds what is remembered.
const maxVerified = 50_000

// verified remembers what was verified, by rule, repository and object.
type verified struct {
	mu   sync.Mutex
	good map[string]vouched
}

type vouched struct {
	signature source.Signature
	until     time.Time
}

func newVerified() *verified { return &verified{good: map[string]vouched{}} }

func (v *verified) get(id string, now time.Time) (source.Signature, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.good[id]
	return r.signature, ok && now.Before(r.until)
}

func (v *verified) put(id string, s source.Signature, until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.good) >= maxVerified {
		clear(v.good)
	}
	v.good[id] = vouched{s, until}
}

// verify makes sure that a source is signed as the Application's project wants it
// to be, and says by whom. It gives nothing where the project does not ask.
func (e *Engine) verify(ctx context.Context, app *v1alpha1.Application, key Key, s resolved) (source.Signature, error) {
	none := source.Signature{}
	if e.Signatures == nil || s.from != e.Sources.Git {
		return none, nil
	}
	rule, err := e.Signatures.Integrity(app, key, s.spec.Repo)
	if err != nil {
		return none, untrusted(err.Error())
	}
	if rule == nil {
		return none, nil
	}
	signed, ok := s.from.(source.Signed)
	if !ok {
		return none, untrusted(rule.Where + " wants the repository to be signed, which its source cannot tell")
	}
	now := e.Clock.Now()
	id := strings.Join([]string{rule.ID, s.spec.Repo, s.at.Revision, s.at.Ref}, "\x00")
	if sig, ok := e.verified.get(id, now); ok {
		return sig, nil
	}
	v := verification{e: e, rule: rule, signed: signed, of: s, now: now}
	sig, err := v.head(ctx)
	if err == nil && rule.Strict {
		err = v.history(ctx)
	}
	if err != nil {
		return none, err
	}
	e.verified.put(id, sig, now.Add(verifiedFor))
	return sig, nil
}

// verification is the look at one source.
type verification struct {
	e      *Engine
	rule   *Integrity
	signed source.Signed
	of     resolved
	now    time.Time
}

func (v verification) refuse(o source.Object, sig source.Signature) error {
	return untrusted(fmt.Sprintf("%s: %s, and %s wants signatures", v1alpha1.RedactURL(v.of.spec.Repo), signature.Explain(o, sig), v.rule.Where))
}

// head looks at what vouches for the revision itself: the first good signature is
// enough.
func (v verification) head(ctx context.Context) (source.Signature, error) {
	var refusal error
	var good source.Signature
	err := v.signed.Signatures(ctx, v.of.spec, v.of.at, v.of.cred, func(o source.Object) bool {
		sig := v.rule.Keys.Verify(o, v.rule.Trust, v.now)
		if sig.Status == source.SignatureGood {
			good = sig
			return true
		}
		if refusal == nil {
			refusal = v.refuse(o, sig)
		}
		return false
	})
	switch {
	case err != nil:
		return source.Signature{}, err
	case good.Status == source.SignatureGood:
		return good, nil
	case refusal == nil:
		return source.Signature{}, untrusted(v1alpha1.RedactURL(v.of.spec.Repo) + ": nothing vouches for " + v.of.at.Revision)
	}
	return source.Signature{}, refusal
}

// maxRefusals is how many commits a refusal names.
const maxRefusals = 5

// history looks at all commits back to the beginning, to a seal, or to what has
// been looked at before.
func (v verification) history(ctx context.Context) error {
	var refusals []string
	known := func(id string) string {
		return strings.Join([]string{v.rule.ID, v.of.spec.Repo, id, "history"}, "\x00")
	}
	if _, ok := v.e.verified.get(known(v.of.at.Revision), v.now); ok {
		return nil
	}
	err := v.signed.History(ctx, v.of.spec, v.of.at, v.of.cred, func(o source.Object) bool {
		if _, ok := v.e.verified.get(known(o.ID), v.now); ok || len(refusals) >= maxRefusals {
			return false
		}
		sig := v.rule.Keys.Verify(o, v.rule.Trust, v.now)
		if sig.Status != source.SignatureGood {
			refusals = append(refusals, signature.Explain(o, sig))
			return true
		}
		return !signature.Sealed(o)
	})
	if err != nil {
		return err
	}
	if len(refusals) > 0 {
		return untrusted(fmt.Sprintf("%s: %s; and %s wants all commits signed (a signed commit with the trailer %s vouches for all before it)",
			v1alpha1.RedactURL(v.of.spec.Repo), strings.Join(refusals, "; "), v.rule.Where, signature.SealTrailer))
	}
	v.e.verified.put(known(v.of.at.Revision), source.Signature{}, v.now.Add(verifiedFor))
	return nil
}

// verifyAll verifies all sources of an Application, and gives what their
// signatures are worth.
func (e *Engine) verifyAll(ctx context.Context, r request, sources []resolved) ([]source.Signature, error) {
	out := make([]source.Signature, len(sources))
	if r.local != nil {
		return out, nil
	}
	for i, s := range sources {
		var err error
		if i < len(r.vouched) && r.vouched[i] != "" {
			s.at = source.Resolved{Revision: r.vouched[i]}
		}
		if out[i], err = e.verify(ctx, r.app, r.key, s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// commits describes what is desired, source by source, with what is known of the
// signatures. What cannot be told of a source is left empty.
func (p *pass) commits(ctx context.Context) []source.Commit {
	d := p.st.desired
	if d == nil || p.fence == nil {
		return nil
	}
	out := make([]source.Commit, len(d.revisions))
	sources, err := p.e.resolve(ctx, request{app: p.app, key: p.key, fence: p.fence, revisions: d.revisions})
	for i := range out {
		out[i].Revision = d.revisions[i]
		if err != nil || i >= len(sources) {
			continue
		}
		if c, err := sources[i].from.Describe(ctx, sources[i].spec, sources[i].at, sources[i].cred); err == nil {
			out[i] = c
		}
		if i < len(d.signatures) {
			out[i].Signature = d.signatures[i]
		}
	}
	return out
}

// distrust takes up that a source is not signed as it should be, and tells
// whether an error says so.
func (p *pass) distrust(err error) bool {
	var u untrusted
	if !errors.As(err, &u) {
		return false
	}
	p.refused, p.distrusted = err.Error(), true
	return true
}
