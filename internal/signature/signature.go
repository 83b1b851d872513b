// Package signature verifies the signatures of Git commits and annotated tags:
// GnuPG's with public keys, SSH's with allowed signers. It is a pure function of
// an object's bytes, keys and a time: it runs no program, reads no file and knows
// neither where objects nor where keys come from.
package signature

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gobwas/glob"

	"github.com/plumb-dev/plumb/internal/source"
)

// The kinds of signatures.
const (
	GPG = "gpg"
	SSH = "ssh"
)

// Trust says whose signatures count.
type Trust struct {
	// GPG and SSH tell which kinds count at all.
	GPG, SSH bool
	// Keys are the ids (16 digits) or fingerprints of the GnuPG keys that count.
	Keys []string
	// Signers are the principals of the SSH signers that count; none: all of them.
	Signers []glob.Glob
}

// Verify says what an object's signature is worth.
func (k *Keyring) Verify(o source.Object, t Trust, now time.Time) (out source.Signature) {
	defer func() {
		// A signature comes from a repository: what a library makes of one that it
		// did not expect must not end the process.
		if recover() != nil {
			out = source.Signature{Status: source.SignatureBad, Kind: out.Kind}
		}
	}()
	payload, armored, err := split(o)
	switch {
	case err != nil:
		return source.Signature{Status: source.SignatureBad}
	case len(armored) == 0:
		return source.Signature{Status: source.SignatureMissing}
	case bytes.HasPrefix(armored, []byte(sshBegin)):
		out = k.verifySSH(payload, armored, t, now)
		if out.Status == source.SignatureGood && !t.SSH {
			out.Status = source.KeyNotAllowed
		}
		return out
	case bytes.HasPrefix(armored, []byte(pgpBegin)), bytes.HasPrefix(armored, []byte(pgpMessage)):
		out = k.verifyGPG(payload, armored, t, now)
		if out.Status == source.SignatureGood && !t.GPG {
			out.Status = source.KeyNotAllowed
		}
		return out
	}
	return source.Signature{Status: source.SignatureBad}
}

const (
	pgpBegin   = "-----BEGIN PGP SIGNATURE-----"
	pgpMessage = "-----BEGIN PGP MESSAGE-----"
	sshBegin   = "-----BEGIN SSH SIGNATURE-----"
	x509Begin  = "-----BEGIN SIGNED MESSAGE-----"
)

var errTwice = errors.New("several signatures")

// split parts what was signed from the signature.
func split(o source.Object) (payload, armored []byte, err error) {
	if o.Tag != "" {
		payload, armored = splitTag(o.Raw)
		return payload, armored, nil
	}
	return splitCommit(o.Raw)
}

// splitCommit takes the signature out of a commit's headers. A commit with two of
// them is not believed: which one would count?
func splitCommit(raw []byte) (payload, armored []byte, err error) {
	rest := raw
	in, found := false, false
	for len(rest) > 0 {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line = rest[:i+1]
		}
		if len(line) == 1 && line[0] == '\n' { // the end of the headers
			return append(payload, rest...), armored, nil
		}
		rest = rest[len(line):]
		if line[0] == ' ' { // goes on
			if in {
				armored = append(armored, line[1:]...)
			} else {
				payload = append(payload, line...)
			}
			continue
		}
		in = false
		for _, header := range []string{"gpgsig ", "gpgsig-sha256 "} {
			value, ok := bytes.CutPrefix(line, []byte(header))
			if !ok {
				continue
			}
			if found {
				return nil, nil, errTwice
			}
			in, found = true, true
			armored = append(armored, value...)
		}
		if !in {
			payload = append(payload, line...)
		}
	}
	return payload, armored, nil
}

// splitTag takes the signature off a tag's end: as Git does, from the last line
// that begins one.
func splitTag(raw []byte) (payload, armored []byte) {
	at := len(raw)
	for i := 0; i < len(raw); {
		for _, begin := range []string{pgpBegin, pgpMessage, sshBegin, x509Begin} {
			if bytes.HasPrefix(raw[i:], []byte(begin)) {
				at = i
			}
		}
		next := bytes.IndexByte(raw[i:], '\n')
		if next < 0 {
			break
		}
		i += next + 1
	}
	return raw[:at], raw[at:]
}

// SealTrailer in the message of a commit says that its signer vouches for all
// that lies before it. It is Argo CD's.
const SealTrailer = "Argocd-gpg-seal:"

// Sealed tells whether a commit carries the seal, in the last paragraph of its
// message.
func Sealed(o source.Object) bool {
	_, message, ok := bytes.Cut(o.Raw, []byte("\n\n"))
	if !ok || o.Tag != "" {
		return false
	}
	message = bytes.TrimSpace(message)
	paragraph := message
	if i := bytes.LastIndex(message, []byte("\n\n")); i >= 0 {
		paragraph = message[i+2:]
	} else {
		return false // the subject is no trailer
	}
	for line := range bytes.Lines(paragraph) {
		if len(line) > len(SealTrailer) && strings.EqualFold(string(line[:len(SealTrailer)]), SealTrailer) {
			return true
		}
	}
	return false
}

// Author is the author of a commit or the tagger of a tag, as Git writes them.
func Author(o source.Object) string {
	head, _, _ := bytes.Cut(o.Raw, []byte("\n\n"))
	for line := range bytes.Lines(head) {
		for _, key := range []string{"author ", "tagger "} {
			if who, ok := strings.CutPrefix(string(line), key); ok {
				if end := strings.LastIndexByte(who, '>'); end >= 0 {
					who = who[:end+1]
				}
				return strings.ToValidUTF8(clip(strings.TrimSpace(who)), "\uFFFD")
			}
		}
	}
	return "an unknown author"
}

func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// Explain says in a user's words why an object is not trusted.
func Explain(o source.Object, s source.Signature) string {
	what := "commit " + clip(o.ID)
	if o.Tag != "" {
		what = "tag " + clip(o.Tag)
	}
	what += " by " + Author(o)
	by := s.Key
	if s.Signer != "" {
		by += " of " + s.Signer
	}
	switch s.Status {
	case source.SignatureMissing:
		return what + " is not signed"
	case source.KeyUnknown:
		return fmt.Sprintf("%s is signed with the %s key %s, which is not known", what, s.Kind, by)
	case source.KeyNotAllowed:
		return fmt.Sprintf("%s is signed with the %s key %s, which the project does not allow", what, s.Kind, by)
	case source.KeyExpired:
		return fmt.Sprintf("%s is signed with the %s key %s, which has expired", what, s.Kind, by)
	case source.KeyRevoked:
		return fmt.Sprintf("%s is signed with the %s key %s, which has been revoked", what, s.Kind, by)
	case source.SignatureExpired:
		return fmt.Sprintf("%s has a signature of the %s key %s that has expired", what, s.Kind, by)
	case source.SignatureGood:
		return what + " is signed well"
	}
	if by != "" {
		return fmt.Sprintf("%s has a bad signature, which claims to be of the %s key %s", what, s.Kind, by)
	}
	return what + " has a bad signature"
}
