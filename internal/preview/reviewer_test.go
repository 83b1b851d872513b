package preview

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/scm"
)

const (
	headA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	headB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	left  = "1111111111111111111111111111111111111111"
	url   = "https://git.example/shop/deploy"
)

// fakeHost is one in memory, with one pull request.
type fakeHost struct {
	mu       sync.Mutex
	pull     scm.Pull
	comments []scm.Comment
	statuses []string
	writers  map[string]bool
	lent     int
	fail     int
	// tip is what the base branch means.
	tip string
}

func (f *fakeHost) lock() func() { f.mu.Lock(); return f.mu.Unlock }

type fakePulls struct{ *fakeHost }

func (f fakePulls) List(context.Context, scm.Repo) ([]scm.Pull, error) {
	defer f.lock()()
	if f.pull.State != scm.Open {
		return nil, nil
	}
	return []scm.Pull{f.pull}, nil
}

func (f fakePulls) Get(context.Context, scm.Repo, int) (scm.Pull, error) {
	defer f.lock()()
	if f.fail > 0 {
		f.fail--
		return scm.Pull{}, errors.New("away")
	}
	return f.pull, nil
}
func (fakePulls) Files(context.Context, scm.Repo, int) (scm.Files, error) { return scm.Files{}, nil }
func (fakePulls) Open(context.Context, scm.Repo, scm.NewPull) (scm.Pull, error) {
	return scm.Pull{}, nil
}

func (fakePulls) OfCommit(context.Context, scm.Repo, string) (scm.Pull, bool, error) {
	return scm.Pull{}, false, nil
}

type fakeComments struct{ *fakeHost }

func (f fakeComments) List(context.Context, scm.Repo, int) ([]scm.Comment, error) {
	defer f.lock()()
	return append([]scm.Comment(nil), f.comments...), nil
}

func (f fakeComments) Create(_ context.Context, _ scm.Repo, _ int, body string) (scm.Comment, error) {
	f.say("plumb", body)
	return scm.Comment{}, nil
}

func (f fakeComments) Update(_ context.Context, _ scm.Repo, _ int, id int64, body string) error {
	defer f.lock()()
	f.comments[id-1].Body = body
	return nil
}

func (f *fakeHost) say(who, body string) {
	defer f.lock()()
	f.comments = append(f.comments, scm.Comment{ID: int64(len(f.comments) + 1), Author: who, Body: body})
}

func (f *fakeHost) Set(_ context.Context, _ scm.Repo, sha string, s scm.Status) error {
	defer f.lock()()
	f.statuses = append(f.statuses, fmt.Sprintf("%s %s %s: %s", sha[:4], s.Context, s.State, s.Description))
	return nil
}

func (f *fakeHost) MayWrite(_ context.Context, _ scm.Repo, who string) (bool, error) {
	return f.writers[who], nil
}

func (f *fakeHost) Approvals(context.Context, scm.Repo, int) ([]scm.Approval, error) { return nil, nil }

func (f *fakeHost) Settings(string) (Settings, bool, error) {
	return Settings{
		Host: scm.Host{Kind: scm.Gitea, Pulls: fakePulls{f}, Comments: fakeComments{f}, Statuses: f, People: f, CommentBytes: 65536},
		Repo: scm.Repo{Owner: "shop", Name: "deploy"}, Modules: true, Diffs: true, Forks: true,
	}, true, nil
}
func (f *fakeHost) Repositories() []string { return []string{url} }
func (f *fakeHost) Applications() []App    { return []App{app("web", at(url, "main"))} }
func (f *fakeHost) Engine(context.Context) (Engine, func(), error) {
	defer f.lock()()
	f.lent++
	return fakeEngine{touched: map[string]bool{"web": true}, tip: f.tip}, func() {}, nil
}
func (f *fakeHost) DefaultBranch(context.Context, string) (string, error) { return "main", nil }

func (f *fakeHost) set(change func(*scm.Pull)) {
	defer f.lock()()
	change(&f.pull)
}

func reviewed(t *testing.T, fork bool) (*fakeHost, *Reviewer) {
	f := &fakeHost{writers: map[string]bool{"ada": true}, pull: scm.Pull{Number: 7, State: scm.Open, HeadSHA: headA, MergeBase: left, BaseBranch: "main", Fork: fork}}
	return f, New(Options{World: f, Mark: func(text string) string { return "m-" + strings.ReplaceAll(text, "/", "-") }})
}

func (f *fakeHost) review(t *testing.T, r *Reviewer) {
	t.Helper()
	if err := r.review(t.Context(), pullID{url, 7}, false); err != nil {
		t.Fatal(err)
	}
}

func (f *fakeHost) ours(t *testing.T) string {
	t.Helper()
	defer f.lock()()
	for _, c := range f.comments {
		if c.Author == "plumb" {
			return c.Body
		}
	}
	return ""
}

func TestOneCommentIsKept(t *testing.T) {
	f, r := reviewed(t, false)
	f.say("mallory", "<!-- plumb:preview:m-guessed head="+headA+" asked=0 -->")
	f.review(t, r)
	f.review(t, r)
	if f.lent != 1 {
		t.Errorf("the same head was planned %d times", f.lent)
	}
	_, other := reviewed(t, false) // as after a restart
	other.o.World = f
	f.review(t, other)
	if f.lent != 1 {
		t.Error("a restart plans again what was said")
	}
	f.set(func(p *scm.Pull) { p.HeadSHA = headB })
	f.review(t, other)
	if body := f.ours(t); f.lent != 2 || len(f.comments) != 2 || !strings.Contains(body, "head="+headB) || !strings.Contains(body, "1 Application changes") {
		t.Errorf("%d plans, %d comments:\n%s", f.lent, len(f.comments), body)
	}
	f.say("mallory", "/plumb preview")
	f.review(t, other)
	if f.lent != 2 {
		t.Error("somebody without rights has it planned again")
	}
	f.say("ada", "please\n/plumb preview\n")
	f.review(t, other)
	f.review(t, other)
	if f.lent != 3 {
		t.Errorf("asked for once, it was planned %d times", f.lent-2)
	}
	f.set(func(p *scm.Pull) { p.State = scm.Merged })
	f.review(t, other)
	body := f.ours(t)
	f.review(t, other)
	if !strings.Contains(body, "is merged") || strings.Count(f.ours(t), "is merged") != 1 || !strings.Contains(body, "web") {
		t.Errorf("at the end it says\n%s", f.ours(t))
	}
	f.set(func(p *scm.Pull) { p.State = scm.Open })
	f.review(t, other)
	if !strings.Contains(f.ours(t), "head="+headB) {
		t.Error("what is opened again is not planned again")
	}
}

func TestForksWaitForAWord(t *testing.T) {
	f, r := reviewed(t, true)
	for _, words := range []struct {
		reason, who, text string
		planned           bool
	}{
		{"nobody has said anything", "", "", false},
		{"who may not write has no say", "mallory", "/plumb preview " + headA, false},
		{"nobody knows what was read", "ada", "/plumb preview", false},
		{"another commit was read", "ada", "/plumb preview " + headB, false},
		{"a quotation is no word", "ada", "> /plumb preview " + headA, false},
		{"too short to mean one commit", "ada", "/plumb preview aaaa", false},
		{"another installation says so to people", "ada", "<!-- plumb:preview:other head=waiting asked=0 -->\n/plumb preview " + headA, false},
		{"another commit can be made that begins like it", "ada", "/plumb preview " + headA[:12], false},
		{"that one", "ada", "/plumb preview " + headA + "\r\n", true},
	} {
		if words.who != "" {
			f.say(words.who, words.text)
		}
		f.review(t, r)
		if (f.lent > 0) != words.planned {
			t.Fatalf("%s: planned %d times", words.reason, f.lent)
		}
		if !words.planned && !strings.Contains(f.ours(t), "/plumb preview "+headA) {
			t.Fatalf("%s: it says\n%s", words.reason, f.ours(t))
		}
	}
	const third = "cccccccccccccccccccccccccccccccccccccccc"
	f.set(func(p *scm.Pull) { p.HeadSHA = third })
	f.review(t, r)
	if f.lent != 1 || !strings.Contains(f.ours(t), "/plumb preview "+third) {
		t.Errorf("a push after the word was planned:\n%s", f.ours(t))
	}
}

func TestOneRepositoryHasOneName(t *testing.T) {
	f := &twoNames{}
	r := New(Options{World: f, Mark: func(string) string { return "" }})
	for _, url := range []string{"https://git.example/shop/deploy.git", "git@git.example:shop/deploy", "ssh://git@git.example:22/Shop/deploy"} {
		if got := r.canonical(url); got != "git@git.example:shop/deploy" {
			t.Errorf("%s is %s", url, got)
		}
	}
	if n := len(r.repositories()); n != 2 {
		t.Errorf("%d repositories", n)
	}
}

type twoNames struct{ fakeHost }

func (*twoNames) Repositories() []string {
	return []string{"https://git.example/shop/deploy.git", "git@git.example:shop/deploy", "https://git.example/shop/other"}
}

func TestFailuresAreTriedAgain(t *testing.T) {
	f, r := reviewed(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	f.set(func(*scm.Pull) { f.fail = 1 })
	r.Heard(url, 7, headA)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		failures := 0
		if j := r.jobs[pullID{url, 7}]; j != nil {
			failures = j.failures
		}
		r.mu.Unlock()
		if failures == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it never failed")
		}
	}
	r.Heard(url, 7, headA) // before its time
	for deadline := time.Now().Add(20 * time.Second); f.ours(t) == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was never said")
		}
	}
	cancel()
	<-done
}

func TestTheBaseMoves(t *testing.T) {
	f, r := reviewed(t, false)
	f.tip = "one"
	var mu sync.Mutex
	outcomes := map[Outcome]int{}
	r.o.Pause = time.Millisecond
	r.o.Previewed = func(o Outcome, _ time.Duration) { mu.Lock(); defer mu.Unlock(); outcomes[o]++ }
	previewed := func() int { mu.Lock(); defer mu.Unlock(); return outcomes[OutcomeChanges] }
	until := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); previewed() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d previews, want %d", previewed(), n)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	r.Heard(url, 7, headA)
	until(1)
	looked := func() int { defer f.lock()(); return f.lent }
	for range 3 { // elsewhere: the Application means the same
		before := looked()
		r.Moved(url)
		for deadline := time.Now().Add(20 * time.Second); looked() == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nobody has looked")
			}
		}
	}
	for what := range 2 {
		func() { defer f.lock()(); f.tip = fmt.Sprint("tip ", what) }()
		r.Moved(url)
		until(2 + what)
	}
	cancel()
	<-done
	if previewed() != 3 {
		t.Errorf("%d previews", previewed())
	}
}
