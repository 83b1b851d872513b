package controller

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gobwas/glob"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/mirror"
	"github.com/plumb-dev/plumb/internal/signature"
	"github.com/plumb-dev/plumb/internal/source"
)

var _ engine.Signatures = (*Controller)(nil)

// The keys of the ConfigMap with the allowed signers.
const (
	signersKey = "allowed_signers"
	revokedKey = "revoked_keys"
)

// integrity is one policy of a project, made ready.
type integrity struct {
	field            string
	include, exclude []repoPattern
	off, strict      bool
	trust            signature.Trust
	id               string
}

// repoPattern matches a repository however its URL is written.
type repoPattern struct{ raw, host glob.Glob }

func (p repoPattern) match(repo string) bool {
	return p.raw.Match(repo) || p.host.Match(hostPath(repo))
}

// hostPath is host/path of a URL: a policy that names a repository by https holds
// for ssh, too.
func hostPath(repo string) string {
	repo = strings.TrimSpace(repo)
	if host, path, ok := source.SplitSCP(repo); ok {
		repo = "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
	}
	_, rest, ok := strings.Cut(repo, "://")
	if !ok {
		rest = repo
	}
	if host, path, ok := strings.Cut(rest, "/"); ok {
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		rest = host + "/" + path
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(rest, "/"), ".git"))
}

func compileRepo(text string) (repoPattern, error) {
	raw, err := glob.Compile(text)
	if err != nil {
		return repoPattern{}, fmt.Errorf("%q is no pattern: %w", text, err)
	}
	host, err := glob.Compile(hostPath(text))
	if err != nil {
		return repoPattern{}, fmt.Errorf("%q is no pattern: %w", text, err)
	}
	return repoPattern{raw, host}, nil
}

// compileIntegrity makes a project's policies ready. As in Argo CD, signatureKeys
// are a policy for what no other one is for.
func compileIntegrity(spec *v1alpha1.AppProjectSpec) ([]integrity, *integrity, error) {
	var policies []integrity
	if spec.SourceIntegrity != nil && spec.SourceIntegrity.Git != nil {
		for i, p := range spec.SourceIntegrity.Git.Policies {
			field := fmt.Sprintf("spec.sourceIntegrity.git.policies[%d]", i)
			compiled, err := compilePolicy(field, p)
			if err != nil {
				return nil, nil, err
			}
			policies = append(policies, compiled)
		}
	}
	if len(spec.SignatureKeys) == 0 {
		return policies, nil, nil
	}
	legacy := &integrity{field: "spec.signatureKeys", trust: signature.Trust{GPG: true}}
	for i, k := range spec.SignatureKeys {
		if _, err := signature.ParseKeyID(k.KeyID); err != nil {
			return nil, nil, fmt.Errorf("spec.signatureKeys[%d].keyID: %w", i, err)
		}
		legacy.trust.Keys = append(legacy.trust.Keys, k.KeyID)
	}
	legacy.identify(spec.SignatureKeys)
	return policies, legacy, nil
}

func (p *integrity) identify(of any) {
	text, err := json.Marshal(of)
	if err != nil { // only values that came out of JSON are in a spec
		panic("controller: encode a policy: " + err.Error())
	}
	sum := sha256.Sum256(text)
	p.id = hex.EncodeToString(sum[:])
}

func compilePolicy(field string, p v1alpha1.SourceIntegrityGitPolicy) (integrity, error) {
	out := integrity{field: field}
	out.identify(p)
	for i, r := range p.Repos {
		text, deny := strings.CutPrefix(r.URL, "!")
		pattern, err := compileRepo(text)
		if err != nil {
			return out, fmt.Errorf("%s.repos[%d].url: %w", field, i, err)
		}
		if deny {
			out.exclude = append(out.exclude, pattern)
		} else {
			out.include = append(out.include, pattern)
		}
	}
	if p.GPG == nil && p.SSH == nil {
		return out, fmt.Errorf("%s asks for nothing: set gpg or ssh", field)
	}
	var modes []v1alpha1.SourceIntegrityGitPolicyGPGMode
	if p.GPG != nil {
		modes = append(modes, p.GPG.Mode)
		out.trust.GPG, out.trust.Keys = p.GPG.Mode != v1alpha1.SourceIntegrityGitPolicyGPGModeNone, p.GPG.Keys
		for i, key := range p.GPG.Keys {
			if _, err := signature.ParseKeyID(key); err != nil {
				return out, fmt.Errorf("%s.gpg.keys[%d]: %w", field, i, err)
			}
		}
	}
	if p.SSH != nil {
		modes = append(modes, p.SSH.Mode)
		out.trust.SSH = p.SSH.Mode != v1alpha1.SourceIntegrityGitPolicyGPGModeNone
		for i, text := range p.SSH.Signers {
			g, err := glob.Compile(text)
			if err != nil {
				return out, fmt.Errorf("%s.ssh.signers[%d]: %q is no pattern: %w", field, i, text, err)
			}
			out.trust.Signers = append(out.trust.Signers, g)
		}
	}
	return out, out.takeModes(modes)
}

// takeModes takes the strictest of the modes.
func (p *integrity) takeModes(modes []v1alpha1.SourceIntegrityGitPolicyGPGMode) error {
	p.off = true
	for _, mode := range modes {
		switch mode {
		case v1alpha1.SourceIntegrityGitPolicyGPGModeNone:
		case v1alpha1.SourceIntegrityGitPolicyGPGModeHead:
			p.off = false
		case v1alpha1.SourceIntegrityGitPolicyGPGModeStrict:
			p.off, p.strict = false, true
		default:
			return fmt.Errorf("%s: the mode %q is none of none, head and strict", p.field, mode)
		}
	}
	return nil
}

// isFor tells whether a policy is for a repository. What it leaves out must be
// written as it is used: another way to write it does not escape the policy.
func (p *integrity) isFor(repo string) bool {
	return slices.ContainsFunc(p.include, func(r repoPattern) bool { return r.match(repo) }) &&
		!slices.ContainsFunc(p.exclude, func(r repoPattern) bool { return r.raw.Match(repo) })
}

// integrityOf is the policy for a repository, or nil. Several are a mistake, which
// must not be an opening.
func (r *rules) integrityOf(repo string) (*integrity, error) {
	var found *integrity
	for i := range r.integrity {
		if !r.integrity[i].isFor(repo) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%s: %s and %s are both for the repository %s: only one may be", r.where, found.field, r.integrity[i].field, v1alpha1.RedactURL(repo))
		}
		found = &r.integrity[i]
	}
	if found == nil {
		found = r.signatureKeys
	}
	if found == nil || found.off {
		return nil, nil
	}
	return found, nil
}

// Integrity is how an Application's project wants a repository to be signed.
func (c *Controller) Integrity(app *v1alpha1.Application, key engine.Key, repo string) (*engine.Integrity, error) {
	g, ok := c.groups[key.Group]
	if !ok {
		return nil, nil
	}
	project := g.projectOf(app, key)
	if project == nil {
		return nil, nil
	}
	r, err := c.compiled.rules(g.gv.Group, project)
	if err != nil {
		return nil, err
	}
	p, err := r.integrityOf(repo)
	if p == nil || err != nil {
		return nil, err
	}
	c.gates.mu.RLock()
	keys := c.gates.keyring
	c.gates.mu.RUnlock()
	return &engine.Integrity{Strict: p.strict, Trust: p.trust, Keys: keys, ID: p.id + keys.ID(), Where: p.field + " of " + r.where}, nil
}

// addKeys mirrors the ConfigMaps with the public keys that signatures are verified
// with.
func (c *Controller) addKeys(client rest.Interface, namespaces []string) {
	for _, ns := range namespaces {
		for _, name := range []string{v1alpha1.GPGKeysConfigMap, v1alpha1.SignersConfigMap} {
			c.settings = append(c.settings, mirror.New(mirror.Options[*corev1.ConfigMap]{
				Client: client, Resource: "configmaps", Namespace: ns, Example: &corev1.ConfigMap{},
				FieldSelector: "metadata.name=" + name,
				Log:           c.log, Changed: c.publicKeysChanged,
			}))
		}
	}
}

// publicKeysChanged takes over public keys, and has all Applications looked at
// again.
func (c *Controller) publicKeysChanged(old, now *corev1.ConfigMap) {
	if old != nil && now != nil && maps.Equal(old.Data, now.Data) {
		return
	}
	named, data := now, map[string]string(nil)
	if now == nil {
		named = old
	} else {
		data = now.Data
	}
	c.gates.mu.Lock()
	c.gates.keyData[named.Namespace+"/"+named.Name] = data
	keys, problems := keyringOf(c.gates.keyData)
	c.gates.keyring = keys
	c.gates.mu.Unlock()
	for _, p := range problems {
		c.log.Warn("a public key cannot be read", "problem", p)
	}
	c.EnqueueWhere(func(engine.Key, *v1alpha1.Application) bool { return true })
}

// keyringOf puts the keys of all ConfigMaps together.
func keyringOf(data map[string]map[string]string) (*signature.Keyring, []string) {
	gpg := map[string]string{}
	var signers, revoked []string
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if !strings.HasSuffix(name, "/"+v1alpha1.SignersConfigMap) {
			for key, text := range data[name] {
				gpg[name+": "+key] = text
			}
			continue
		}
		signers = append(signers, data[name][signersKey])
		revoked = append(revoked, data[name][revokedKey])
	}
	return signature.NewKeyring(gpg, strings.Join(signers, "\n"), strings.Join(revoked, "\n"))
}
