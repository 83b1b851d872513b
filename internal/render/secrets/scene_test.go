package secrets

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/pgp"
	"github.com/getsops/sops/v3/shamir"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	"github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"
)

// canary stands for a secret: it must show up nowhere but where it belongs.
const canary = "c4n4ry-s3cr3t-v4lu3"

// recipient is a key that data keys are encrypted for.
type recipient struct {
	master keys.MasterKey
	seal   func(t *testing.T, dataKey []byte) string
	// material opens it.
	material Material
}

func ageRecipient(t *testing.T) recipient {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return recipient{
		master:   &sopsage.MasterKey{Recipient: id.Recipient().String()},
		material: Material{Name: "plumb-system/age", Data: map[string][]byte{"age.agekey": []byte("# created: today\n" + id.String() + "\n")}},
		seal: func(t *testing.T, dataKey []byte) string {
			t.Helper()
			var out bytes.Buffer
			a := armor.NewWriter(&out)
			w, err := age.Encrypt(a, id.Recipient())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(dataKey)
			_, _ = w.Close(), a.Close()
			return out.String()
		},
	}
}

func pgpRecipient(t *testing.T) recipient {
	t.Helper()
	entity, err := openpgp.NewEntity("Plumb", "test", "test@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	var private bytes.Buffer
	w, err := pgparmor.Encode(&private, openpgp.PrivateKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := entity.SerializePrivate(w, nil); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	fingerprint := strings.ToUpper(hexOf(entity.PrimaryKey.Fingerprint))
	return recipient{
		master:   pgp.NewMasterKeyFromFingerprint(fingerprint),
		material: Material{Name: "plumb-system/pgp", Data: map[string][]byte{"team.asc": private.Bytes()}},
		seal: func(t *testing.T, dataKey []byte) string {
			t.Helper()
			var out bytes.Buffer
			a, _ := pgparmor.Encode(&out, "PGP MESSAGE", nil)
			w, err := openpgp.Encrypt(a, []*openpgp.Entity{entity}, nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(dataKey)
			_, _ = w.Close(), a.Close()
			return out.String()
		},
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}

type plainStore interface {
	LoadPlainFile(in []byte) (sops.TreeBranches, error)
	EmitEncryptedFile(in sops.Tree) ([]byte, error)
}

func storeOf(format string) plainStore {
	c := config.NewStoresConfig()
	switch format {
	case "yaml":
		return yaml.NewStore(&c.YAML)
	case "json":
		return json.NewStore(&c.JSON)
	case "dotenv":
		return dotenv.NewStore(&c.Dotenv)
	case "ini":
		return ini.NewStore(&c.INI)
	}
	return json.NewBinaryStore(&c.JSONBinary)
}

// encrypt does what the command sops does, with the same library. Several
// groups need as many parts as threshold says.
func encrypt(t *testing.T, format, plain, encryptedRegex string, threshold int, groups ...[]recipient) string {
	t.Helper()
	s := storeOf(format)
	branches, err := s.LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	dataKey := make([]byte, 32)
	if _, err := rand.Read(dataKey); err != nil {
		t.Fatal(err)
	}
	parts := [][]byte{dataKey}
	if len(groups) > 1 {
		if parts, err = shamir.Split(dataKey, len(groups), threshold); err != nil {
			t.Fatal(err)
		}
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{Version: "3.13.3", EncryptedRegex: encryptedRegex, LastModified: time.Now().UTC()}}
	if encryptedRegex == "" {
		tree.Metadata.UnencryptedSuffix = sops.DefaultUnencryptedSuffix
	}
	if len(groups) > 1 {
		tree.Metadata.ShamirThreshold = threshold
	}
	for i, g := range groups {
		var group sops.KeyGroup
		for _, r := range g {
			r.master.SetEncryptedDataKey([]byte(r.seal(t, parts[i])))
			group = append(group, r.master)
		}
		tree.Metadata.KeyGroups = append(tree.Metadata.KeyGroups, group)
	}
	cipher := aes.NewCipher()
	mac, err := tree.Encrypt(dataKey, cipher)
	if err != nil {
		t.Fatal(err)
	}
	if tree.Metadata.MessageAuthenticationCode, err = cipher.Encrypt(mac, dataKey, tree.Metadata.LastModified.Format(time.RFC3339)); err != nil {
		t.Fatal(err)
	}
	out, err := s.EmitEncryptedFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// openWith opens with what some Secrets hold.
func openWith(t *testing.T, files map[string]string, material ...Material) *opener {
	t.Helper()
	k := New("shop", material)
	o, ok := k.Open(t.Context(), func(p string) ([]byte, error) { return []byte(files[p]), nil }).(*opener)
	if !ok {
		t.Fatal("the opener is another")
	}
	return o
}

// discreet fails where a secret is in a text.
func discreet(t *testing.T, what, text string) {
	t.Helper()
	for _, secret := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), canary[:7] + "..."} {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows the secret: %s", what, text)
		}
	}
}
