package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/connect"
)

// pullRequestFlag says whether a pull request is opened for a branch.
type pullRequestFlag int

const (
	pullRequestIfPossible pullRequestFlag = iota
	pullRequestAlways
	pullRequestNever
)

func (f *pullRequestFlag) bind(flags *pflag.FlagSet) {
	flags.Var(f, "pull-request", "open a pull request for the branch (default: where there is a token for the host in the environment)")
	flags.Lookup("pull-request").NoOptDefVal = "true"
}

// Set takes what a user has written.
func (f *pullRequestFlag) Set(text string) error {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", text)
	}
	*f = pullRequestNever
	if on {
		*f = pullRequestAlways
	}
	return nil
}

// String is what help shows as the default.
func (f *pullRequestFlag) String() string {
	return map[pullRequestFlag]string{pullRequestAlways: "true", pullRequestNever: "false"}[*f]
}

// Type is what help calls its values.
func (*pullRequestFlag) Type() string { return "bool" }

// hostTokens are the user's own tokens for hosts of repositories. Where a
// repository is, is said by the Application, which may be anybody's: so a token is
// only ever sent to the host that it is for.
type hostTokens []hostToken

// hostToken is one of them. Never print it.
type hostToken struct {
	kind  scm.Kind
	url   string
	token string
}

// String hides everything.
func (hostToken) String() string { return "[token]" }

// GoString hides everything.
func (hostToken) GoString() string { return "[token]" }

// hostTokensOf reads the variables that the hosts' own programs read, and Plumb's
// own for any other host.
func hostTokensOf(get func(string) string) hostTokens {
	server := func(url, preset string) string {
		if url = cmp.Or(strings.TrimSpace(url), preset); !strings.Contains(url, "://") {
			url = "https://" + url
		}
		return url
	}
	var out hostTokens
	add := func(kind scm.Kind, url string, tokens ...string) {
		if token := cmp.Or(tokens...); token != "" {
			out = append(out, hostToken{kind, url, token})
		}
	}
	if url := get("PLUMB_GIT_HOST"); url != "" {
		kind := scm.Kind(get("PLUMB_GIT_HOST_TYPE"))
		if kind == "forgejo" {
			kind = scm.Gitea
		}
		add(kind, server(url, ""), get("PLUMB_GIT_HOST_TOKEN"))
	}
	add(scm.GitHub, "https://github.com", get("GH_TOKEN"), get("GITHUB_TOKEN"))
	if url := get("GH_HOST"); url != "" {
		add(scm.GitHub, server(url, ""), get("GH_ENTERPRISE_TOKEN"), get("GITHUB_ENTERPRISE_TOKEN"))
	}
	add(scm.GitLab, server(get("GITLAB_HOST"), "https://gitlab.com"), get("GITLAB_TOKEN"))
	if url := get("GITEA_SERVER_URL"); url != "" {
		add(scm.Gitea, server(url, ""), get("GITEA_SERVER_TOKEN"), get("GITEA_TOKEN"))
	}
	return out
}

// Open opens a pull request for a branch, with the token for its host. It gives
// nothing where there is none.
func (t hostTokens) Open(ctx context.Context, repoURL, head, base, title, body string) (string, error) {
	_, repo, ok := scm.Locate(repoURL)
	if !ok {
		return "", nil
	}
	for _, one := range t {
		if _, under := scm.Under(repoURL, one.url); !under {
			continue
		}
		host, err := connect.Host(connect.Config{Kind: one.kind, Address: one.url, Token: one.token})
		if err != nil {
			return "", err
		}
		pull, _, err := scm.Propose(ctx, host, repo, scm.NewPull{Title: title, Body: body, Head: head, Base: base})
		return pull.URL, err
	}
	return "", nil
}
