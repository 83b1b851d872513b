package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	"github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"
	yamlv3 "go.yaml.in/yaml/v3"
	"google.golang.org/grpc"

	"github.com/plumb-dev/plumb/internal/render"
)

// store is SOPS' reader and writer of one format.
type store interface {
	LoadEncryptedFile(in []byte) (sops.Tree, error)
	EmitPlainFile(in sops.TreeBranches) ([]byte, error)
}

// Decrypt gives the content of a file that SOPS has encrypted, after it has
// checked that nobody has changed it, and the texts that were encrypted in it.
func (o *opener) Decrypt(file string, data []byte) ([]byte, []string, error) {
	s, found := formatOf(file, data)
	if !found {
		return data, nil, nil
	}
	if err := render.CheckAliases(file, data, render.DefaultTotalBytes); err != nil {
		return nil, nil, err
	}
	tree, err := s.LoadEncryptedFile(data)
	if err != nil {
		return nil, nil, render.Errorf(file, 0, "the file is encrypted with SOPS, but its sops section cannot be read: encrypt the file anew%s", because(err))
	}
	key, err := o.dataKey(file, &tree)
	if err != nil {
		return nil, nil, err
	}
	encrypted := encryptedLeaves(tree.Branches)
	cipher := aes.NewCipher()
	mac, err := tree.Decrypt(key, cipher)
	if err != nil { // what it says may quote a value
		return nil, nil, render.Errorf(file, 0, "a value in the file cannot be decrypted with the file's own key: it was changed after it was encrypted; restore it from Git, and change it with the sops command")
	}
	was, err := cipher.Decrypt(tree.Metadata.MessageAuthenticationCode, key, tree.Metadata.LastModified.Format(time.RFC3339))
	if err != nil || was != mac {
		return nil, nil, render.Errorf(file, 0, "the file was changed after it was encrypted (its MAC does not fit): restore it from Git, and change it with the sops command")
	}
	plain, err := s.EmitPlainFile(tree.Branches)
	if err != nil {
		return nil, nil, render.Errorf(file, 0, "what was decrypted cannot be written in the format of the file: encrypt it with another --output-type")
	}
	texts := encrypted.texts(tree.Branches)
	if texts == nil {
		texts = []string{}
	}
	return plain, texts, nil
}

// because gives the reasons of SOPS for a section that cannot be read, which
// name keys of the section and never values: others are left out.
func because(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "No keys found"):
		return " (it names no keys)"
	case strings.Contains(text, "parsing time"):
		return " (its lastmodified is no time)"
	case errors.Is(err, sops.MetadataNotFound):
		return " (it is missing)"
	default:
		return ""
	}
}

// stores by what a file's name says. Other names are told by the content.
func storeFor(format string) store {
	c := config.NewStoresConfig()
	switch format {
	case ".yaml", ".yml":
		return yaml.NewStore(&c.YAML)
	case ".json":
		return json.NewStore(&c.JSON)
	case ".env":
		return dotenv.NewStore(&c.Dotenv)
	case ".ini":
		return ini.NewStore(&c.INI)
	default:
		return json.NewBinaryStore(&c.JSONBinary)
	}
}

// formatOf tells whether a file is encrypted with SOPS, and in which format. A
// key "sops" alone does not make it so: charts have values of that name.
func formatOf(file string, data []byte) (store, bool) {
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	ext := strings.ToLower(path.Ext(file))
	switch {
	case !bytes.Contains(trimmed, []byte("sops")):
		return nil, false
	case bytes.HasPrefix(trimmed, []byte("{")):
		return jsonFormat(ext, file, data)
	case isINI(trimmed):
		return storeFor(".ini"), true
	case isDotenv(trimmed):
		return storeFor(".env"), true
	case topLevelSops(trimmed) && isYAML(trimmed):
		return storeFor(".yaml"), true
	}
	return nil, false
}

func jsonFormat(ext, file string, data []byte) (store, bool) {
	v, err := render.ParseJSON(file, data, render.Limits{})
	if err != nil {
		return nil, false // whoever reads it says what is wrong
	}
	m, _ := v.(map[string]any)
	meta, _ := m["sops"].(map[string]any)
	if !isMetadata(meta) {
		return nil, false
	}
	_, hasData := m["data"].(string)
	switch binary := hasData && len(m) == 2; {
	case ext == ".yaml" || ext == ".yml":
		return storeFor(ext), true
	case ext == ".json" || !binary:
		return storeFor(".json"), true
	}
	return storeFor("binary"), true
}

// topLevelSops tells cheaply whether a YAML text may have a section of SOPS.
func topLevelSops(data []byte) bool {
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte("sops:")) || bytes.HasPrefix(line, []byte(`"sops":`)) || bytes.HasPrefix(line, []byte("'sops':")) {
			return true
		}
	}
	return false
}

// isYAML looks at the section itself. It decodes nodes, which expands no alias.
func isYAML(data []byte) bool {
	var doc yamlv3.Node
	if err := yamlv3.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil || len(doc.Content) == 0 {
		return false
	}
	root := doc.Content[0]
	if root.Kind != yamlv3.MappingNode {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "sops" || root.Content[i+1].Kind != yamlv3.MappingNode {
			continue
		}
		meta := map[string]any{}
		section := root.Content[i+1]
		for j := 0; j+1 < len(section.Content); j += 2 {
			meta[section.Content[j].Value] = section.Content[j+1].Value
			if section.Content[j+1].Kind == yamlv3.SequenceNode {
				meta[section.Content[j].Value] = []any{true}
			}
		}
		return isMetadata(meta)
	}
	return false
}

// keyLists are the lists of keys in a section of SOPS.
var keyLists = []string{"age", "pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms", "key_groups"}

// isMetadata tells a section of SOPS from anything else of that name. One from
// which the MAC was taken out is still one: it fails then, and is not taken for
// plain text.
func isMetadata(meta map[string]any) bool {
	if mac, _ := meta["mac"].(string); strings.HasPrefix(mac, "ENC[") {
		return true
	}
	if _, dated := meta["lastmodified"]; !dated {
		return false
	}
	for _, list := range keyLists {
		if l, ok := meta[list].([]any); ok && len(l) > 0 {
			return true
		}
	}
	return false
}

func isDotenv(data []byte) bool {
	return hasLine(data, "sops_mac=ENC[") || hasLine(data, "sops_lastmodified=")
}

func isINI(data []byte) bool {
	return hasLine(data, "[sops]") && (bytes.Contains(data, []byte("ENC[")) || bytes.Contains(data, []byte("lastmodified")))
}

func hasLine(data []byte, prefix string) bool {
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte(prefix)) {
			return true
		}
	}
	return false
}

// dataKey finds the key that the values of a file are encrypted with.
func (o *opener) dataKey(file string, tree *sops.Tree) ([]byte, error) {
	if n := tree.Metadata.MasterKeyCount(); n > maxMasterKeys {
		return nil, render.Errorf(file, 0, "the file names %d keys, more than %d: %w", n, maxMasterKeys, render.ErrTooMuch)
	}
	a := &asker{keys: o.keys, ctx: o.ctx}
	key, err := tree.Metadata.GetDataKeyWithKeyServices([]keyservice.KeyServiceClient{a}, []string{"age", "pgp"})
	if err == nil {
		return key, nil
	}
	if a.failed != nil {
		return nil, render.Errorf(file, 0, "the file is encrypted with SOPS, and its key cannot be had: %w", a.failed)
	}
	who := "project " + o.keys.project + " has"
	if o.keys.local {
		who = "you have"
	}
	return nil, render.Errorf(file, 0, "the file is encrypted with SOPS for %s, and %s no key for it: %s",
		strings.Join(a.named, ", "), who, o.keys.advice(matchingKey))
}

// asker decrypts data keys, as a key service of SOPS'. It notes which keys were
// asked for in vain.
type asker struct {
	keys   *Keys
	ctx    context.Context //nolint:containedctx // SOPS passes none
	named  []string
	failed error // of a key that the project has the means for
}

var errNotOurs = errors.New("no key of the project fits")

// Decrypt is part of keyservice.KeyServiceClient.
func (a *asker) Decrypt(_ context.Context, r *keyservice.DecryptRequest, _ ...grpc.CallOption) (*keyservice.DecryptResponse, error) {
	ctx, cancel := context.WithTimeout(a.ctx, askTime)
	defer cancel()
	name, plain, err := a.decrypt(ctx, r.Key, r.Ciphertext)
	if err == nil {
		return &keyservice.DecryptResponse{Plaintext: plain}, nil
	}
	a.named = append(a.named, name)
	if !errors.Is(err, errNotOurs) && a.failed == nil {
		a.failed = fmt.Errorf("%s: %w", name, err)
	}
	return nil, errNotOurs
}

// Encrypt is part of keyservice.KeyServiceClient.
func (a *asker) Encrypt(context.Context, *keyservice.EncryptRequest, ...grpc.CallOption) (*keyservice.EncryptResponse, error) {
	return nil, errors.New("nothing is encrypted here")
}

func (a *asker) decrypt(ctx context.Context, key *keyservice.Key, enc []byte) (name string, plain []byte, err error) {
	switch k := key.KeyType.(type) {
	case *keyservice.Key_AgeKey:
		plain, err = a.keys.openAge(enc)
		return "the age recipient " + k.AgeKey.Recipient, plain, err
	case *keyservice.Key_PgpKey:
		plain, err = a.keys.openPGP(ctx, enc)
		return "the PGP key " + k.PgpKey.Fingerprint, plain, err
	case *keyservice.Key_VaultKey:
		v := k.VaultKey
		name = fmt.Sprintf("the Vault key %s/v1/%s/keys/%s", render.Clean(v.VaultAddress), v.EnginePath, v.KeyName)
		name = strings.Replace(name, render.Clean(v.VaultAddress), v.VaultAddress, 1)
		plain, err = a.keys.openVault(ctx, v, enc)
		return name, plain, err
	case *keyservice.Key_KmsKey:
		plain, err = a.keys.openAWS(ctx, k.KmsKey, enc)
		return "the AWS KMS key " + k.KmsKey.Arn, plain, err
	case *keyservice.Key_GcpKmsKey:
		plain, err = a.keys.openGoogle(ctx, k.GcpKmsKey.ResourceId, enc)
		return "the GCP KMS key " + k.GcpKmsKey.ResourceId, plain, err
	case *keyservice.Key_AzureKeyvaultKey:
		v := k.AzureKeyvaultKey
		plain, err = a.keys.openAzure(ctx, v, enc)
		return fmt.Sprintf("the Azure Key Vault key %s/keys/%s/%s", v.VaultUrl, v.Name, v.Version), plain, err
	case *keyservice.Key_HckmsKey:
		return "the Huawei Cloud key " + k.HckmsKey.KeyId + " (not implemented)", nil, errNotOurs
	}
	return "a key of an unknown kind", nil, errNotOurs
}

// maxDataKey bounds what is read as a data key: it has 32 bytes, or 33 as a part
// of one.
const maxDataKey = 1 << 10

func (k *Keys) openAge(enc []byte) ([]byte, error) {
	if len(k.age) == 0 {
		return nil, errNotOurs
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(enc)), k.age...)
	if err != nil {
		return nil, errNotOurs
	}
	return io.ReadAll(io.LimitReader(r, maxDataKey))
}

func (k *Keys) openPGP(ctx context.Context, enc []byte) ([]byte, error) {
	if k.gpg != nil {
		plain, err := k.gpg(ctx, enc)
		if err != nil || len(plain) > maxDataKey {
			return nil, errNotOurs
		}
		return plain, nil
	}
	if len(k.pgp) == 0 {
		return nil, errNotOurs
	}
	block, err := pgparmor.Decode(bytes.NewReader(enc))
	if err != nil {
		return nil, errNotOurs
	}
	md, err := openpgp.ReadMessage(block.Body, k.pgp, nil, nil)
	if err != nil {
		return nil, errNotOurs
	}
	return io.ReadAll(io.LimitReader(md.UnverifiedBody, maxDataKey))
}

// leaves are the places of the encrypted values of a file, by branch.
type leaves map[string]bool

// encryptedLeaves finds what is encrypted, before it is decrypted.
func encryptedLeaves(branches sops.TreeBranches) leaves {
	out := leaves{}
	for i, b := range branches {
		walkLeaves(b, strconv.Itoa(i), func(path string, v any) {
			if s, ok := v.(string); ok && strings.HasPrefix(s, "ENC[AES256_GCM,") {
				out[path] = true
			}
		})
	}
	return out
}

// texts gives what stands at the places now. Words that say which object it is
// are left out, though they were encrypted with the rest of a manifest.
func (l leaves) texts(branches sops.TreeBranches) []string {
	var out []string
	for i, b := range branches {
		public := publicWords(b)
		walkLeaves(b, strconv.Itoa(i), func(path string, v any) {
			if !l[path] {
				return
			}
			switch v := v.(type) {
			case string:
				if !public[v] {
					out = append(out, v)
				}
			case bool, nil, sops.Comment:
			default:
				out = append(out, fmt.Sprint(v))
			}
		})
	}
	return out
}

func publicWords(b sops.TreeBranch) map[string]bool {
	out := map[string]bool{}
	add := func(v any) {
		if s, ok := v.(string); ok {
			out[s] = true
		}
	}
	for _, item := range b {
		switch item.Key {
		case "apiVersion", "kind", "type":
			add(item.Value)
		case "metadata":
			meta, _ := item.Value.(sops.TreeBranch)
			for _, m := range meta {
				if m.Key == "name" || m.Key == "namespace" {
					add(m.Value)
				}
			}
		}
	}
	return out
}

func walkLeaves(v any, path string, visit func(path string, v any)) {
	switch v := v.(type) {
	case sops.TreeBranch:
		for i, item := range v {
			walkLeaves(item.Value, fmt.Sprintf("%s/%d", path, i), visit)
		}
	case []any:
		for i, item := range v {
			walkLeaves(item, fmt.Sprintf("%s/%d", path, i), visit)
		}
	default:
		visit(path, v)
	}
}

// decodeKey decodes what SOPS keeps of a key of a cloud in base64.
func decodeKey(enc []byte) ([]byte, error) {
	out, err := base64.StdEncoding.DecodeString(string(enc))
	if err != nil {
		return nil, errors.New("the encrypted key in the file is no base64")
	}
	return out, nil
}
