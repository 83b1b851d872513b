package secrets

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/kms"

	"github.com/plumb-dev/plumb/internal/render"
)

func respond(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// amazonDouble answers as the APIs of KMS, Secrets Manager and Parameter Store
// are documented.
func amazonDouble(t *testing.T) Material {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIATEST/") {
			respond(w, 400, map[string]any{"__type": "UnrecognizedClientException", "message": "The security token included in the request is invalid."})
			return
		}
		switch target := r.Header.Get("X-Amz-Target"); target {
		case "TrentService.Decrypt":
			respond(w, 200, map[string]any{"Plaintext": body["CiphertextBlob"], "KeyId": body["KeyId"]})
		case "secretsmanager.GetSecretValue":
			if body["SecretId"] != "shop/db" && body["SecretId"] != "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/db" {
				respond(w, 400, map[string]any{"__type": "ResourceNotFoundException", "message": "Secrets Manager can't find the specified secret."})
				return
			}
			respond(w, 200, map[string]any{"SecretString": `{"password": "` + canary + `"}`})
		case "AmazonSSM.GetParameter":
			respond(w, 200, map[string]any{"Parameter": map[string]any{"Name": body["Name"], "Value": canary}})
		case "AmazonSSM.GetParametersByPath":
			respond(w, 200, map[string]any{"Parameters": []any{map[string]any{"Name": "/shop/password", "Value": canary}}})
		default:
			respond(w, 400, map[string]any{"__type": "Unknown", "message": target})
		}
	}))
	t.Cleanup(s.Close)
	return Material{Name: "plumb-system/aws", Data: map[string][]byte{
		"aws-access-key-id": []byte("AKIATEST"), "aws-secret-access-key": []byte("hidden-access-key"),
		"aws-region": []byte("eu-central-1"), "aws-endpoint-url": []byte(s.URL),
	}}
}

func TestAmazon(t *testing.T) {
	m := amazonDouble(t)
	r := recipient{
		master: kms.NewMasterKey("arn:aws:kms:eu-central-1:123456789012:key/1234", "", nil),
		seal:   func(_ *testing.T, dataKey []byte) string { return base64.StdEncoding.EncodeToString(dataKey) },
	}
	plain, _, err := openWith(t, nil, m).Decrypt("s.yaml", []byte(encrypt(t, "yaml", secretManifest, "", 0, []recipient{r})))
	if err != nil || string(plain) != secretManifest {
		t.Errorf("KMS: %s, %v", plain, err)
	}
	for text, want := range map[string]string{
		"ref+awssecrets://shop/db#/password": canary,
		"ref+awssecrets://arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/db?region=eu-central-1#/password": canary,
		"ref+awsssm://shop/password":             canary,
		"ref+awsssm://shop#/password":            canary,
		"ref+awssecrets://none":                  "!ResourceNotFoundException",
		"ref+awssecrets://shop/db?profile=admin": "!the parameter profile is not supported",
		"ref+awssecrets://shop/db?region=../x":   "!no region",
		"ref+awssecrets://shop/db#/user":         "!there is no key user",
	} {
		got, _, err := openWith(t, nil, m).Resolve(text)
		if fails, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), fails) {
				t.Errorf("%s: got %v, %v", text, got, err)
			}
			discreet(t, text, fmt.Sprint(err))
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	m.Data["aws-access-key-id"] = []byte("AKIAOTHER")
	_, _, err = openWith(t, nil, m).Resolve("ref+awsssm://shop/password")
	if err == nil || strings.Contains(err.Error(), "hidden-access-key") || !strings.Contains(err.Error(), "UnrecognizedClientException") {
		t.Errorf("wrong credentials: %v", err)
	}
}

func TestGoogle(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token": "token", "token_type": "Bearer", "expires_in": 3600}`)
			return
		}
		if r.Header.Get("Authorization") != "Bearer token" {
			respond(w, 401, map[string]any{"error": map[string]any{"message": "no credentials"}})
			return
		}
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		switch r.URL.Path {
		case "/v1/projects/p/locations/global/keyRings/r/cryptoKeys/k:decrypt":
			respond(w, 200, map[string]any{"plaintext": body["ciphertext"]})
		case "/v1/projects/p/secrets/db/versions/latest:access":
			respond(w, 200, map[string]any{"payload": map[string]any{"data": base64.StdEncoding.EncodeToString([]byte(canary))}})
		default:
			respond(w, 404, map[string]any{"error": map[string]any{"message": "not found"}})
		}
	}))
	defer s.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	account, _ := json.Marshal(map[string]string{"type": "service_account", "client_email": "x@p.iam", "private_key": string(private), "token_uri": s.URL + "/token"})
	k := New("shop", []Material{{Name: "plumb-system/gcp", Data: map[string][]byte{"gcp-credentials.json": account}}})
	if len(k.google) != 1 {
		t.Fatal(k.Broken())
	}
	k.google[0].base = s.URL
	open := func() render.Opener { return k.Open(t.Context(), nil) }
	r := recipient{
		master: gcpkms.NewMasterKeyFromResourceID("projects/p/locations/global/keyRings/r/cryptoKeys/k"),
		seal:   func(_ *testing.T, dataKey []byte) string { return base64.StdEncoding.EncodeToString(dataKey) },
	}
	plain, _, err := open().Decrypt("s.yaml", []byte(encrypt(t, "yaml", secretManifest, "", 0, []recipient{r})))
	if err != nil || string(plain) != secretManifest {
		t.Errorf("KMS: %s, %v", plain, err)
	}
	if got, _, err := open().Resolve("ref+gcpsecrets://p/db"); err != nil || got != canary {
		t.Errorf("secret: %v, %v", got, err)
	}
	if got, _, err := open().Resolve("ref+gcpsecrets://p/none?fallback_value=x"); err != nil || got != "x" {
		t.Errorf("fallback: %v, %v", got, err)
	}
	if _, _, err := open().Resolve("ref+gcpsecrets://p/none"); err == nil || !strings.Contains(err.Error(), "secret none of p: 404 Not Found: not found") {
		t.Errorf("none: %v", err)
	}
	odd := New("shop", []Material{{Name: "x", Data: map[string][]byte{"gcp-credentials.json": []byte(`{"type": "external_account", "credential_source": {"executable": {"command": "id"}}}`)}}})
	if err := odd.Broken(); err == nil || !strings.Contains(err.Error(), "is not the key file of a service account") {
		t.Errorf("other credentials: %v", err)
	}
}

// azureDouble answers in place of the network.
type azureDouble struct{ t *testing.T }

func (a azureDouble) Do(r *http.Request) (*http.Response, error) {
	answer := func(code int, header http.Header, v any) (*http.Response, error) {
		text, _ := json.Marshal(v)
		return &http.Response{StatusCode: code, Header: header, Request: r, Body: io.NopCloser(strings.NewReader(string(text)))}, nil
	}
	switch {
	case r.URL.Host == "login.microsoftonline.com" && strings.HasSuffix(r.URL.Path, "/token"):
		return answer(200, http.Header{}, map[string]any{"access_token": "token", "token_type": "Bearer", "expires_in": 3600})
	case r.URL.Host == "login.microsoftonline.com":
		base := "https://login.microsoftonline.com/tenant"
		return answer(200, http.Header{}, map[string]any{"token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "issuer": base + "/v2.0"})
	case r.URL.Host != "team.vault.azure.net":
		return nil, errors.New("no such host: " + r.URL.Host)
	case r.Header.Get("Authorization") != "Bearer token":
		return answer(401, http.Header{"Www-Authenticate": {`Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`}}, nil)
	case strings.HasPrefix(r.URL.Path, "/secrets/db"):
		return answer(200, http.Header{}, map[string]any{"value": canary})
	case strings.HasPrefix(r.URL.Path, "/keys/team/1/decrypt"):
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		return answer(200, http.Header{}, map[string]any{"value": body["value"]})
	}
	return answer(404, http.Header{}, map[string]any{"error": map[string]any{"code": "SecretNotFound", "message": "not found"}})
}

func TestAzure(t *testing.T) {
	k := New("shop", []Material{{Name: "plumb-system/azure", Data: map[string][]byte{"sops.azure-kv": []byte("tenantId: tenant\nclientId: client\nclientSecret: hidden\n")}}})
	if len(k.azure) != 1 {
		t.Fatal(k.Broken())
	}
	k.azure[0].transport = azureDouble{t}
	open := func() render.Opener { return k.Open(t.Context(), nil) }
	if got, _, err := open().Resolve("ref+azurekeyvault://team/db"); err != nil || got != canary {
		t.Errorf("secret: %v, %v", got, err)
	}
	if _, _, err := open().Resolve("ref+azurekeyvault://team/none"); err == nil || !strings.Contains(err.Error(), "secret none: 404 SecretNotFound") {
		t.Errorf("none: %v", err)
	}
	if _, _, err := open().Resolve("ref+azurekeyvault://evil.example/db"); err == nil || !strings.Contains(err.Error(), "evil.example is no host of an Azure Key Vault") {
		t.Errorf("another host: %v", err)
	}
	r := recipient{
		master: azkv.NewMasterKey("https://team.vault.azure.net", "team", "1"),
		seal:   func(_ *testing.T, dataKey []byte) string { return base64.RawURLEncoding.EncodeToString(dataKey) },
	}
	plain, _, err := open().Decrypt("s.yaml", []byte(encrypt(t, "yaml", secretManifest, "", 0, []recipient{r})))
	if err != nil || string(plain) != secretManifest {
		t.Errorf("key vault: %s, %v", plain, err)
	}
}
