package secrets

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/getsops/sops/v3/keyservice"

	"github.com/plumb-dev/plumb/internal/render"
)

// vault is a server of HashiCorp Vault or OpenBao, and what opens it. Their
// client library reads the environment and the home directory, and cannot be
// told not to; of their API no more is needed than this.
type vault struct {
	address, token, namespace string
	role, secret, mount       string // of the AppRole method, in place of a token
	client                    *http.Client

	mu sync.Mutex
	// login is the token that the role has got, until it ends.
	login string
	until time.Time
	// versions of the key-value engines, by where they are mounted.
	versions map[string]kvMount
}

type kvMount struct {
	path string
	v2   bool
}

func (v *vault) connect(ca string) error {
	u, err := url.Parse(v.address)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil {
		return errors.New("is no address of a Vault server (https://vault.example.com:8200)")
	}
	v.client, err = newClient(ca)
	if err != nil {
		return fmt.Errorf("comes with %s, which %w", keyVaultCA, err)
	}
	return nil
}

// vaultAt gives what opens a server that a file or reference names; an empty
// address means the project's only one.
func (k *Keys) vaultAt(address, namespace string) (*vault, error) {
	if len(k.vaults) == 0 {
		return nil, errNotOurs
	}
	if address == "" {
		if len(k.vaults) > 1 {
			return nil, fmt.Errorf("project %s has credentials for %d Vault servers: name one of them in the reference (?address=…)", k.project, len(k.vaults))
		}
		return k.vaults[0].in(namespace), nil
	}
	for _, v := range k.vaults {
		if sameAddress(v.address, address) {
			return v.in(namespace), nil
		}
	}
	return nil, fmt.Errorf("project %s has no credentials for the Vault server %s, and those for others are not sent there", k.project, address)
}

func sameAddress(a, b string) bool {
	ua, errA := url.Parse(strings.TrimRight(a, "/"))
	ub, errB := url.Parse(strings.TrimRight(b, "/"))
	return errA == nil && errB == nil && ua.Scheme == ub.Scheme && strings.EqualFold(ua.Host, ub.Host) && ua.Path == ub.Path && ub.User == nil
}

// in is the same server in another namespace.
func (v *vault) in(namespace string) *vault {
	if namespace == "" || namespace == v.namespace {
		return v
	}
	return &vault{
		address: v.address, token: v.token, namespace: namespace, role: v.role, secret: v.secret, mount: v.mount,
		client: v.client, versions: map[string]kvMount{},
	}
}

// openVault decrypts a data key with a transit engine.
func (k *Keys) openVault(ctx context.Context, key *keyservice.VaultKey, enc []byte) ([]byte, error) {
	v, err := k.vaultAt(key.VaultAddress, "")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Plaintext string `json:"plaintext"`
		} `json:"data"`
	}
	path, err := v.path(key.EnginePath, "decrypt", key.KeyName)
	if err != nil {
		return nil, err
	}
	if err := v.ask(ctx, http.MethodPost, path, map[string]string{"ciphertext": string(enc)}, &answer); err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.DecodeString(answer.Data.Plaintext)
	if err != nil || len(plain) == 0 {
		return nil, errors.New("the answer holds no key")
	}
	return plain, nil
}

// path joins parts to a path below /v1/, and refuses one that would be another
// than it looks.
func (v *vault) path(parts ...string) (string, error) {
	var out []string
	for _, p := range strings.Split(strings.Join(parts, "/"), "/") {
		switch p {
		case "":
			continue
		case ".", "..":
			return "", fmt.Errorf("the path %s is not one in Vault", strings.Join(parts, "/"))
		}
		out = append(out, url.PathEscape(p))
	}
	return strings.Join(out, "/"), nil
}

func (v *vault) ask(ctx context.Context, method, path string, body, into any) error {
	token, err := v.bearer(ctx)
	if err != nil {
		return err
	}
	err = v.send(ctx, method, path, token, body, into)
	var said *answerError
	if errors.As(err, &said) && said.status == http.StatusForbidden && v.role != "" {
		v.mu.Lock()
		v.login = "" // it may have been revoked: the next time there is a new one
		v.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("vault server %s: %w%s", v.address, err, hint(err))
	}
	return nil
}

func (v *vault) send(ctx context.Context, method, path, token string, body, into any) error {
	header := http.Header{"X-Vault-Request": {"true"}}
	if token != "" {
		header.Set("X-Vault-Token", token)
	}
	if v.namespace != "" {
		header.Set("X-Vault-Namespace", v.namespace)
	}
	return ask(ctx, v.client, method, v.address+"/v1/"+path, header, body, into)
}

func hint(err error) string {
	var said *answerError
	if !errors.As(err, &said) {
		return ""
	}
	switch said.status {
	case http.StatusForbidden, http.StatusUnauthorized:
		return "; is the token still valid, and does its policy allow this path?"
	case http.StatusServiceUnavailable:
		return "; it is sealed or not ready"
	}
	return ""
}

// bearer gives the token, after a login where the project has a role.
func (v *vault) bearer(ctx context.Context) (string, error) {
	if v.token != "" {
		return v.token, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.login != "" && time.Now().Before(v.until) {
		return v.login, nil
	}
	mount := v.mount
	if mount == "" {
		mount = "approle"
	}
	path, err := v.path("auth", mount, "login")
	if err != nil {
		return "", err
	}
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
			Lease int    `json:"lease_duration"`
		} `json:"auth"`
	}
	if err := v.send(ctx, http.MethodPost, path, "", map[string]string{"role_id": v.role, "secret_id": v.secret}, &answer); err != nil {
		return "", fmt.Errorf("log in to the Vault server %s with %s: %w", v.address, keyVaultRole, err)
	}
	if answer.Auth.Token == "" {
		return "", fmt.Errorf("the Vault server %s gives no token for %s", v.address, keyVaultRole)
	}
	lease := time.Duration(answer.Auth.Lease) * time.Second
	if lease == 0 {
		lease = time.Hour
	}
	v.login, v.until = answer.Auth.Token, time.Now().Add(lease*2/3)
	return v.login, nil
}

// secretMap reads a secret of a key-value engine, of either version, as vals
// and the vault command do.
func (v *vault) secretMap(ctx context.Context, key, version string) (map[string]any, error) {
	m, err := v.mountOf(ctx, key)
	if err != nil {
		return nil, err
	}
	parts := []string{key}
	if m.v2 {
		parts = []string{m.path, "data", strings.TrimPrefix(strings.TrimPrefix(key, strings.Trim(m.path, "/")), "/")}
	}
	path, err := v.path(parts...)
	if err != nil {
		return nil, err
	}
	if version != "" {
		path += "?version=" + url.QueryEscape(version)
	}
	var answer struct {
		Data map[string]any `json:"data"`
	}
	err = v.ask(ctx, http.MethodGet, path, nil, &answer)
	var said *answerError
	if errors.As(err, &said) && said.status == http.StatusNotFound {
		return nil, fmt.Errorf("vault server %s has no secret %s (or no such version of it)", v.address, key)
	}
	if err != nil {
		return nil, err
	}
	if inner, ok := answer.Data["data"].(map[string]any); ok && m.v2 {
		return inner, nil
	}
	return answer.Data, nil
}

// mountOf finds the engine that a path leads to, and remembers it.
func (v *vault) mountOf(ctx context.Context, key string) (kvMount, error) {
	v.mu.Lock()
	for _, prefix := range sorted(v.versions) {
		if strings.HasPrefix(key+"/", prefix) {
			m := v.versions[prefix]
			v.mu.Unlock()
			return m, nil
		}
	}
	v.mu.Unlock()
	path, err := v.path("sys/internal/ui/mounts", key)
	if err != nil {
		return kvMount{}, err
	}
	var answer struct {
		Data struct {
			Path    string            `json:"path"`
			Options map[string]string `json:"options"`
		} `json:"data"`
	}
	if err := v.ask(ctx, http.MethodGet, path, nil, &answer); err != nil {
		return kvMount{}, fmt.Errorf("find the engine of %s: %w", key, err)
	}
	m := kvMount{path: answer.Data.Path, v2: answer.Data.Options["version"] == "2"}
	if m.path != "" {
		v.mu.Lock()
		v.versions[strings.TrimSuffix(m.path, "/")+"/"] = m
		v.mu.Unlock()
	}
	return m, nil
}

// vaultParameters are what a reference may set: anything else would be another
// way to get or send credentials.
var vaultParameters = []string{"address", "proto", "host", "namespace", "version", "decode"}

func (o *opener) vaultValue(ctx context.Context, r reference) (source, error) {
	if err := r.only(vaultParameters); err != nil {
		return source{}, err
	}
	address := r.param("address")
	if host := r.param("host"); address == "" && host != "" {
		proto := r.param("proto")
		if proto == "" {
			proto = "https"
		}
		address = proto + "://" + host
	}
	v, err := o.keys.vaultAt(address, r.param("namespace"))
	if errors.Is(err, errNotOurs) {
		return source{}, fmt.Errorf("project %s has none for Vault: %w", o.keys.project, render.ErrNoCredentials)
	}
	if err != nil {
		return source{}, err
	}
	return source{
		mapped: func(path string) (map[string]any, error) { return v.secretMap(ctx, path, r.param("version")) },
		text: func(path string) (string, error) {
			i := strings.LastIndex(path, "/")
			if i < 0 {
				return "", errors.New("names no key: write ref+vault://PATH/KEY or ref+vault://PATH#/KEY")
			}
			m, err := v.secretMap(ctx, path[:i], r.param("version"))
			if err != nil {
				return "", err
			}
			value, ok := m[path[i+1:]]
			if !ok {
				return "", fmt.Errorf("the secret %s has no key %s (it has %s)", path[:i], path[i+1:], strings.Join(sorted(m), ", "))
			}
			return decoded(scalar(value), r.param("decode"))
		},
	}, nil
}

func decoded(s, how string) (string, error) {
	switch how {
	case "", "raw":
		return s, nil
	case "base64":
		out, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return "", errors.New("the value is no base64, and decode=base64 asks for it")
		}
		return string(out), nil
	}
	return "", fmt.Errorf("decode=%s is neither raw nor base64", how)
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
