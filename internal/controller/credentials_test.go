package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/source"
)

// canary stands for a secret: it must show up nowhere.
const canary = "c4n4ry-s3cr3t"

func repoSecret(name, kind string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: name, Labels: map[string]string{v1alpha1.LabelSecretType: kind}},
		Data:       map[string][]byte{},
	}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

func TestFor(t *testing.T) {
	r := newRepositories()
	for _, s := range []*corev1.Secret{
		repoSecret("app", "repository", map[string]string{"url": "https://git.example/team/app.git", "username": "app", "password": canary}),
		repoSecret("app-shop", "repository", map[string]string{"url": "https://git.example/team/app", "username": "shop", "password": canary, "project": "shop"}),
		repoSecret("open", "repository", map[string]string{"url": "https://git.example/team/open", "insecure": "true", "proxy": "http://proxy"}),
		repoSecret("team", "repo-creds", map[string]string{"url": "https://git.example/team", "username": "team", "password": canary}),
		repoSecret("host", "repo-creds", map[string]string{"url": "https://git.example", "username": "host", "password": canary}),
		repoSecret("key", "repository", map[string]string{"url": "git@git.example:team/keyed.git", "sshPrivateKey": canary, "insecureIgnoreHostKey": "true"}),
		repoSecret("github", "repository", map[string]string{"url": "https://github.example/a/b", "githubAppPrivateKey": canary}),
		repoSecret("wrong", "repository", map[string]string{"url": "https://wrong.example/a/b", "insecure": canary}),
	} {
		read := readRepository(s)
		r.secrets[read.id] = read
	}
	r.knownHosts = "git.example ssh-ed25519 AAAA"
	r.certs = map[string]string{"git.example": "PEM"}
	for name, tc := range map[string]struct {
		reason        string
		repo, project string
		want          source.Credentials
		broken        string
	}{
		"exact":            {reason: "the repository's own", repo: "https://GIT.example/team/app", project: "default", want: source.Credentials{Username: "app", Password: canary}},
		"of the project":   {reason: "the project's own goes before", repo: "https://git.example/team/app", project: "shop", want: source.Credentials{Username: "shop", Password: canary}},
		"template":         {reason: "the longest prefix", repo: "https://git.example/team/other", want: source.Credentials{Username: "team", Password: canary}},
		"shorter template": {reason: "as far as it goes", repo: "https://git.example/ops/other", want: source.Credentials{Username: "host", Password: canary}},
		"filled up":        {reason: "a repository without credentials takes them from the template", repo: "https://git.example/team/open", want: source.Credentials{Username: "team", Password: canary, Insecure: true, Proxy: "http://proxy"}},
		"ssh":              {reason: "the short form", repo: "ssh://git@git.example/team/keyed", want: source.Credentials{SSHPrivateKey: canary, Insecure: true}},
		"none":             {reason: "a public repository", repo: "https://elsewhere.example/a", want: source.Credentials{}},
		"github app":       {reason: "not there yet", repo: "https://github.example/a/b", broken: "githubAppPrivateKey is not implemented yet"},
		"no boolean":       {reason: "an unclear flag is not guessed", repo: "https://wrong.example/a/b", broken: "key insecure is neither true nor false"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.find(tc.repo, tc.project)
			verdict(t, tc.reason, err, tc.broken)
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error shows a secret: %s", err)
			}
			if tc.broken != "" {
				return
			}
			tc.want.KnownHosts = r.knownHosts
			if strings.Contains(strings.ToLower(tc.repo), "//git.example") || strings.Contains(tc.repo, "@git.example") {
				tc.want.CABundle = "PEM"
			}
			if got != tc.want { // not by cmp: credentials must not be printed
				t.Errorf("%s: got the user %q, want %q", tc.reason, got.Username, tc.want.Username)
			}
		})
	}
}

func TestNormalRepo(t *testing.T) {
	for in, want := range map[string]string{
		"https://GitHub.com/Org/Repo.git":    "https://github.com/org/repo",
		"git@github.com:org/repo.git":        "git@github.com/org/repo",
		"ssh://git@github.com/org/repo":      "git@github.com/org/repo",
		"ssh://git@github.com:2222/org/repo": "git@github.com:2222/org/repo",
		" https://x/y ":                      "https://x/y",
		"https://x/%zz":                      "",
	} {
		if got := normalRepo(in); got != want {
			t.Errorf("normalRepo(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMatters(t *testing.T) {
	base := func() *v1alpha1.Application {
		return &v1alpha1.Application{
			ObjectMeta: metav1.ObjectMeta{UID: "1", Generation: 1, Labels: map[string]string{"a": "b"}, Finalizers: []string{"f"}, Annotations: map[string]string{"x": "y", v1alpha1.AnnotationRefresh: "hard"}},
			Operation:  &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}},
		}
	}
	now := metav1.Now()
	for name, tc := range map[string]struct {
		reason string
		change func(*v1alpha1.Application)
		want   string // with and without a status subresource
	}{
		"status":           {"the engine's own writing", func(a *v1alpha1.Application) { a.Status.Sync.Status = "Synced"; a.ResourceVersion = "2" }, "false false"},
		"generation alone": {"status writes count where there is no subresource", func(a *v1alpha1.Application) { a.Generation = 2 }, "true false"},
		"spec":             {"the user's change", func(a *v1alpha1.Application) { a.Generation = 2; a.Spec.Project = "p" }, "true true"},
		"refresh heard":    {"the engine takes it back", func(a *v1alpha1.Application) { delete(a.Annotations, v1alpha1.AnnotationRefresh) }, "false false"},
		"refresh":          {"a new request", func(a *v1alpha1.Application) { a.Annotations[v1alpha1.AnnotationRefresh] = "normal" }, "true true"},
		"annotation gone":  {"it may have held something back", func(a *v1alpha1.Application) { delete(a.Annotations, "x") }, "true true"},
		"operation":        {"a new request", func(a *v1alpha1.Application) { a.Generation = 2; a.Operation.Sync.Prune = true }, "true true"},
		"operation heard":  {"the engine takes it back; its generation is new to the status", func(a *v1alpha1.Application) { a.Generation = 2; a.Operation = nil }, "true false"},
		"deletion":         {"on its way out", func(a *v1alpha1.Application) { a.DeletionTimestamp = &now }, "true true"},
		"another object":   {"of the same name", func(a *v1alpha1.Application) { a.UID = "2" }, "true true"},
	} {
		t.Run(name, func(t *testing.T) {
			old, changed := base(), base()
			tc.change(changed)
			got := fmt.Sprint((&group{subresource: true}).matters(old, changed), " ", (&group{}).matters(old, changed))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestForeignStatus(t *testing.T) {
	status := v1alpha1.ApplicationStatus{
		Plan:      &v1alpha1.PlanSummary{Digest: "d", Create: 2},
		Inventory: []v1alpha1.InventoryEntry{{ID: "apps/Deployment/shop/web", Version: "v1", Desired: "1", Applied: "2"}},
	}
	meta := map[string]any{}
	if err := keepForeign(meta, status); err != nil {
		t.Fatal(err)
	}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Generation: 7, Annotations: meta["annotations"].(map[string]string)}}
	restoreForeign(app)
	want := status
	want.ObservedGeneration = 7
	if diff := cmp.Diff(want, app.Status); diff != "" {
		t.Errorf("status that Argo CD's definition drops (-want +got):\n%s", diff)
	}
	if len(app.Annotations) != 0 {
		t.Errorf("annotations left: %v", app.Annotations)
	}
}
