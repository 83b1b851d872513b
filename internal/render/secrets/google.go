package secrets

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/oauth2"
	googleauth "golang.org/x/oauth2/google"

	"github.com/plumb-dev/plumb/internal/render"
)

// google is the key of a service account. Two calls of two APIs are needed,
// which are made by hand: the client libraries look for other credentials and
// endpoints in the environment.
type google struct {
	credentials []byte
	// base replaces the addresses of the APIs, in tests.
	base string

	mu     sync.Mutex
	tokens oauth2.TokenSource
	client *http.Client
}

const googleScope = "https://www.googleapis.com/auth/cloud-platform"

var (
	googleKey  = regexp.MustCompile(`^projects/[\w.:-]+/locations/[\w-]+/keyRings/[\w-]+/cryptoKeys/[\w-]+$`)
	googleName = regexp.MustCompile(`^[\w.:-]+$`)
)

func (g *google) token() (string, *http.Client, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tokens == nil {
		c, err := googleauth.JWTConfigFromJSON(g.credentials, googleScope)
		if err != nil { // what it says may quote the key
			return "", nil, fmt.Errorf("the key file of the service account (%s) cannot be read", keyGCP)
		}
		if g.client, err = newClient(""); err != nil {
			return "", nil, err
		}
		g.tokens = oauth2.ReuseTokenSource(nil, c.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, g.client)))
	}
	t, err := g.tokens.Token()
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) {
			return "", nil, fmt.Errorf("google gives no token for the service account: %s %s", refused.ErrorCode, refused.ErrorDescription)
		}
		return "", nil, errors.New("google gives no token for the service account: there is no answer, or its key is not one")
	}
	return t.AccessToken, g.client, nil
}

func (g *google) ask(ctx context.Context, method, api, path string, body, into any) error {
	token, client, err := g.token()
	if err != nil {
		return err
	}
	base := "https://" + api + ".googleapis.com"
	if g.base != "" {
		base = g.base
	}
	return ask(ctx, client, method, base+"/v1/"+path, http.Header{"Authorization": {"Bearer " + token}}, body, into)
}

// openGoogle decrypts a data key with Cloud KMS.
func (k *Keys) openGoogle(ctx context.Context, resource string, enc []byte) ([]byte, error) {
	if len(k.google) == 0 {
		return nil, errNotOurs
	}
	if !googleKey.MatchString(resource) {
		return nil, errors.New("is no name of a key")
	}
	var failed error
	for _, g := range k.google {
		var answer struct {
			Plaintext string `json:"plaintext"`
		}
		if failed = g.ask(ctx, http.MethodPost, "cloudkms", resource+":decrypt", map[string]string{"ciphertext": string(enc)}, &answer); failed != nil {
			continue
		}
		return decodeKey([]byte(answer.Plaintext))
	}
	return nil, failed
}

var googleParameters = []string{"version", "optional", "fallback_value", "trim_nl"}

func (o *opener) googleSecrets(ctx context.Context, r reference) (source, error) {
	if err := r.only(googleParameters); err != nil {
		return source{}, err
	}
	if len(o.keys.google) == 0 {
		return source{}, fmt.Errorf("project %s has none for Google Cloud: %w", o.keys.project, render.ErrNoCredentials)
	}
	g := o.keys.google[0]
	version := r.param("version")
	if version == "" {
		version = "latest"
	}
	text := func(path string) (string, error) {
		project, name, ok := strings.Cut(path, "/")
		if !ok || !googleName.MatchString(project) || !googleName.MatchString(name) || !googleName.MatchString(version) {
			return "", errors.New("write ref+gcpsecrets://PROJECT/SECRET")
		}
		var answer struct {
			Payload struct {
				Data string `json:"data"`
			} `json:"payload"`
		}
		err := g.ask(ctx, http.MethodGet, "secretmanager", fmt.Sprintf("projects/%s/secrets/%s/versions/%s:access", project, name, version), nil, &answer)
		var said *answerError
		if errors.As(err, &said) && said.status == http.StatusNotFound {
			if fallback, ok := r.query["fallback_value"]; ok && len(fallback) > 0 {
				return fallback[0], nil
			}
			if r.param("optional") == "true" {
				return "", nil
			}
		}
		if err != nil {
			return "", fmt.Errorf("google Secret Manager: secret %s of %s: %w", name, project, err)
		}
		data, err := base64.StdEncoding.DecodeString(answer.Payload.Data)
		if err != nil {
			return "", fmt.Errorf("google Secret Manager: secret %s of %s: the answer holds no value", name, project)
		}
		if r.param("trim_nl") == "true" {
			return strings.TrimSuffix(string(data), "\n"), nil
		}
		return string(data), nil
	}
	return source{text: text, mapped: asMap(text)}, nil
}
