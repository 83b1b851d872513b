package server

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/scm"
)

// oneHost is a host with one pull request, and counts what it is asked.
type oneHost struct {
	pull      scm.Pull
	found     bool
	approvals []scm.Approval
	writers   string
	fail      error
	asked     int
}

func (h *oneHost) OfCommit(context.Context, scm.Repo, string) (scm.Pull, bool, error) {
	h.asked++
	return h.pull, h.found, h.fail
}

func (h *oneHost) Approvals(context.Context, scm.Repo, int) ([]scm.Approval, error) {
	return h.approvals, nil
}

func (h *oneHost) MayWrite(_ context.Context, _ scm.Repo, user string) (bool, error) {
	return strings.Contains(h.writers, user), nil
}

func (h *oneHost) List(context.Context, scm.Repo) ([]scm.Pull, error)   { return nil, nil }
func (h *oneHost) Get(context.Context, scm.Repo, int) (scm.Pull, error) { return h.pull, nil }
func (h *oneHost) Files(context.Context, scm.Repo, int) (scm.Files, error) {
	return scm.Files{}, nil
}
func (h *oneHost) Open(context.Context, scm.Repo, scm.NewPull) (scm.Pull, error) {
	return scm.Pull{}, nil
}

const (
	mergedURL = "https://git.example.com/shop/deploy.git"
	mergedSHA = "e5bd3914e2e596debea16f433f57875b5b90bcd6"
	headSHA   = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
)

func newOneHost() (*oneHost, *merges, *time.Time) {
	now := time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)
	h := &oneHost{found: true, writers: "ann bob eve renovate[bot]", pull: scm.Pull{
		Number: 7, State: scm.Merged, URL: "https://user:pass@git.example.com/shop/deploy/pulls/7?token=c4n4ry", Author: "eve",
		HeadSHA: headSHA, BaseBranch: "main", MergedBy: "max", MergedAt: now, MergedAs: mergedSHA,
	}, approvals: []scm.Approval{{User: "ann", SHA: headSHA}, {User: "passer-by", SHA: headSHA}, {User: "eve", SHA: headSHA}, {User: "bob", SHA: mergedSHA}, {User: "renovate[bot]", SHA: headSHA}}}
	m := &merges{
		of: func(string) (scm.Host, scm.Repo, bool, error) {
			return scm.Host{Pulls: h, People: h}, scm.Repo{Owner: "shop", Name: "deploy"}, true, nil
		},
		now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler),
		known: map[mergeKey]knownMerge{}, down: map[string]downHost{},
	}
	return h, m, &now
}

func TestMergesCountWhoMayWrite(t *testing.T) {
	h, m, now := newOneHost()
	want := engine.Merge{
		Found: true, URL: "https://git.example.com/shop/deploy/pulls/7", Host: "git.example.com", Branch: "main", Head: headSHA,
		MergedBy: "max", At: *now, ApprovedBy: []string{"ann"},
	}
	for range 3 {
		if diff := cmp.Diff(want, m.Of(t.Context(), mergedURL, mergedSHA)); diff != "" {
			t.Errorf("who approved, of those who may write and have not made it (-want +got):\n%s", diff)
		}
	}
	if h.asked != 1 {
		t.Errorf("the host was asked %d times", h.asked)
	}
	m.forget(mergedURL)
	if m.Of(t.Context(), mergedURL, mergedSHA); h.asked != 2 {
		t.Errorf("it was not asked again: %d", h.asked)
	}
}

func TestMergesThatAreNotKnownYet(t *testing.T) {
	h, m, now := newOneHost()
	h.found = false
	for range 100 {
		m.Of(t.Context(), mergedURL, mergedSHA)
		*now = now.Add(time.Second)
	}
	if h.asked != 4 || !cmp.Equal(m.Of(t.Context(), mergedURL, mergedSHA), engine.Merge{}) {
		t.Errorf("a push was asked about %d times", h.asked)
	}
}

func TestMergesOfAHostThatIsDown(t *testing.T) {
	h, m, now := newOneHost()
	h.fail = errors.New("c4n4ry: connection refused")
	for range 3600 {
		got := m.Of(t.Context(), mergedURL, mergedSHA)
		if got.Found || !strings.Contains(got.Problem, "does not answer") || strings.Contains(got.Problem, "c4n4ry") || !got.Again.After(*now) {
			t.Fatalf("got %+v", got)
		}
		m.Of(t.Context(), mergedURL, headSHA) // the same host
		*now = now.Add(time.Second)
	}
	if h.asked > 12 {
		t.Errorf("a host that is down was asked %d times in an hour", h.asked)
	}
	h.fail = nil
	*now = now.Add(time.Hour)
	if got := m.Of(t.Context(), mergedURL, mergedSHA); !got.Found || got.Problem != "" {
		t.Errorf("it is back: %+v", got)
	}
}

func TestMergesAreHostile(t *testing.T) {
	h, m, _ := newOneHost()
	evil := "ann\n@everyone <script>"
	h.pull.URL, h.pull.MergedBy, h.approvals, h.writers = "javascript:alert(1)", evil, []scm.Approval{{User: evil, SHA: headSHA}}, evil
	got := m.Of(t.Context(), mergedURL, mergedSHA)
	if got.URL != "shop/deploy#7" || strings.ContainsAny(got.MergedBy+got.ApprovedBy[0], "\n <>") {
		t.Errorf("got %+v", got)
	}
	h.pull.HeadSHA = "--upload-pack=x"
	m.forget(mergedURL)
	if got := m.Of(t.Context(), mergedURL, mergedSHA); got.Found || got.Problem == "" {
		t.Errorf("what is no commit was merged: %+v", got)
	}
}
