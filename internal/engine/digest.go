package engine

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"

	"github.com/plumb-dev/plumb/internal/plan"
)

// markOf identifies a step by its place and its content. What an API server makes
// up anew each time it is asked is not in it.
func markOf(s plan.Step) string {
	before, after, more := contentOf(s)
	if s.Hook {
		before = "" // what an earlier run has left
	}
	b, err := json.Marshal([]any{s.Phase, s.Wave, s.Tier, s.Hook, s.Change.Action(), s.Change.Target(), before, after, more})
	if err != nil { // only texts and numbers
		panic("engine: mark of a step: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// contentOf identifies what is before and after a step.
func contentOf(s plan.Step) (before, after string, more []string) {
	switch c := s.Change.(type) {
	case plan.Create:
		after = hashOfState(c.After)
	case plan.Update:
		before, after, more = hashOfState(c.Before), hashOfState(c.After), []string{c.Import, string(c.From)}
	case plan.Replace:
		before, after = hashOfState(c.Before), hashOfState(c.After)
	case plan.Delete:
		before = hashOfState(c.Before)
	case plan.Forget:
		before = hashOfState(c.Before)
	}
	if s.Hook {
		return before, after, []string{"hook"}
	}
	return before, after, more
}

// hashOfState is the driver's hash of all of a state, or that of what may be shown
// where there is none.
func hashOfState(s plan.State) string {
	if s.Hash != "" || s.Object == nil {
		return s.Hash
	}
	b, err := json.Marshal(s.Object)
	if err != nil { // only values that came out of JSON are ever in a state
		panic("engine: hash of a state: " + err.Error())
	}
	return hashOf(string(b))
}

// digestOf identifies all that is approved: what is done, towards what, how, and by
// whose leave. Deletions are steps: whether pruning is on shows in them.
func (p *pass) digestOf(pr *proposal) string {
	b, err := json.Marshal([]any{
		p.app.UID, p.desiredHash(), pr.op.scope, pr.op.force, pr.op.replace, pr.marks, pr.policy,
	})
	if err != nil { // only texts and numbers
		panic("engine: digest of a proposal: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
