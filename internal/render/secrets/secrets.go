// Package secrets opens what repositories hold encrypted with SOPS, and looks
// up references (ref+vault://…) in the grammar of vals, with the keys and
// credentials of one project. These come from Kubernetes Secrets and from
// nowhere else: neither the environment nor the home directory of Plumb is
// read, no agent or metadata service is asked, and a file in a repository can
// choose among the project's credentials but never where they are sent.
//
// It knows files and texts. It does not know which project an Application
// belongs to, renderers, or Kubernetes.
package secrets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/getsops/sops/v3/logging"

	"github.com/plumb-dev/plumb/internal/render"
)

var _ render.Keys = (*Keys)(nil)

// Material is the content of one Secret with keys or credentials.
type Material struct {
	// Name of the Secret, as messages call it: "namespace/name".
	Name string
	Data map[string][]byte
}

// Keys are all that a project has to decrypt and to look up with.
type Keys struct {
	project     string
	fingerprint string
	// names of the Secrets, and what is wrong with them or not known in them.
	names  []string
	broken []error
	odd    []string

	age    []age.Identity
	pgp    openpgp.EntityList
	vaults []*vault
	aws    []*amazon
	google []*google
	azure  []*azure

	// local keys are those of the user of a command, not a project's; gpg opens
	// what is encrypted for keys that the user's GnuPG has, or is nil.
	local bool
	gpg   func(ctx context.Context, armored []byte) ([]byte, error)
}

// limits of what one rendering may ask of others.
const (
	// askTime bounds one request to a key service or a store of secrets.
	askTime = 20 * time.Second
	// maxLookups bounds how many different secrets one rendering may look up.
	maxLookups = 2_000
	// maxMasterKeys bounds the keys that one file may name.
	maxMasterKeys = 200
	// maxAnswer bounds an answer.
	maxAnswer = 4 << 20
)

// silence keeps SOPS from writing to the standard error, where it quotes
// comments that it could not decrypt.
var silence = sync.OnceFunc(func() {
	for _, log := range logging.Loggers {
		log.SetOutput(io.Discard)
	}
})

// New reads the Secrets of a project. What is wrong with one of them comes up
// where it is needed.
func New(project string, secrets []Material) *Keys {
	silence()
	k := &Keys{project: project}
	secrets = slices.Clone(secrets)
	slices.SortFunc(secrets, func(a, b Material) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, s := range secrets {
		k.names = append(k.names, s.Name)
		fmt.Fprintf(h, "%q\n", s.Name)
		for _, key := range sorted(s.Data) {
			fmt.Fprintf(h, "%q %q\n", key, s.Data[key])
		}
		k.read(s)
	}
	k.fingerprint = hex.EncodeToString(h.Sum(nil))
	return k
}

// NewLocal takes the keys of the user of a command, as sops does: files with age
// identities or SSH keys, and GnuPG.
func NewLocal(files []Material, gpg func(ctx context.Context, armored []byte) ([]byte, error)) *Keys {
	k := New("", files)
	k.local, k.gpg = true, gpg
	return k
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Fingerprint tells keys apart. It is for keys in memory only.
func (k *Keys) Fingerprint() string { return k.fingerprint }

// Broken says what is wrong with the Secrets. It never says what is in them.
func (k *Keys) Broken() error { return errors.Join(k.broken...) }

// String hides everything.
func (k *Keys) String() string { return "[keys]" }

// GoString hides everything.
func (k *Keys) GoString() string { return "[keys]" }

// Open starts one rendering.
func (k *Keys) Open(ctx context.Context, read func(string) ([]byte, error)) render.Opener {
	return &opener{keys: k, ctx: ctx, read: read, texts: map[string]string{}, maps: map[string]map[string]any{}}
}

// opener is one rendering's use of keys. It remembers what it has looked up, so
// that one rendering sees one value.
type opener struct {
	keys *Keys
	ctx  context.Context //nolint:containedctx // it is of one rendering, as the opener is
	read func(string) ([]byte, error)

	mu    sync.Mutex
	texts map[string]string
	maps  map[string]map[string]any
	// why the last lookup failed.
	why error
}

// advice ends an error about a missing key: what to do.
func (k *Keys) advice(key string) string {
	if k.local {
		return k.localAdvice(key)
	}
	text := fmt.Sprintf("put %s into a Secret with the label %s=%s and the key project: %s, in the namespace of the projects", key, secretLabel, secretType, k.project)
	if len(k.names) > 0 {
		text += " (looked into " + strings.Join(k.names, ", ")
		if len(k.odd) > 0 {
			text += "; not known there: " + strings.Join(k.odd, ", ")
		}
		text += ")"
	}
	if err := k.Broken(); err != nil {
		text += "; " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return text
}

const matchingKey = "a matching one"

// localAdvice is the same for the user of a command.
func (k *Keys) localAdvice(key string) string {
	if key != matchingKey {
		return "references are looked up for Applications, with the credentials of their project, and not for a directory"
	}
	text := "have a matching age key in the file that SOPS_AGE_KEY_FILE names, or a matching PGP key in gpg, or leave encrypted files as they are with --no-decrypt"
	if len(k.names) > 0 {
		text += " (looked into " + strings.Join(k.names, ", ") + ")"
	}
	if err := k.Broken(); err != nil {
		text += "; " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return text
}

// The label of Secrets with keys, for messages.
const (
	secretLabel = "plumb.dev/secret-type" //nolint:gosec // the name of a label
	secretType  = "decryption"
)
