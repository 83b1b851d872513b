package signature

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/glob"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/plumb-dev/plumb/internal/source"
)

// namespace is what Git's SSH signatures are made for.
const namespace = "git"

// signer is a line of OpenSSH's allowed signers.
type signer struct {
	principals    string
	key           string // its fingerprint
	after, before time.Time
}

// parseSigners reads OpenSSH's allowed signers. Lines that cannot be honoured are
// left out and told.
func parseSigners(text string) (signers []signer, problems []string) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, forGit, err := parseSigner(line)
		if err != nil {
			problems = append(problems, fmt.Sprintf("allowed_signers:%d: %v; the line is left out", n, err))
		} else if forGit {
			signers = append(signers, s)
		}
	}
	return signers, problems
}

var errAuthority = errors.New("certificate authorities (cert-authority) are not supported")

func parseSigner(line string) (s signer, forGit bool, err error) {
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return s, false, errors.New("it is not PRINCIPALS KEYTYPE KEY")
	}
	s.principals = strings.Trim(line[:i], `"`)
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(line[i:])))
	if err != nil {
		return s, false, fmt.Errorf("read the key: %w", err)
	}
	s.key, forGit = ssh.FingerprintSHA256(key), true
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			forGit = matchesList(value, namespace)
		case "valid-after":
			s.after, err = parseMoment(value)
		case "valid-before":
			s.before, err = parseMoment(value)
		case "cert-authority":
			return s, false, errAuthority
		default:
			return s, false, fmt.Errorf("the option %q is not known", clip(name))
		}
		if err != nil {
			return s, false, err
		}
	}
	return s, forGit, nil
}

// parseMoment reads YYYYMMDD[HHMM[SS]], with Z or in UTC.
func parseMoment(text string) (time.Time, error) {
	digits := strings.TrimSuffix(text, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) == len(layout) {
			return time.Parse(layout, digits)
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write YYYYMMDD or YYYYMMDDHHMMSS", clip(text))
}

// matchesList matches OpenSSH's lists of patterns.
func matchesList(list, value string) bool {
	matched := false
	for text := range strings.SplitSeq(list, ",") {
		text, deny := strings.CutPrefix(text, "!")
		g, err := glob.Compile(strings.NewReplacer("[", `\[`, "{", `\{`).Replace(text))
		if err != nil {
			return false
		}
		if g.Match(value) {
			if deny {
				return false
			}
			matched = true
		}
	}
	return matched
}

// revoke reads the SSH keys that are not believed any more.
func (k *Keyring) revoke(text string) (problems []string) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			problems = append(problems, fmt.Sprintf("revoked_keys:%d: %v; no SSH key is believed until it is corrected", n, err))
			continue
		}
		k.revoked[ssh.FingerprintSHA256(key)] = true
	}
	return problems
}

func (k *Keyring) verifySSH(payload, armored []byte, t Trust, now time.Time) source.Signature {
	out := source.Signature{Kind: SSH, Status: source.SignatureBad}
	sig, err := sshsig.Unarmor(armored)
	if err != nil {
		return out
	}
	out.Key = ssh.FingerprintSHA256(sig.PublicKey)
	known := slices.DeleteFunc(slices.Clone(k.signers), func(s signer) bool { return s.key != out.Key })
	// What is weak is not believed, whoever made it: RSA with SHA-1.
	if sig.Signature.Format == ssh.KeyAlgoRSA || sshsig.Verify(bytes.NewReader(payload), sig, sig.PublicKey, sig.HashAlgorithm, namespace) != nil {
		return out
	}
	switch {
	case k.revoked[out.Key]:
		out.Status = source.KeyRevoked
		return out
	case len(known) == 0:
		out.Status = source.KeyUnknown
		return out
	}
	for _, s := range known { // the best of its lines counts
		out.Signer = strings.ToValidUTF8(clip(s.principals), "\uFFFD")
		switch {
		case !s.after.IsZero() && now.Before(s.after), !s.before.IsZero() && !now.Before(s.before):
			out.Status = source.KeyExpired
		case !s.allowed(t.Signers):
			out.Status = source.KeyNotAllowed
		default:
			out.Status = source.SignatureGood
			return out
		}
	}
	return out
}

// allowed tells whether one of the line's principals may sign.
func (s signer) allowed(signers []glob.Glob) bool {
	if len(signers) == 0 {
		return true
	}
	for principal := range strings.SplitSeq(s.principals, ",") {
		if !strings.HasPrefix(principal, "!") && slices.ContainsFunc(signers, func(g glob.Glob) bool { return g.Match(principal) }) {
			return true
		}
	}
	return false
}
