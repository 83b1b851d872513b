// Package connect makes the host that is behind a URL, with its credentials. It
// knows every kind of host, and what none of them is used for.
package connect

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/bitbucket"
	"github.com/plumb-dev/plumb/internal/scm/gitea"
	"github.com/plumb-dev/plumb/internal/scm/github"
	"github.com/plumb-dev/plumb/internal/scm/gitlab"
	"github.com/plumb-dev/plumb/internal/scm/rest"
)

// Config of a host. Never print it.
type Config struct {
	// Kind may be empty for well-known hosts.
	Kind scm.Kind
	// Address is the host's, as in the URL of a repository: "https://git.example.com".
	Address string
	// API is the URL of its API, where that is not where it usually is.
	API string
	// Token, or User and Password, or App.
	Token, User, Password string
	App                   App
	// CABundle, Insecure and Proxy are as in rest.Options.
	CABundle string
	Insecure bool
	Proxy    string
}

// App is a GitHub App that is installed.
type App struct {
	ID, Installation int64
	// PrivateKey in PEM.
	PrivateKey string
}

func (a App) given() bool { return a.ID != 0 || a.Installation != 0 || a.PrivateKey != "" }

// String hides everything.
func (Config) String() string { return "[host]" }

// GoString hides everything.
func (Config) GoString() string { return "[host]" }

// Host makes the host that is configured.
func Host(c Config) (scm.Host, error) {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(c.Address, "https://"), "http://"), "/")
	if c.Kind == "" {
		kind, ok := scm.Guess(name)
		if !ok {
			return scm.Host{}, fmt.Errorf("what software %q runs is not known: say type github, gitlab, gitea, bitbucket or bitbucket-server", name)
		}
		c.Kind = kind
	}
	base := c.API
	if base == "" {
		scheme := "https"
		if strings.HasPrefix(c.Address, "http://") {
			scheme = "http"
		}
		base = apiOf(c.Kind, scheme, name)
	}
	authorize, err := c.authorize(base)
	if err != nil {
		return scm.Host{}, err
	}
	o := rest.Options{
		Base: base, Authorize: authorize, Secrets: []string{c.Token, c.Password}, CABundle: c.CABundle, Insecure: c.Insecure, Proxy: c.Proxy,
	}
	if c.Kind == scm.GitHub {
		o.Header = github.Header()
	}
	client, err := rest.New(o)
	if err != nil {
		return scm.Host{}, err
	}
	switch c.Kind {
	case scm.GitHub:
		return github.New(client), nil
	case scm.GitLab:
		return gitlab.New(client), nil
	case scm.Gitea:
		return gitea.New(client), nil
	case scm.BitbucketCloud:
		return bitbucket.NewCloud(client), nil
	case scm.BitbucketServer:
		return bitbucket.NewServer(client), nil
	}
	return scm.Host{}, fmt.Errorf("the type %q is not known: say github, gitlab, gitea, bitbucket or bitbucket-server", c.Kind)
}

// apiOf is where the API of a host usually is.
func apiOf(kind scm.Kind, scheme, name string) string {
	at := scheme + "://" + name
	switch kind {
	case scm.GitHub:
		if name == "github.com" {
			return "https://api.github.com"
		}
		return at + "/api/v3"
	case scm.GitLab:
		return at + "/api/v4"
	case scm.Gitea:
		return at + "/api/v1"
	case scm.BitbucketCloud:
		return "https://api.bitbucket.org/2.0"
	case scm.BitbucketServer:
	}
	return at
}

func (c Config) authorize(base string) (func(context.Context, *http.Request) error, error) {
	switch {
	case c.App.given():
		if c.Kind != scm.GitHub {
			return nil, errors.New("GitHub Apps are for GitHub alone")
		}
		return newAppTokens(c, base)
	case c.Token != "" && c.Kind == scm.GitLab:
		return header("Private-Token", c.Token), nil
	case c.Token != "" && c.Kind == scm.Gitea:
		return header("Authorization", "token "+c.Token), nil
	case c.Token != "":
		return header("Authorization", "Bearer "+c.Token), nil
	case c.User != "" && c.Password != "":
		return func(_ context.Context, req *http.Request) error {
			req.SetBasicAuth(c.User, c.Password)
			return nil
		}, nil
	}
	return nil, errors.New("there is no token for the host")
}

func header(name, value string) func(context.Context, *http.Request) error {
	return func(_ context.Context, req *http.Request) error {
		req.Header.Set(name, value)
		return nil
	}
}

// appTokens gets tokens of an installed GitHub App: each is good for an hour.
type appTokens struct {
	app    App
	key    *rsa.PrivateKey
	client *rest.Client

	mu    sync.Mutex
	token string
	until time.Time
}

// early is how long before its end a token is not used any more.
const early = 5 * time.Minute

func newAppTokens(c Config, base string) (func(context.Context, *http.Request) error, error) {
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(c.App.PrivateKey))
	if err != nil || c.App.ID == 0 || c.App.Installation == 0 {
		return nil, errors.New("a GitHub App needs its id, the installation's id, and its private key in PEM")
	}
	a := &appTokens{app: c.App, key: key}
	a.client, err = rest.New(rest.Options{
		Base: base, CABundle: c.CABundle, Insecure: c.Insecure, Proxy: c.Proxy, Header: github.Header(),
		Authorize: func(_ context.Context, req *http.Request) error {
			signed, err := a.sign(time.Now())
			if err == nil {
				req.Header.Set("Authorization", "Bearer "+signed)
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, req *http.Request) error {
		token, err := a.get(ctx)
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return err
	}, nil
}

// sign says who the App is.
func (a *appTokens) sign(now time.Time) (string, error) {
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer:   strconv.FormatInt(a.app.ID, 10),
		IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(9 * time.Minute)),
	}).SignedString(a.key)
	if err != nil {
		return "", errors.New("the GitHub App's private key cannot sign")
	}
	return signed, nil
}

func (a *appTokens) get(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && time.Now().Before(a.until) {
		return a.token, nil
	}
	var given struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires_at"`
	}
	if _, err := a.client.Do(ctx, http.MethodPost, fmt.Sprintf("/app/installations/%d/access_tokens", a.app.Installation), nil, &given); err != nil {
		return "", fmt.Errorf("get a token of the GitHub App: %w", err)
	}
	if given.Token == "" {
		return "", errors.New("get a token of the GitHub App: there is none in the answer")
	}
	a.token, a.until = given.Token, given.Expires.Add(-early)
	return a.token, nil
}
