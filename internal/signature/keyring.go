package signature

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/plumb-dev/plumb/internal/source"
)

// Keyring holds the public keys that signatures are verified with. It is
// immutable.
type Keyring struct {
	gpg     openpgp.EntityList
	signers []signer
	revoked map[string]bool
	id      string
}

// NewKeyring reads armored GnuPG keys, by the name that they stand under,
// OpenSSH's allowed signers, and SSH keys that are revoked. What cannot be read
// is left out and told: one broken entry does not take the others away. A list of
// revoked keys that cannot be read in full revokes all SSH keys.
func NewKeyring(gpg map[string]string, allowedSigners, revokedKeys string) (k *Keyring, problems []string) {
	k = &Keyring{revoked: map[string]bool{}}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(gpg)) {
		fmt.Fprintf(sum, "%d:%s", len(gpg[name]), gpg[name])
		keys, err := openpgp.ReadArmoredKeyRing(strings.NewReader(gpg[name]))
		if err != nil {
			problems = append(problems, fmt.Sprintf("GnuPG key %s: %v", clip(name), err))
			continue
		}
		k.gpg = append(k.gpg, keys...)
	}
	fmt.Fprintf(sum, "%d:%s%s", len(allowedSigners), allowedSigners, revokedKeys)
	k.id = hex.EncodeToString(sum.Sum(nil))
	var more []string
	k.signers, more = parseSigners(allowedSigners)
	problems = append(problems, more...)
	if more = k.revoke(revokedKeys); len(more) > 0 {
		k.signers = nil
		problems = append(problems, more...)
	}
	return k, problems
}

// ID changes with the keys.
func (k *Keyring) ID() string { return k.id }

// ParseKeyID reads the id or fingerprint of a GnuPG key, as Argo CD takes them.
func ParseKeyID(text string) (string, error) {
	id := strings.ToUpper(strings.TrimPrefix(strings.TrimSpace(text), "0x"))
	if _, err := hex.DecodeString(id); err != nil || len(id) != 16 && len(id) != 40 {
		return "", fmt.Errorf("%q is no id of a GnuPG key: write its 16 or 40 hexadecimal digits", clip(text))
	}
	return id, nil
}

// weak are the hashes whose collisions can be made.
var weak = map[crypto.Hash]bool{crypto.MD5: true, crypto.SHA1: true, crypto.RIPEMD160: true}

func (k *Keyring) verifyGPG(payload, armored []byte, t Trust, now time.Time) source.Signature {
	out := source.Signature{Kind: GPG, Status: source.SignatureBad}
	block, err := armor.Decode(bytes.NewReader(armored))
	if err != nil || block.Type != openpgp.SignatureType {
		return out
	}
	body := new(bytes.Buffer)
	if _, err := body.ReadFrom(block.Body); err != nil {
		return out
	}
	out.Key = issuer(body.Bytes())
	config := &packet.Config{Time: func() time.Time { return now }}
	sig, entity, err := openpgp.VerifyDetachedSignature(k.gpg, bytes.NewReader(payload), bytes.NewReader(body.Bytes()), config)
	if sig != nil && sig.IssuerKeyId != nil {
		out.Key = fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	if entity != nil {
		out.Signer = identity(entity)
	}
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		out.Status = source.KeyUnknown
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		out.Status = source.KeyRevoked
	case errors.Is(err, pgperrors.ErrKeyExpired):
		out.Status = source.KeyExpired
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		out.Status = source.SignatureExpired
	case err != nil || entity == nil || weak[sig.Hash]:
		out.Status = source.SignatureBad
	case allowsKey(t.Keys, entity, *sig.IssuerKeyId):
		out.Status = source.SignatureGood
	default:
		out.Status = source.KeyNotAllowed
	}
	return out
}

// issuer is the id of the key that a signature says it was made with.
func issuer(body []byte) string {
	p, err := packet.NewReader(bytes.NewReader(body)).Next()
	if sig, ok := p.(*packet.Signature); err == nil && ok && sig.IssuerKeyId != nil {
		return fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	return ""
}

func identity(e *openpgp.Entity) string {
	if _, id := e.PrimarySelfSignature(); id != nil {
		return strings.ToValidUTF8(clip(id.Name), "\uFFFD")
	}
	return ""
}

// allowsKey tells whether the key that signed is one of those that count: by its
// own id, or by that of the primary key that it belongs to. A fingerprint is
// compared in full.
func allowsKey(allowed []string, e *openpgp.Entity, signed uint64) bool {
	for _, key := range signingKeys(e, signed) {
		print := strings.ToUpper(hex.EncodeToString(key.Fingerprint))
		id := fmt.Sprintf("%016X", key.KeyId)
		for _, text := range allowed {
			want, err := ParseKeyID(text)
			if err == nil && (want == print || len(want) == 16 && want == id) {
				return true
			}
		}
	}
	return false
}

// signingKeys are the primary key, and the subkey that made a signature.
func signingKeys(e *openpgp.Entity, signed uint64) []*packet.PublicKey {
	keys := []*packet.PublicKey{e.PrimaryKey}
	for _, sub := range e.Subkeys {
		if sub.PublicKey.KeyId == signed {
			keys = append(keys, sub.PublicKey)
		}
	}
	return keys
}
