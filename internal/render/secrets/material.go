package secrets

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/ProtonMail/go-crypto/openpgp"
	"sigs.k8s.io/yaml"
)

// The keys of a Secret, beside *.agekey, *.asc and project. Those that begin
// with "sops." are Flux' names.
const (
	keyVaultAddress   = "vault-address"
	keyVaultToken     = "vault-token"
	keyVaultNamespace = "vault-namespace"
	keyVaultRole      = "vault-role-id"
	keyVaultSecret    = "vault-secret-id"
	keyVaultMount     = "vault-auth-mount"
	keyVaultCA        = "vault-ca.crt"

	keyAWSID       = "aws-access-key-id"
	keyAWSSecret   = "aws-secret-access-key" //nolint:gosec // the name of a key
	keyAWSSession  = "aws-session-token"
	keyAWSRegion   = "aws-region"
	keyAWSRole     = "aws-role-arn"
	keyAWSEndpoint = "aws-endpoint-url"

	keyGCP = "gcp-credentials.json"

	keyAzureTenant = "azure-tenant-id"
	keyAzureClient = "azure-client-id"
	keyAzureSecret = "azure-client-secret"

	fluxVault = "sops.vault-token"
	fluxAWS   = "sops.aws-kms"
	fluxGCP   = "sops.gcp-kms"
	fluxAzure = "sops.azure-kv"
)

// plainKeys are read by name.
var plainKeys = map[string]bool{
	"project": true, keyVaultAddress: true, keyVaultToken: true, keyVaultNamespace: true, keyVaultRole: true, keyVaultSecret: true,
	keyVaultMount: true, keyVaultCA: true, keyAWSID: true, keyAWSSecret: true, keyAWSSession: true, keyAWSRegion: true, keyAWSRole: true,
	keyAWSEndpoint: true, keyGCP: true, keyAzureTenant: true, keyAzureClient: true, keyAzureSecret: true,
	fluxVault: true, fluxAWS: true, fluxGCP: true, fluxAzure: true,
}

// read takes over what is in a Secret.
func (k *Keys) read(s Material) {
	wrong := func(key string, err error) {
		k.broken = append(k.broken, fmt.Errorf("key %s of the Secret %s %w", key, s.Name, err))
	}
	for _, key := range sorted(s.Data) {
		data := s.Data[key]
		var err error
		switch {
		case strings.HasSuffix(key, ".agekey"):
			err = k.readAge(data)
		case strings.HasSuffix(key, ".asc"):
			err = k.readPGP(data)
		case plainKeys[key]:
		default:
			k.odd = append(k.odd, key)
		}
		if err != nil {
			wrong(key, err)
		}
	}
	text := func(key string) string { return strings.TrimSpace(string(s.Data[key])) }
	k.readVault(text, wrong)
	k.readAWS(text, wrong)
	k.readGoogle(text, wrong)
	k.readAzure(text, wrong)
}

// readAge reads identities, one on each line, or an SSH key. Plugins of age are
// programs, and none is started.
func (k *Keys) readAge(data []byte) error {
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		id, err := agessh.ParseIdentity(data)
		if err != nil {
			return errors.New("is no SSH key that opens without a passphrase")
		}
		k.age = append(k.age, id)
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "AGE-PLUGIN-") {
			return fmt.Errorf("names a plugin on line %d, and Plumb starts no programs: use an identity that begins with AGE-SECRET-KEY-", n)
		}
		ids, err := age.ParseIdentities(strings.NewReader(line))
		if err != nil { // what it says quotes the line
			return fmt.Errorf("holds no age identity on line %d: it begins with AGE-SECRET-KEY- (age-keygen makes one)", n)
		}
		k.age = append(k.age, ids...)
	}
	return nil
}

func (k *Keys) readPGP(data []byte) error {
	ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
	if err != nil {
		return errors.New("is no armored PGP key (gpg --export-secret-keys --armor)")
	}
	for _, entity := range ring {
		if entity.PrivateKey == nil {
			return fmt.Errorf("is the public key %X: the private one decrypts (gpg --export-secret-keys --armor)", entity.PrimaryKey.Fingerprint)
		}
		if entity.PrivateKey.Encrypted {
			return fmt.Errorf("holds the key %X with a passphrase, which nobody is there to type: export it without one", entity.PrimaryKey.Fingerprint)
		}
	}
	k.pgp = append(k.pgp, ring...)
	return nil
}

type (
	reader func(key string) string
	report func(key string, err error)
)

func (k *Keys) readVault(text reader, wrong report) {
	v := &vault{
		address: strings.TrimRight(text(keyVaultAddress), "/"), token: text(keyVaultToken), namespace: text(keyVaultNamespace),
		role: text(keyVaultRole), secret: text(keyVaultSecret), mount: text(keyVaultMount), versions: map[string]kvMount{},
	}
	given := keyVaultToken
	if v.token == "" {
		v.token, given = text(fluxVault), fluxVault
	}
	if v.token == "" && v.role == "" {
		if v.address != "" {
			wrong(keyVaultAddress, fmt.Errorf("is there without %s or %s", keyVaultToken, keyVaultRole))
		}
		return
	}
	if v.address == "" {
		if v.token == "" {
			given = keyVaultRole
		}
		wrong(given, fmt.Errorf("is there without %s: a token is sent to that address only, never to one that a file names", keyVaultAddress))
		return
	}
	if err := v.connect(text(keyVaultCA)); err != nil {
		wrong(keyVaultAddress, err)
		return
	}
	k.vaults = append(k.vaults, v)
}

func (k *Keys) readAWS(text reader, wrong report) {
	a := &amazon{
		id: text(keyAWSID), secret: text(keyAWSSecret), session: text(keyAWSSession),
		region: text(keyAWSRegion), role: text(keyAWSRole), endpoint: text(keyAWSEndpoint),
	}
	if flux := text(fluxAWS); flux != "" && a.id == "" {
		var of map[string]string
		if err := yaml.Unmarshal([]byte(flux), &of); err != nil {
			wrong(fluxAWS, errors.New("is no map of aws_access_key_id, aws_secret_access_key and aws_session_token"))
			return
		}
		a.id, a.secret, a.session = of["aws_access_key_id"], of["aws_secret_access_key"], of["aws_session_token"]
	}
	switch {
	case a.id == "" && a.secret == "":
		return
	case a.id == "":
		wrong(keyAWSSecret, fmt.Errorf("is there without %s", keyAWSID))
		return
	case a.secret == "":
		wrong(keyAWSID, fmt.Errorf("is there without %s", keyAWSSecret))
		return
	}
	k.aws = append(k.aws, a)
}

func (k *Keys) readGoogle(text reader, wrong report) {
	given := keyGCP
	if text(given) == "" {
		given = fluxGCP
	}
	if text(given) == "" {
		return
	}
	var head struct {
		Type string `json:"type"`
	}
	if json.Unmarshal([]byte(text(given)), &head) != nil || head.Type != "service_account" {
		wrong(given, errors.New("is not the key file of a service account: other kinds name files, programs or addresses to ask, which Plumb does not"))
		return
	}
	k.google = append(k.google, &google{credentials: []byte(text(given))})
}

func (k *Keys) readAzure(text reader, wrong report) {
	a := &azure{tenant: text(keyAzureTenant), client: text(keyAzureClient), secret: text(keyAzureSecret)}
	if flux := text(fluxAzure); flux != "" && a.client == "" {
		var of map[string]string
		if err := yaml.Unmarshal([]byte(flux), &of); err != nil {
			wrong(fluxAzure, errors.New("is no map of tenantId, clientId and clientSecret"))
			return
		}
		a.tenant, a.client, a.secret = of["tenantId"], of["clientId"], of["clientSecret"]
		if a.secret == "" {
			wrong(fluxAzure, errors.New("has no clientSecret: certificates and managed identities are not implemented"))
			return
		}
	}
	if a.tenant == "" && a.client == "" && a.secret == "" {
		return
	}
	if a.tenant == "" || a.client == "" || a.secret == "" {
		wrong(keyAzureClient, fmt.Errorf("must come with %s and %s", keyAzureTenant, keyAzureSecret))
		return
	}
	k.azure = append(k.azure, a)
}
