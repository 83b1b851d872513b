package engine

import (
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestDoubtfulApprovalsDoNotCount(t *testing.T) {
	s, f := newApprovalStory(t)
	s.git.commit(files("web", "1"))
	s.app("web", approval(nil))
	s.tell("an Application that needs approval appears")
	f.doubted = map[string]string{"a0": "nobody checked whose it is"}
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("somebody approves in Ann's name")
	f.said("ann", v1alpha1.DecisionApprove)
	s.tell("Ann approves")
	f.doubted["a2"] = f.doubted["a0"]
	s.git.commit(files("web", "2"))
	s.tell("another commit")
	f.said("ann", v1alpha1.DecisionReject)
	s.tell("somebody rejects in Ann's name: nothing is done that should not be")
	s.check()
}
