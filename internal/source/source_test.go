package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestSameRepo(t *testing.T) {
	cases := map[string]struct {
		a, b string
		want bool
	}{
		"suffix":         {"https://github.com/org/app", "https://github.com/Org/app.git/", true},
		"ssh and https":  {"git@github.com:org/app.git", "https://github.com/org/app", true},
		"ssh forms":      {"ssh://git@github.com:22/org/app", "git@github.com:org/app", true},
		"default port":   {"https://github.com:443/org/app", "https://github.com/org/app", true},
		"other port":     {"https://host:8443/org/app", "https://host/org/app", false},
		"other path":     {"https://host/org/app", "https://host/org/apps", false},
		"local":          {"file:///srv/app.git", "/srv/app", true},
		"local has case": {"/srv/App", "/srv/app", false},
		"nothing":        {"", "https://host/x", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := SameRepo(c.a, c.b); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestCredentialsDoNotShow(t *testing.T) {
	const canary = "c4n4ry/s3cret"
	cred := Credentials{Username: "ada", Password: canary, Proxy: "http://u:" + canary + "@proxy:1"}
	raw, err := json.Marshal(struct{ C Credentials }{cred})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(cred), fmt.Sprintf("%+v", cred), fmt.Sprintf("%#v", cred), string(raw),
		cred.Mask("https://ada:c4n4ry%2Fs3cret@host/x and c4n4ry%2Fs3cret and " + canary),
	} {
		if strings.Contains(text, "c4n4ry") {
			t.Errorf("a secret shows: %s", text)
		}
	}
	other := cred
	other.Password = "x"
	if cred.Fingerprint() == other.Fingerprint() || cred.Fingerprint() != (cred).Fingerprint() {
		t.Error("fingerprints tell credentials apart")
	}
}

func TestReasons(t *testing.T) {
	err := fmt.Errorf("resolve: %w", &Error{Reason: ReasonUnreachable, Repo: "https://host/x", Message: "host unreachable"})
	if ReasonOf(err) != ReasonUnreachable || !Passing(err) || ReasonOf(nil) != "" || ReasonOf(errors.New("x")) != ReasonFailed {
		t.Error("reasons")
	}
	if got := err.Error(); got != "resolve: repository https://host/x: host unreachable" {
		t.Errorf("got %q", got)
	}
}
