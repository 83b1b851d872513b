package signature

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/gobwas/glob"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/plumb-dev/plumb/internal/source"
)

var born = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// now is when tests verify.
var now = born.Add(24 * time.Hour)

const headers = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor Ada <ada@example.com> 1735689600 +0000\ncommitter Ada <ada@example.com> 1735689600 +0000\n"

func key(t *testing.T, life time.Duration, subkey bool) *openpgp.Entity {
	t.Helper()
	c := &packet.Config{Time: func() time.Time { return born }, KeyLifetimeSecs: uint32(life.Seconds()), Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA256}
	e, err := openpgp.NewEntity("Ada", "", "ada@example.com", c)
	if err != nil {
		t.Fatal(err)
	}
	if subkey {
		if err := e.AddSigningSubkey(c); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func public(t *testing.T, e *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func sign(t *testing.T, e *openpgp.Entity, payload string, hash crypto.Hash, life time.Duration) string {
	t.Helper()
	var b bytes.Buffer
	c := &packet.Config{Time: func() time.Time { return born.Add(time.Minute) }, DefaultHash: hash, SigLifetimeSecs: uint32(life.Seconds())}
	if err := openpgp.ArmoredDetachSign(&b, e, strings.NewReader(payload), c); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

// commit puts a signature into a commit's headers, as Git does.
func commit(signature, message string) source.Object {
	header := ""
	if signature != "" {
		header = "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(signature, "\n"), "\n", "\n ") + "\n"
	}
	return source.Object{ID: strings.Repeat("a", 40), Raw: []byte(headers + header + "\n" + message)}
}

func id(e *openpgp.Entity) string { return fmt.Sprintf("%016X", e.PrimaryKey.KeyId) }

func ring(t *testing.T, entities ...*openpgp.Entity) *Keyring {
	t.Helper()
	keys := map[string]string{}
	for i, e := range entities {
		keys[fmt.Sprint(i)] = public(t, e)
	}
	k, problems := NewKeyring(keys, "", "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return k
}

func TestGPG(t *testing.T) {
	const message = "first line\n"
	payload := headers + "\n" + message
	ada, eve, old, revoked, sub := key(t, 0, false), key(t, 0, false), key(t, time.Hour, false), key(t, 0, false), key(t, 0, true)
	good := sign(t, ada, payload, crypto.SHA256, 0)
	onRevoked := sign(t, revoked, payload, crypto.SHA256, 0)
	if err := revoked.RevokeKey(packet.KeyRetired, "left", &packet.Config{Time: func() time.Time { return born.Add(time.Hour) }}); err != nil {
		t.Fatal(err)
	}
	tag := "object " + strings.Repeat("a", 40) + "\ntype commit\ntag v1\ntagger Ada <ada@example.com> 1735689600 +0000\n\nrelease\n"
	k := ring(t, ada, old, revoked, sub)
	trust := Trust{GPG: true, Keys: []string{id(ada), id(old), id(revoked), id(sub)}}
	cases := map[string]struct {
		reason string
		object source.Object
		trust  Trust
		want   source.SignatureStatus
	}{
		"good":           {"a signature of a key that counts", commit(good, message), trust, source.SignatureGood},
		"by fingerprint": {"keys may be named in full", commit(good, message), Trust{GPG: true, Keys: []string{fmt.Sprintf("%x", ada.PrimaryKey.Fingerprint)}}, source.SignatureGood},
		"by a subkey":    {"a subkey signs for its key", commit(sign(t, sub, payload, crypto.SHA256, 0), message), trust, source.SignatureGood},
		"other print":    {"a fingerprint is compared in full", commit(good, message), Trust{GPG: true, Keys: []string{strings.Repeat("0", 24) + id(ada)}}, source.KeyNotAllowed},
		"unsigned":       {"no signature", commit("", message), trust, source.SignatureMissing},
		"other message":  {"what was signed was something else", commit(good, "second line\n"), trust, source.SignatureBad},
		"unknown":        {"a key that nobody gave", commit(sign(t, eve, payload, crypto.SHA256, 0), message), trust, source.KeyUnknown},
		"not allowed":    {"a key that is known, and does not count here", commit(good, message), Trust{GPG: true, Keys: []string{id(old)}}, source.KeyNotAllowed},
		"not this kind":  {"a project that wants SSH", commit(good, message), Trust{SSH: true, Keys: []string{id(ada)}}, source.KeyNotAllowed},
		"expired key":    {"a key that has expired", commit(sign(t, old, payload, crypto.SHA256, 0), message), trust, source.KeyExpired},
		"expired":        {"a signature that has expired", commit(sign(t, ada, payload, crypto.SHA256, time.Hour), message), trust, source.SignatureExpired},
		"revoked":        {"a key that was revoked", commit(onRevoked, message), trust, source.KeyRevoked},
		"garbage":        {"what is no signature", commit("-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n", message), trust, source.SignatureBad},
		"something else": {"X.509 is not understood", commit("-----BEGIN SIGNED MESSAGE-----\nAAAA\n-----END SIGNED MESSAGE-----\n", message), trust, source.SignatureBad},
		"two signatures": {"which one would count?", source.Object{Raw: append([]byte(headers+"gpgsig x\ngpgsig y\n"), "\n"+message...)}, trust, source.SignatureBad},
		"in the message": {"a signature in the message is a message", commit("", message+"gpgsig "+good), trust, source.SignatureMissing},
		"good tag":       {"tags are signed at their end", source.Object{Tag: "v1", Raw: []byte(tag + sign(t, ada, tag, crypto.SHA256, 0))}, trust, source.SignatureGood},
		"unsigned tag":   {"or are not", source.Object{Tag: "v1", Raw: []byte(tag)}, trust, source.SignatureMissing},
		"tag of another": {"what was signed was another tag", source.Object{Tag: "v1", Raw: []byte(strings.Replace(tag, "aaaa", "bbbb", 1) + sign(t, ada, tag, crypto.SHA256, 0))}, trust, source.SignatureBad},
		"empty":          {"nothing at all", source.Object{}, trust, source.SignatureMissing},
		"header cut off": {"what ends in the middle", source.Object{Raw: []byte("gpgsig ")}, trust, source.SignatureMissing},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := k.Verify(c.object, c.trust, now)
			if got.Status != c.want {
				t.Errorf("%s: got %+v, want %s", c.reason, got, c.want)
			}
			if text := Explain(c.object, got); text == "" || strings.Contains(text, "\n") {
				t.Errorf("explained as %q", text)
			}
		})
	}
	got := k.Verify(commit(good, message), trust, now)
	if want := (source.Signature{Status: source.SignatureGood, Kind: GPG, Key: id(ada), Signer: "Ada <ada@example.com>"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	unknown := commit(sign(t, eve, payload, crypto.SHA256, 0), message)
	want := fmt.Sprintf("commit %s by Ada <ada@example.com> is signed with the gpg key %s, which is not known", strings.Repeat("a", 40), id(eve))
	if got := Explain(unknown, k.Verify(unknown, trust, now)); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func sshKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

func TestSSH(t *testing.T) {
	const message = "first line\n"
	payload := headers + "\n" + message
	ada, adaKey := sshKey(t)
	bob, bobKey := sshKey(t)
	old, oldKey := sshKey(t)
	gone, goneKey := sshKey(t)
	files, filesKey := sshKey(t)
	eve, _ := sshKey(t)
	signers := "# the team\nada@example.com " + adaKey + "\n" +
		"bob@example.com,bob@other.example namespaces=\"git,file\" " + bobKey + "\n" +
		"old@example.com valid-before=\"20240101\" " + oldKey + "\n" +
		"gone@example.com " + goneKey + "\nfiles@example.com namespaces=\"file\" " + filesKey + "\n"
	k, problems := NewKeyring(nil, signers, "# left\n"+goneKey+"\n")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	of := func(s ssh.Signer, namespace, message string) source.Object {
		sig, err := sshsig.Sign(strings.NewReader(payload), s, sshsig.HashSHA512, namespace)
		if err != nil {
			t.Fatal(err)
		}
		return commit(string(sshsig.Armor(sig)), message)
	}
	all := Trust{SSH: true}
	cases := map[string]struct {
		reason string
		object source.Object
		trust  Trust
		want   source.SignatureStatus
	}{
		"good":            {"an allowed signer", of(ada, "git", message), all, source.SignatureGood},
		"with options":    {"options that let Git in", of(bob, "git", message), all, source.SignatureGood},
		"by principal":    {"the project may name principals", of(bob, "git", message), Trust{SSH: true, Signers: []glob.Glob{glob.MustCompile("*@other.example")}}, source.SignatureGood},
		"other principal": {"and others do not count", of(ada, "git", message), Trust{SSH: true, Signers: []glob.Glob{glob.MustCompile("bob@*")}}, source.KeyNotAllowed},
		"not this kind":   {"a project that wants GnuPG", of(ada, "git", message), Trust{GPG: true}, source.KeyNotAllowed},
		"unknown":         {"a key that nobody allowed", of(eve, "git", message), all, source.KeyUnknown},
		"for files":       {"a key that is for something else", of(files, "git", message), all, source.KeyUnknown},
		"other namespace": {"a signature that was made for something else", of(ada, "file", message), all, source.SignatureBad},
		"other message":   {"what was signed was something else", of(ada, "git", "second line\n"), all, source.SignatureBad},
		"expired":         {"a key that is no longer valid", of(old, "git", message), all, source.KeyExpired},
		"revoked":         {"a key that was revoked, though it is allowed", of(gone, "git", message), all, source.KeyRevoked},
		"garbage":         {"what is no signature", commit("-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n", message), all, source.SignatureBad},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := k.Verify(c.object, c.trust, now); got.Status != c.want {
				t.Errorf("%s: got %+v, want %s", c.reason, got, c.want)
			}
		})
	}
}

func TestKeysThatCannotBeRead(t *testing.T) {
	ada, adaKey := sshKey(t)
	_ = ada
	k, problems := NewKeyring(map[string]string{"AAAA": "nonsense"}, "ada@example.com "+adaKey+"\nbob\n*@ca cert-authority "+adaKey+"\nx odd=\"1\" "+adaKey+"\n", "")
	if len(k.signers) != 1 || len(problems) != 4 {
		t.Errorf("got %d signers, problems %q", len(k.signers), problems)
	}
	if k, problems = NewKeyring(nil, "ada@example.com "+adaKey+"\n", "nonsense"); len(k.signers) != 0 || len(problems) != 1 {
		t.Errorf("a list of revoked keys that cannot be read revokes all: got %d signers, problems %q", len(k.signers), problems)
	}
}

func TestSealed(t *testing.T) {
	for message, want := range map[string]bool{
		"seal\n\nArgocd-gpg-seal: reviewed\n":                    true,
		"seal\n\nbody\n\nSigned-off-by: A\nargocd-gpg-seal: x\n": true,
		"Argocd-gpg-seal: x\n":                                   false,
		"seal\n\nArgocd-gpg-seal: x\n\nmore\n":                   false,
		"seal\n":                                                 false,
	} {
		if got := Sealed(commit("", message)); got != want {
			t.Errorf("%q: got %t", message, got)
		}
	}
}

// TestRealPrograms verifies what git, gpg and ssh-keygen make.
func TestRealPrograms(t *testing.T) {
	for _, program := range []string{"git", "gpg", "ssh-keygen", "gpgconf"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed: .ci/run installs it", program)
		}
	}
	home, err := os.MkdirTemp("", "sig") // a short path: gpg's agent has its socket in it
	if err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "HOME="+home, "GNUPGHOME="+home, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v", program, args, err)
		}
		return string(out)
	}
	t.Cleanup(func() {
		run("gpgconf", "--kill", "all")
		_ = os.RemoveAll(home)
	})
	run("gpg", "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback", "--quick-generate-key", "Ada <ada@example.com>", "ed25519", "sign", "never")
	run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(home, "id"))
	public, err := os.ReadFile(filepath.Join(home, "id.pub"))
	if err != nil {
		t.Fatal(err)
	}
	run("git", "init", "-q", "r")
	git := func(args ...string) string {
		return strings.TrimSuffix(run("git", append([]string{"-C", "r"}, args...)...), "")
	}
	git("commit", "-q", "--allow-empty", "-S", "-m", "by gpg", "--trailer", "Argocd-gpg-seal: all is well")
	git("tag", "-s", "-m", "release", "v1")
	git("-c", "gpg.format=ssh", "-c", "user.signingkey="+filepath.Join(home, "id"), "commit", "-q", "--allow-empty", "-S", "-m", "by ssh")
	git("-c", "gpg.format=ssh", "-c", "user.signingkey="+filepath.Join(home, "id"), "tag", "-s", "-m", "release", "v2")
	git("commit", "-q", "--allow-empty", "-m", "by nobody")
	k, problems := NewKeyring(map[string]string{"ada": run("gpg", "--armor", "--export", "ada@example.com")}, "ada@example.com "+string(public), "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	trust := Trust{GPG: true, SSH: true, Keys: []string{id(k.gpg[0])}}
	object := func(kind, name, tag string) source.Object {
		return source.Object{ID: name, Tag: tag, Raw: []byte(git("cat-file", kind, name))}
	}
	for name, c := range map[string]struct {
		object source.Object
		want   source.SignatureStatus
		kind   string
	}{
		"commit by gpg":    {object("commit", "HEAD~2", ""), source.SignatureGood, GPG},
		"tag by gpg":       {object("tag", "v1", "v1"), source.SignatureGood, GPG},
		"commit by ssh":    {object("commit", "HEAD~1", ""), source.SignatureGood, SSH},
		"tag by ssh":       {object("tag", "v2", "v2"), source.SignatureGood, SSH},
		"commit by nobody": {object("commit", "HEAD", ""), source.SignatureMissing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := k.Verify(c.object, trust, time.Now()); got.Status != c.want || got.Kind != c.kind {
				t.Errorf("got %+v", got)
			}
		})
	}
	if !Sealed(object("commit", "HEAD~2", "")) || Sealed(object("commit", "HEAD~1", "")) {
		t.Error("the first commit carries the seal, and no other")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(headers+"gpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ==\n -----END PGP SIGNATURE-----\n\nm\n"), false)
	f.Add([]byte("object a\n\nm\n-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"), true)
	k, _ := NewKeyring(nil, "", "")
	f.Fuzz(func(t *testing.T, raw []byte, tag bool) {
		o := source.Object{Raw: raw}
		if tag {
			o.Tag = "v1"
		}
		if got := k.Verify(o, Trust{GPG: true, SSH: true}, now); got.Status == source.SignatureGood {
			t.Errorf("a signature is good without keys: %+v", got)
		}
		Explain(o, k.Verify(o, Trust{}, now))
		Sealed(o)
	})
}
