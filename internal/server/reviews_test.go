package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/test/forge"
	"github.com/plumb-dev/plumb/test/tofutest"
)

// hosted is a repository on a real Gitea, whose Applications a server holds true.
type hosted struct {
	t              *testing.T
	f              *forge.Forge
	r              *running
	owner, someone forge.User
	repo, ns       string
	clone          *forge.Clone
}

type hostedComment struct {
	ID   int64
	Body string
	User struct{ Login string }
}

const reviewSecret = "c4n4ry-webhook"

// many is how many Applications the repository has.
const many = 200

func newHosted(t *testing.T, apps int, interval time.Duration, more ...func(*Options)) *hosted {
	h := &hosted{t: t, f: forge.Start(t)}
	h.owner, h.someone = h.f.User("owner", true), h.f.User("someone", false)
	h.repo = h.f.Repository(h.owner, "deploy")
	h.clone = h.f.Clone(h.owner, h.repo)
	files := map[string]string{}
	for i := range apps {
		files[fmt.Sprintf("apps/a%03d/one.yaml", i)] = configMap(fmt.Sprintf("a%03d", i), "1")
	}
	files["apps/a000/secret.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: c4n4ry-old\n"
	files["apps/a009/two.yaml"] = configMap("too", "1")
	if apps < 10 {
		delete(files, "apps/a009/two.yaml")
	}
	h.clone.Commit(files)
	h.clone.Git("push", "-q", "origin", "main")
	h.r = runServer(t, t.TempDir(), func(o *Options) {
		o.PollInterval, o.PullRequestInterval = -1, interval
		for _, change := range more {
			change(o)
		}
	})
	eventually(t, "the server leads", h.r.leads)
	h.ns = kubetest.Namespace(t)
	h.secret()
	for i := range apps {
		createApplication(t, h.ns, fmt.Sprintf("a%03d", i), h.f.URL+"/"+h.repo, fmt.Sprintf("apps/a%03d", i))
	}
	for i := range apps {
		eventually(t, "an Application is in sync", func() error {
			if s, _ := status(t, h.ns, fmt.Sprintf("a%03d", i)); s != "Synced" {
				return fmt.Errorf("a%03d is %s", i, s)
			}
			return nil
		})
	}
	return h
}

// secret says how the host is spoken with.
func (h *hosted) secret() {
	h.t.Helper()
	client := kubernetes.NewForConfigOrDie(kubetest.Config(h.t)).CoreV1().Secrets(controller.SystemNamespace)
	name := "host-" + h.ns
	_, err := client.Create(h.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.PlumbLabelSecretType: v1alpha1.SecretTypeSCMCreds}},
		StringData: map[string]string{"url": h.f.URL, "type": "gitea", "token": h.owner.Token, "webhookSecret": reviewSecret},
	}, metav1.CreateOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := client.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			h.t.Error(err)
		}
	})
}

func (h *hosted) hook() {
	h.t.Helper()
	h.f.Call(h.owner, http.MethodPost, "/repos/"+h.repo+"/hooks", map[string]any{
		"type": "gitea", "active": true,
		"config": map[string]string{"url": "http://" + h.r.address + "/api/webhook", "content_type": "json", "secret": reviewSecret},
		"events": []string{"push", "pull_request", "pull_request_sync", "pull_request_comment", "pull_request_review", "issue_comment"},
	}, nil)
}

// open opens a pull request and gives its number.
func (h *hosted) open(as forge.User, head string) int {
	h.t.Helper()
	var p struct{ Number int }
	h.f.Call(as, http.MethodPost, "/repos/"+h.repo+"/pulls", map[string]string{"title": head, "head": head, "base": "main"}, &p)
	return p.Number
}

// comment is the only one that Plumb has made on a pull request.
func (h *hosted) comment(number int) (hostedComment, error) {
	var all, ours []hostedComment
	if err := h.f.Try(h.owner, http.MethodGet, fmt.Sprintf("/repos/%s/issues/%d/comments", h.repo, number), nil, &all); err != nil {
		return hostedComment{}, err
	}
	for _, c := range all {
		if strings.Contains(c.Body, "plumb:preview:") {
			ours = append(ours, c)
		}
	}
	if len(ours) != 1 {
		return hostedComment{}, fmt.Errorf("there are %d comments of Plumb", len(ours))
	}
	return ours[0], nil
}

// says waits until the comment holds all the texts.
func (h *hosted) says(number int, texts ...string) hostedComment {
	h.t.Helper()
	var c hostedComment
	eventually(h.t, "the comment says "+strings.Join(texts, ", "), func() (err error) {
		if c, err = h.comment(number); err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(c.Body, text) {
				return fmt.Errorf("it says:\n%s", c.Body)
			}
		}
		return nil
	})
	if strings.Contains(c.Body, "c4n4ry") {
		h.t.Errorf("a secret is in the comment:\n%s", c.Body)
	}
	return c
}

// status waits for a commit's.
func (h *hosted) status(sha, context, want string) {
	h.t.Helper()
	eventually(h.t, "the status "+context+" is "+want, func() error {
		var combined struct {
			Statuses []struct{ Context, Status, Description string }
		}
		if err := h.f.Try(h.owner, http.MethodGet, fmt.Sprintf("/repos/%s/commits/%s/status", h.repo, sha), nil, &combined); err != nil {
			return err
		}
		for _, s := range combined.Statuses {
			if s.Context == context && s.Status == want {
				return nil
			}
		}
		return fmt.Errorf("statuses are %+v", combined.Statuses)
	})
}

func (h *hosted) say(as forge.User, number int, text string) {
	h.t.Helper()
	h.f.Call(as, http.MethodPost, fmt.Sprintf("/repos/%s/issues/%d/comments", h.repo, number), map[string]string{"body": text}, nil)
}

func TestPullRequestsByWebhook(t *testing.T) {
	h := newHosted(t, many, -1)
	h.hook()
	c := h.clone
	c.Git("checkout", "-q", "-b", "feature")
	c.Commit(map[string]string{
		"apps/a007/one.yaml":    configMap("a007", "@everyone ``` two"),
		"apps/a007/two.yaml":    configMap("more", "1"),
		"apps/a000/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: c4n4ry-new\n",
	})
	c.Git("push", "-q", "origin", "feature")
	began := time.Now()
	number := h.open(h.owner, "feature")
	first := h.says(number, "2 Applications change", "1 to create, 2 to update", "a007", "200 Applications follow")
	t.Logf("from the pull request to the comment, the first preview, with %d Applications: %v", many, time.Since(began).Round(time.Millisecond))
	h.status(c.Git("rev-parse", "HEAD"), "plumb/preview", "success")

	c.Git("checkout", "-q", "feature")
	head := c.Commit(map[string]string{"apps/a000/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: c4n4ry-old\n", "apps/a009/one.yaml": ""})
	began = time.Now()
	c.Git("push", "-q", "origin", "feature")
	now := h.says(number, head[:8], "a009", "to delete")
	t.Logf("from the push to the comment, with %d Applications: %v", many, time.Since(began).Round(time.Millisecond))
	if now.ID != first.ID {
		t.Errorf("it is another comment: %d, not %d", now.ID, first.ID)
	}
	h.status(head, "plumb/preview", "success")
	broken := c.Commit(map[string]string{"apps/a011/one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: [\n"})
	c.Git("push", "-q", "origin", "feature")
	h.says(number, broken[:8], "a011", "error", "apps/a011/one.yaml:")
	h.status(broken, "plumb/preview", "failure")
	c.Git("reset", "-q", "--hard", head)
	c.Git("push", "-q", "-f", "origin", "feature")
	h.says(number, head[:8])

	passes, rendered := h.r.metric(t, "plumb_passes_total", ""), h.r.metric(t, "plumb_renderings_total", "")
	eventually(t, "Gitea merges", func() error { // it wants to look at a push first
		return h.f.Try(h.owner, http.MethodPost, fmt.Sprintf("/repos/%s/pulls/%d/merge", h.repo, number), map[string]string{"Do": "merge"}, nil)
	})
	began = time.Now()
	h.says(number, "merged")
	c.Git("fetch", "-q", "origin")
	merge := c.Git("rev-parse", "origin/main")
	h.status(merge, "plumb/"+h.ns+"/a007", "success")
	h.status(merge, "plumb/"+h.ns+"/a009", "success")
	t.Logf("from the merge to the statuses of what was applied: %v; %v passes, %v renderings for %d Applications",
		time.Since(began).Round(time.Millisecond), h.r.metric(t, "plumb_passes_total", "")-passes, h.r.metric(t, "plumb_renderings_total", "")-rendered, many)
	if n := h.r.metric(t, "plumb_renderings_total", "") - rendered; n > 4 {
		t.Errorf("a merge that changes 2 Applications has %v rendered", n)
	}
	t.Run("forks", h.forks)
	t.Run("elsewhere", h.elsewhere)
}

// forks are planned when somebody who may write names the commit.
func (h *hosted) forks(t *testing.T) {
	h.f.Call(h.someone, http.MethodPost, "/repos/"+h.repo+"/forks", map[string]string{}, nil)
	fork := h.f.Clone(h.someone, "someone/deploy")
	fork.Git("checkout", "-q", "-b", "theirs")
	head := fork.Commit(map[string]string{"apps/a021/one.yaml": configMap("a021", "theirs")})
	fork.Git("push", "-q", "origin", "theirs")
	number := h.open(h.someone, "someone:theirs")
	h.says(number, "comes from a fork", "/plumb preview "+head)
	h.status(head, "plumb/preview", "pending")
	h.say(h.someone, number, "/plumb preview "+head) // may not
	h.say(h.owner, number, "/plumb preview")         // does not say what was read
	h.say(h.owner, number, "/plumb preview 0000000")
	rendered := h.r.metric(t, "plumb_renderings_total", "")
	h.say(h.owner, number, "/plumb preview "+head)
	h.says(number, "1 Application changes", "a021")
	h.status(head, "plumb/preview", "success")
	if n := h.r.metric(t, "plumb_renderings_total", "") - rendered; n < 1 {
		t.Error("it was rendered before anybody allowed it")
	}
	next := fork.Commit(map[string]string{"apps/a022/one.yaml": configMap("a022", "theirs")})
	fork.Git("push", "-q", "origin", "theirs")
	h.says(number, "comes from a fork", "/plumb preview "+next)
	h.f.Call(h.owner, http.MethodPatch, fmt.Sprintf("/repos/%s/pulls/%d", h.repo, number), map[string]string{"state": "closed"}, nil)
	h.says(number, "closed without being merged")
}

// elsewhere is a pull request that no Application reads: a status, and no comment.
func (h *hosted) elsewhere(t *testing.T) {
	h.clone.Git("checkout", "-q", "-B", "words", "origin/main")
	head := h.clone.Commit(map[string]string{"README.md": "words"})
	h.clone.Git("push", "-q", "origin", "words")
	number := h.open(h.owner, "words")
	h.status(head, "plumb/preview", "success")
	if c, err := h.comment(number); err == nil {
		t.Errorf("there is a comment: %s", c.Body)
	}
}

func TestPullRequestsByPolling(t *testing.T) {
	h := newHosted(t, 3, 500*time.Millisecond)
	h.clone.Git("checkout", "-q", "-b", "feature")
	head := h.clone.Commit(map[string]string{"apps/a001/one.yaml": configMap("a001", "2")})
	h.clone.Git("push", "-q", "origin", "feature")
	number := h.open(h.owner, "feature")
	h.says(number, "1 Application changes", "a001")
	h.status(head, "plumb/preview", "success")
	h.say(h.owner, number, "/plumb preview\n")
	h.says(number, "asked=")
	h.f.Call(h.owner, http.MethodPatch, fmt.Sprintf("/repos/%s/pulls/%d", h.repo, number), map[string]string{"state": "closed"}, nil)
	h.says(number, "closed without being merged", "a001")
}

func TestPullRequestsOfModules(t *testing.T) {
	h := newHosted(t, 1, 500*time.Millisecond, func(o *Options) {
		tools := tofutest.Get(t)
		o.Tools = Tools{Path: []string{filepath.Dir(tools.Tofu)}, Env: []string{"PATH=" + os.Getenv("PATH")}, Config: tools.CLIConfig(t)}
		o.PollInterval = time.Second
	})
	module := func(value string) map[string]string {
		return map[string]string{"infra/main.tf": "variable \"token\" {\n  default   = \"hidden\"\n  sensitive = true\n}\n" +
			"resource \"terraform_data\" \"net\" {\n  input            = \"" + value + "\"\n  triggers_replace = \"" + value + "\"\n}\n" +
			"resource \"terraform_data\" \"secret\" {\n  input = \"" + value + "${var.token}\"\n}\n"}
	}
	h.clone.Commit(module("one"))
	h.clone.Git("push", "-q", "origin", "main")
	createApplication(t, h.ns, "infra", h.f.URL+"/"+h.repo, "infra")
	eventually(t, "the module is applied", func() error {
		if s, _ := status(t, h.ns, "infra"); s != "Synced" {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	h.clone.Git("checkout", "-q", "-b", "feature")
	head := h.clone.Commit(module("two"))
	h.clone.Git("push", "-q", "origin", "feature")
	number := h.open(h.owner, "feature")
	h.says(number, "1 Application changes", "infra", "terraform_data.net", "1 to replace", "for good", "(sensitive value)")
	h.status(head, "plumb/preview", "success")
	if s, _ := status(t, h.ns, "infra"); s != "Synced" {
		t.Errorf("the preview got in the way: it is %s", s)
	}
	h.policy("infra")
	h.approve(h.reviewer(), number, head)
	h.merge(number, "squash")
	eventually(t, "the module is applied by the pull request", func() error {
		if p := h.plan("infra"); p.Status.Phase != v1alpha1.PlanApplied || len(p.Status.PullRequests) != 1 {
			return fmt.Errorf("it is %s: %s", p.Status.Phase, p.Status.Message)
		}
		return nil
	})
}
