package engine

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/signature"
	"github.com/plumb-dev/plumb/internal/source"
)

// fakeSigned are the commits of the fake repository, with signatures.
type fakeSigned struct {
	*fakeGit
	t       *testing.T
	objects map[string]source.Object
	parent  map[string]string
	visits  int
}

// sign makes the last commit one with a signature; nil is none.
func (g *fakeSigned) sign(by ssh.Signer, message string) {
	g.t.Helper()
	headers := "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor Ada <ada@example.com> 0 +0000\n"
	header := ""
	if by != nil {
		sig, err := sshsig.Sign(strings.NewReader(headers+"\n"+message), by, sshsig.HashSHA512, "git")
		if err != nil {
			g.t.Fatal(err)
		}
		header = "gpgsig " + strings.ReplaceAll(strings.TrimSpace(string(sshsig.Armor(sig))), "\n", "\n ") + "\n"
	}
	g.objects[g.revision()] = source.Object{ID: g.revision(), Raw: []byte(headers + header + "\n" + message)}
	if g.head > 1 {
		g.parent[g.revision()] = fmt.Sprintf("commit-%d", g.head-1)
	}
}

func (g *fakeSigned) Signatures(_ context.Context, _ source.Spec, at source.Resolved, _ source.Credentials, visit func(source.Object) bool) error {
	visit(g.objects[at.Revision])
	return nil
}

func (g *fakeSigned) History(_ context.Context, _ source.Spec, at source.Resolved, _ source.Credentials, visit func(source.Object) bool) error {
	for id := at.Revision; id != ""; id = g.parent[id] {
		g.visits++
		if !visit(g.objects[id]) {
			return nil
		}
	}
	return nil
}

func (g *fakeSigned) Describe(_ context.Context, _ source.Spec, at source.Resolved, _ source.Credentials) (source.Commit, error) {
	return source.Commit{Revision: at.Revision, Author: "Ada <ada@example.com>"}, nil
}

// rule is the same for all.
type rule struct{ of *Integrity }

func (r *rule) Integrity(*v1alpha1.Application, Key, string) (*Integrity, error) { return r.of, nil }

func signer(seed byte) ssh.Signer {
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize))))
	if err != nil {
		panic(err)
	}
	return s
}

func allowing(t *testing.T, strict bool, signers ...ssh.Signer) *Integrity {
	t.Helper()
	text := ""
	for i, s := range signers {
		text += fmt.Sprintf("signer-%d@example.com %s", i, ssh.MarshalAuthorizedKey(s.PublicKey()))
	}
	keys, problems := signature.NewKeyring(nil, text, "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &Integrity{Strict: strict, Trust: signature.Trust{SSH: true}, Keys: keys, ID: keys.ID(), Where: "spec.sourceIntegrity.git.policies[0] of project shop"}
}

func signedStory(t *testing.T, r *rule) (*story, *fakeSigned) {
	t.Helper()
	s := newStory(t)
	g := &fakeSigned{fakeGit: s.git, t: t, objects: map[string]source.Object{}, parent: map[string]string{}}
	s.e.Sources.Git, s.e.Signatures = g, r
	return s, g
}

func TestSignedSources(t *testing.T) {
	ada, eve := signer(0), signer(1)
	r := &rule{allowing(t, false, ada)}
	s, g := signedStory(t, r)
	g.commit(webAt("1"))
	g.sign(ada, "one\n")
	s.app("web", nil)
	s.tell("an Application appears, whose commit is signed")
	g.commit(webAt("2"))
	g.sign(nil, "two\n")
	s.tell("a commit that is not signed")
	s.world.Remove("ConfigMap/shop/a")
	s.tell("somebody deletes a: what is not trusted is not applied")
	g.commit(webAt("3"))
	g.sign(eve, "three\n")
	s.tell("a commit that is signed by somebody else")
	r.of = allowing(t, false, ada, eve)
	s.tell("who is allowed now")
	k := Key{v1alpha1.Group, "plumb", "web"}
	p := &pass{e: s.e, key: k, app: s.api.apps[k], st: s.e.state(k), fence: open{}}
	if c := p.commits(t.Context()); len(c) != 1 || c[0].Author != "Ada <ada@example.com>" || c[0].Signature.Status != source.SignatureGood || c[0].Signature.Signer != "signer-1@example.com" {
		t.Errorf("what is desired is described as %+v", c)
	}
	g.commit(webAt("4"))
	g.sign(nil, "four\n")
	s.tell("another that is not signed")
	s.remove("web")
	s.tell("a deletion needs no signature")
	s.check()
}

func TestSignedHistory(t *testing.T) {
	ada := signer(0)
	s, g := signedStory(t, &rule{allowing(t, true, ada)})
	g.commit(webAt("1"))
	g.sign(nil, "one\n")
	g.commit(webAt("2"))
	g.sign(ada, "two\n")
	s.app("web", nil)
	s.tell("the last commit is signed, the one before is not")
	g.commit(webAt("2"))
	g.sign(ada, "seal\n\nArgocd-gpg-seal: reviewed\n")
	s.tell("a seal vouches for what was before")
	g.commit(webAt("3"))
	g.sign(ada, "three\n")
	s.tell("another signed commit")
	before := g.visits
	s.clock.now = s.clock.now.Add(time.Minute)
	s.run()
	if g.visits != before {
		t.Error("what was verified is verified again")
	}
	g.commit(webAt("4"))
	g.sign(nil, "four\n")
	g.commit(webAt("5"))
	g.sign(ada, "five\n")
	s.tell("somebody puts a commit in between")
	s.check()
}

func TestPreviewsGoByTheHead(t *testing.T) {
	ada := signer(0)
	s, g := signedStory(t, &rule{allowing(t, false, ada)})
	g.commit(webAt("1"))
	g.sign(ada, "head\n")
	g.commit(webAt("2"))
	g.sign(nil, "what a host has merged on trial\n")
	s.app("web", nil)
	k := Key{v1alpha1.Group, "plumb", "web"}
	look := func(vouched ...string) error {
		_, err := s.e.Render(t.Context(), s.api.apps[k], k, PreviewOptions{Revisions: []string{"commit-2"}, Vouched: vouched})
		return err
	}
	if err := look("commit-1"); err != nil {
		t.Errorf("the head is signed: %v", err)
	}
	if err := look(); err == nil || !strings.Contains(err.Error(), "not signed") {
		t.Errorf("without a head, what is read has to be: %v", err)
	}
	if err := look("commit-2"); err == nil {
		t.Error("the head is not signed")
	}
}
