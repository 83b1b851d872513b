package secrets

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/getsops/sops/v3/hcvault"
)

// vaultBinary names the variable with the path of a program that serves Vault's
// API on the address that it is given, and prints "ADDRESS ROOT-TOKEN". Without
// it the double below answers, as Vault's documentation says.
const vaultBinary = "PLUMB_TEST_VAULT"

// testVault is a server of Vault, or what stands for one.
type testVault struct {
	t              *testing.T
	address, token string
}

func startVault(t *testing.T) testVault {
	t.Helper()
	binary := os.Getenv(vaultBinary)
	if binary == "" {
		d := &double{data: map[string]map[string]any{}, mounts: map[string]string{}}
		s := httptest.NewServer(d)
		t.Cleanup(s.Close)
		return testVault{t, s.URL, "root"}
	}
	cmd := exec.CommandContext(t.Context(), binary, "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	v := testVault{t: t}
	if _, err := fmt.Sscan(line, &v.address, &v.token); err != nil {
		t.Fatal(err)
	}
	v.address = "http://" + v.address
	return v
}

// do calls the API as the root.
func (v testVault) do(method, path string, body any) map[string]any {
	v.t.Helper()
	text, _ := json.Marshal(body)
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.address+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", v.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	out := map[string]any{}
	_ = json.NewDecoder(answer.Body).Decode(&out)
	if answer.StatusCode >= 300 {
		v.t.Fatalf("%s %s: %s %v", method, path, answer.Status, out)
	}
	return out
}

// fill makes engines, secrets, and a key.
func (v testVault) fill() {
	v.do("POST", "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	v.do("POST", "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	v.do("POST", "sys/mounts/transit", map[string]any{"type": "transit"})
	v.do("POST", "transit/keys/team", map[string]any{})
	v.do("POST", "kv/data/shop/db", map[string]any{"data": map[string]any{"password": "first"}})
	v.do("POST", "kv/data/shop/db", map[string]any{"data": map[string]any{"password": canary, "port": 5432, "encoded": "YWJj", "nested": map[string]any{"user": "web"}}})
	v.do("POST", "old/shop/db", map[string]any{"password": "of-version-one"})
}

func (v testVault) material() Material {
	return Material{Name: "plumb-system/vault", Data: map[string][]byte{"vault-address": []byte(v.address), "vault-token": []byte(v.token)}}
}

func (v testVault) recipient(address string) recipient {
	return recipient{
		master: hcvault.NewMasterKey(address, "transit", "team"), material: v.material(),
		seal: func(t *testing.T, dataKey []byte) string {
			t.Helper()
			data, _ := v.do("POST", "transit/encrypt/team", map[string]any{"plaintext": base64.StdEncoding.EncodeToString(dataKey)})["data"].(map[string]any)
			text, _ := data["ciphertext"].(string)
			return text
		},
	}
}

// double answers as Vault's API is documented, as far as it is used here.
type double struct {
	mu     sync.Mutex
	data   map[string]map[string]any
	mounts map[string]string // version by path
	old    map[string]any
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	answer := func(code int, v any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	if path == "auth/approle/login" {
		if body["role_id"] != "role" || body["secret_id"] != canary {
			answer(400, map[string]any{"errors": []string{"invalid role or secret ID"}})
			return
		}
		answer(200, map[string]any{"auth": map[string]any{"client_token": "root", "lease_duration": 60}})
		return
	}
	if r.Header.Get("X-Vault-Token") != "root" {
		answer(403, map[string]any{"errors": []string{"permission denied"}})
		return
	}
	switch {
	case strings.HasPrefix(path, "sys/mounts/"):
		options, _ := body["options"].(map[string]any)
		version, _ := options["version"].(string)
		d.mounts[strings.TrimPrefix(path, "sys/mounts/")] = version
		w.WriteHeader(http.StatusNoContent)
	case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
		mount, _, _ := strings.Cut(strings.TrimPrefix(path, "sys/internal/ui/mounts/"), "/")
		version, ok := d.mounts[mount]
		if !ok {
			answer(403, map[string]any{"errors": []string{"preflight capability check returned 403, please ensure client's policies grant access to path \"" + mount + "/\""}})
			return
		}
		answer(200, map[string]any{"data": map[string]any{"path": mount + "/", "options": map[string]string{"version": version}}})
	case path == "transit/encrypt/team":
		answer(200, map[string]any{"data": map[string]any{"ciphertext": "vault:v1:" + fmt.Sprint(body["plaintext"])}})
	case path == "transit/decrypt/team":
		answer(200, map[string]any{"data": map[string]any{"plaintext": strings.TrimPrefix(fmt.Sprint(body["ciphertext"]), "vault:v1:")}})
	case r.Method != http.MethodGet:
		if data, ok := body["data"].(map[string]any); ok && strings.Contains(path, "/data/") {
			d.old, d.data[path] = d.data[path], data
		} else {
			d.data[path] = body
		}
		answer(200, map[string]any{})
	case d.data[path] == nil:
		answer(404, map[string]any{"errors": []string{}})
	case strings.Contains(path, "/data/"):
		data := d.data[path]
		if r.URL.Query().Get("version") == "1" {
			data = d.old
		}
		answer(200, map[string]any{"data": map[string]any{"data": data, "metadata": map[string]any{"version": 2}}})
	default:
		answer(200, map[string]any{"data": d.data[path]})
	}
}

func TestVaultTransit(t *testing.T) {
	v := startVault(t)
	v.fill()
	file := encrypt(t, "yaml", secretManifest, "", 0, []recipient{v.recipient(v.address)})
	plain, _, err := openWith(t, nil, v.material()).Decrypt("s.yaml", []byte(file))
	if err != nil || string(plain) != secretManifest {
		t.Fatalf("got %s, %v", plain, err)
	}

	asked := false
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer evil.Close()
	file = encrypt(t, "yaml", secretManifest, "", 0, []recipient{v.recipient(evil.URL)})
	_, _, err = openWith(t, nil, v.material()).Decrypt("s.yaml", []byte(file))
	if err == nil || asked || !strings.Contains(err.Error(), "has no credentials for the Vault server "+evil.URL) {
		t.Errorf("a file that names another server: asked %v, %v", asked, err)
	}
	wrong := v.material()
	wrong.Data["vault-token"] = []byte(canary)
	file = encrypt(t, "yaml", secretManifest, "", 0, []recipient{v.recipient(v.address)})
	_, _, err = openWith(t, nil, wrong).Decrypt("s.yaml", []byte(file))
	if err == nil || !strings.Contains(err.Error(), "is the token still valid") {
		t.Errorf("a wrong token: %v", err)
	}
	discreet(t, "the error", fmt.Sprint(err))
}

func TestVaultReferences(t *testing.T) {
	v := startVault(t)
	v.fill()
	for name, tc := range map[string]struct {
		reason, text string
		want         any
		fails        string
	}{
		"a key":           {reason: "the fragment names it", text: "ref+vault://kv/shop/db#/password", want: canary},
		"the last part":   {reason: "without a fragment it is the last part of the path", text: "ref+vault://kv/shop/db/password", want: canary},
		"openbao":         {reason: "the same API", text: "ref+openbao://kv/shop/db#/password", want: canary},
		"secretref":       {reason: "vals' other prefix", text: "secretref+vault://kv/shop/db#/password", want: canary},
		"a number":        {reason: "alone, it keeps its type", text: "ref+vault://kv/shop/db#/port", want: int64(5432)},
		"nested":          {reason: "a path in it", text: "ref+vault://kv/shop/db#/nested/user", want: "web"},
		"in a text":       {reason: "ended by a plus sign", text: "postgres://web:ref+vault://kv/shop/db#/password+@db:ref+vault://kv/shop/db#/port+/x", want: "postgres://web:" + canary + "@db:5432/x"},
		"version 1":       {reason: "the other engine", text: "ref+vault://old/shop/db#/password", want: "of-version-one"},
		"earlier version": {reason: "of the secret", text: "ref+vault://kv/shop/db?version=1#/password", want: "first"},
		"base64":          {reason: "decoded", text: "ref+vault://kv/shop/db/encoded?decode=base64", want: "abc"},
		"own address":     {reason: "the project's", text: "ref+vault://kv/shop/db?address=" + v.address + "#/password", want: canary},
		"no reference":    {reason: "left alone", text: "see vault://kv", want: "see vault://kv"},
		"other address":   {reason: "a token is never sent elsewhere", text: "ref+vault://kv/shop/db?address=https://evil.example#/password", fails: "no credentials for the Vault server https://evil.example"},
		"other host":      {reason: "likewise", text: "ref+vault://kv/shop/db?host=evil.example#/password", fails: "no credentials for the Vault server https://evil.example"},
		"token file":      {reason: "a file of Plumb's", text: "ref+vault://kv/shop/db?token_file=/etc/passwd#/password", fails: "the parameter token_file is not supported here"},
		"token variable":  {reason: "a variable of Plumb's", text: "ref+vault://kv/shop/db?token_env=HOME#/password", fails: "the parameter token_env is not supported here"},
		"no such secret":  {reason: "what is missing is named", text: "ref+vault://kv/shop/none#/password", fails: "has no secret kv/shop/none"},
		"no such key":     {reason: "what there is is named", text: "ref+vault://kv/shop/db#/pasword", fails: "there is no key pasword in it (there are encoded, nested, password, port)"},
		"no such engine":  {reason: "what Vault says", text: "ref+vault://nowhere/db#/password", fails: "find the engine of nowhere/db"},
		"traversal":       {reason: "another API", text: "ref+vault://kv/../sys/seal#/x", fails: "is not one in Vault"},
		"exec":            {reason: "a program", text: "ref+exec://id", fails: "references to exec are refused: it would start a program"},
		"envsubst":        {reason: "the environment", text: "ref+envsubst://$HOME", fails: "refused"},
		"k8s":             {reason: "Plumb's own rights", text: "ref+k8s://v1/Secret/kube-system/x/y", fails: "refused"},
		"echo":            {reason: "no secret", text: "ref+echo://a/text", fails: "refused"},
		"unknown":         {reason: "what there is is named", text: "ref+doppler://x/y", fails: "not supported: there are vault"},
	} {
		t.Run(name, func(t *testing.T) {
			got, texts, err := openWith(t, nil, v.material()).Resolve(tc.text)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("%s: got %v, %v", tc.reason, got, err)
				}
				discreet(t, "the error", err.Error())
				if strings.Contains(err.Error(), v.token) && v.token != "root" {
					t.Errorf("the error shows the token: %v", err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Fatalf("%s: got %v (%T), %v", tc.reason, got, got, err)
			}
			if strings.Contains(fmt.Sprint(got), canary) && !strings.Contains(strings.Join(texts, "\n"), canary) {
				t.Errorf("%s: the secret is not among the texts %q", tc.reason, texts)
			}
		})
	}
}

func TestVaultRole(t *testing.T) {
	if os.Getenv(vaultBinary) != "" {
		t.Skip("the role is known to the double")
	}
	v := startVault(t)
	v.fill()
	m := v.material()
	delete(m.Data, "vault-token")
	m.Data["vault-role-id"], m.Data["vault-secret-id"] = []byte("role"), []byte(canary)
	got, _, err := openWith(t, nil, m).Resolve("ref+vault://kv/shop/db#/password")
	if err != nil || got != canary {
		t.Errorf("got %v, %v", got, err)
	}
	m.Data["vault-secret-id"] = []byte("wrong-" + canary)
	_, _, err = openWith(t, nil, m).Resolve("ref+vault://kv/shop/db#/password")
	if err == nil || !strings.Contains(err.Error(), "invalid role or secret ID") {
		t.Errorf("a wrong secret id: %v", err)
	}
	discreet(t, "the error", fmt.Sprint(err))
}
