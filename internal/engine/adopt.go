package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// Adoptions propose to Git what was changed where it runs. They work beside the
// passes, and have an Application looked at again when there is news of it.
type Adoptions interface {
	// Propose takes what is to be proposed of an Application, and tells how far that
	// is. It does not block; to ask for the same again costs nothing.
	Propose(r AdoptRequest) Adoption
	// Withdraw is told that there is nothing to propose any more, or for now.
	Withdraw(key Key)
}

// AdoptRequest is drift whose answer is to adopt it.
type AdoptRequest struct {
	Key Key
	App *v1alpha1.Application
	// Revisions that the sources were compared at.
	Revisions []string
	// Changes would take the drift back; Deleted are resources that were deleted
	// where they ran. Resources are all that there are.
	Changes   []plan.Change
	Deleted   []plan.Ref
	Resources []plan.Ref
	// Digest identifies the drift and what is declared.
	Digest string
	// Told is set where the Application's status names a pull request: one that
	// somebody has closed is not opened again for the same.
	Told bool
}

// Adoption is what has become of a request.
type Adoption struct {
	// Digest of the request that it is about; empty where nothing is known yet.
	Digest string
	// Branches that hold the proposal.
	Branches []AdoptedBranch
	// Fields that are proposed, and Refused, those that are not, with the reason.
	Fields  int
	Refused []string
	// Problem is why nothing could be pushed, or no pull request be opened.
	Problem string
}

// AdoptedBranch is a branch with a proposal.
type AdoptedBranch struct {
	// Repository without credentials, Base that it is to be merged to.
	Repository, Base, Branch string
	// URL of the pull request, if there is one.
	URL string
}

// pullRequestWord is in the condition where there is a pull request.
const pullRequestWord = "pull request "

// adopts tells whether an Application's policy has anything adopted.
func adopts(app *v1alpha1.Application) bool {
	p := app.Spec.SyncPolicy
	return p != nil && p.Drift != nil && (p.Drift.Default == v1alpha1.DriftAdopt ||
		slices.ContainsFunc(p.Drift.Rules, func(r v1alpha1.DriftRule) bool { return r.Action == v1alpha1.DriftAdopt }))
}

// adopt has drift proposed to Git whose answer that is.
func (p *pass) adopt() {
	if p.e.Adoptions == nil || !p.st.adopting && !adopts(p.app) {
		return
	}
	if p.deleting() || p.pin != nil || !adopts(p.app) {
		p.withdraw()
		return
	}
	if !p.compared || p.st.comparison.Busy || p.st.running != nil || p.refused != "" || p.sourceFailed {
		return // nothing new is known: what was told stays
	}
	r, ok := p.adoptable()
	if !ok {
		p.withdraw()
		return
	}
	p.st.adopting = true
	if done := p.e.Adoptions.Propose(r); done.Digest != "" {
		p.st.adoption = &done
	}
	p.noteAdoption(r.Digest)
}

func (p *pass) withdraw() {
	p.e.Adoptions.Withdraw(p.key)
	p.st.adopting, p.st.adoption, p.st.adopted = false, nil, ""
}

// adoptable gathers the drift that is to be proposed.
func (p *pass) adoptable() (AdoptRequest, bool) {
	c := &p.st.comparison
	r := AdoptRequest{Key: p.key, App: p.app, Revisions: p.st.desired.revisions}
	wanted := map[plan.Address]bool{}
	for i := range c.Resources {
		one := &c.Resources[i]
		if one.Hook != nil || one.Sync != driver.OutOfSync || one.Answer != v1alpha1.DriftAdopt || one.Problem != nil {
			continue
		}
		switch one.Cause { //nolint:exhaustive // the others are no drift
		case driver.CauseDrift:
			wanted[one.Ref.Address()] = true
		case driver.CauseDeleted:
			r.Deleted = append(r.Deleted, one.Ref)
		}
	}
	if len(wanted)+len(r.Deleted) == 0 {
		return r, false
	}
	for i := range c.Resources {
		r.Resources = append(r.Resources, c.Resources[i].Ref)
	}
	var steps []plan.Step
	for _, s := range c.Plan.Steps {
		if !s.Hook && wanted[s.Address()] {
			steps, r.Changes = append(steps, s), append(r.Changes, s.Change)
		}
	}
	if len(r.Changes)+len(r.Deleted) == 0 {
		return r, false
	}
	rules, _ := json.Marshal(p.app.Spec.SyncPolicy.Drift)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %q %s", plan.New(steps).Digest(), p.st.desired.hash, addresses(r.Deleted), rules))
	r.Digest = hex.EncodeToString(sum[:])
	r.Told = slices.ContainsFunc(p.app.Status.Conditions, func(c v1alpha1.ApplicationCondition) bool {
		return c.Type == v1alpha1.ConditionDriftProposed && strings.Contains(c.Message, pullRequestWord)
	})
	return r, true
}

func addresses(refs []plan.Ref) []string {
	out := make([]string, len(refs))
	for i, ref := range refs {
		out[i] = string(ref.Address())
	}
	return out
}

// noteAdoption records a proposal, once.
func (p *pass) noteAdoption(digest string) {
	a := p.st.adoption
	if a == nil || len(a.Branches) == 0 {
		return
	}
	message := a.proposed()
	if p.st.adopted == message || slices.ContainsFunc(p.app.Status.Conditions, func(c v1alpha1.ApplicationCondition) bool {
		return c.Type == v1alpha1.ConditionDriftProposed && c.Message == message
	}) {
		return
	}
	p.st.adopted = message
	p.note(Record{Kind: RecordAdopted, Digest: digest, Message: message})
}

// adoptConditions say what is proposed, and what could not be.
func (p *pass) adoptConditions(before []v1alpha1.ApplicationCondition, add func(v1alpha1.ApplicationConditionType, string)) {
	if !p.st.adopting && (p.compared || !adopts(p.app)) || p.e.Adoptions == nil {
		return
	}
	a := p.st.adoption
	if a == nil { // not known yet: what an earlier process told stays meanwhile
		for _, c := range before {
			if c.Type == v1alpha1.ConditionDriftProposed || c.Type == v1alpha1.ConditionAdoptError {
				add(c.Type, c.Message)
			}
		}
		return
	}
	if len(a.Branches) > 0 {
		add(v1alpha1.ConditionDriftProposed, a.proposed())
	}
	var wrong []string
	if a.Problem != "" {
		wrong = append(wrong, a.Problem)
	}
	if len(a.Refused) > 0 {
		wrong = append(wrong, "not proposed to Git: "+strings.Join(few(a.Refused), "; "))
	}
	if len(wrong) > 0 {
		add(v1alpha1.ConditionAdoptError, strings.Join(wrong, "; "))
	}
}

// proposed says where the proposal is.
func (a *Adoption) proposed() string {
	var at []string
	for _, b := range a.Branches {
		text := fmt.Sprintf("branch %s of %s", b.Branch, b.Repository)
		if b.URL != "" {
			text += ", " + pullRequestWord + b.URL
		}
		at = append(at, text)
	}
	return "what was changed where it runs is proposed to Git: " + strings.Join(at, "; ") + ": merge it to keep it, or sync to take the change back"
}
