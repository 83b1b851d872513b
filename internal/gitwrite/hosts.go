package gitwrite

import (
	"net/url"
	"strings"

	"github.com/plumb-dev/plumb/internal/source"
)

// CompareURL is the page on which a pull request of a branch can be opened, for
// hosts that are known by their name; empty for others.
func CompareURL(repo, base, branch string) string {
	host, path := split(repo)
	if host == "" || path == "" {
		return ""
	}
	site := "https://" + host + "/" + path
	b, h := url.PathEscape(base), url.PathEscape(branch)
	switch {
	case host == "github.com":
		return site + "/compare/" + escapeSlashes(b) + "..." + escapeSlashes(h) + "?expand=1"
	case host == "gitlab.com", strings.HasPrefix(host, "gitlab."):
		q := url.Values{"merge_request[source_branch]": {branch}, "merge_request[target_branch]": {base}}
		return site + "/-/merge_requests/new?" + q.Encode()
	case host == "bitbucket.org":
		q := url.Values{"source": {branch}, "dest": {base}}
		return site + "/pull-requests/new?" + q.Encode()
	case host == "codeberg.org", host == "gitea.com", strings.HasPrefix(host, "gitea."), strings.HasPrefix(host, "forgejo."):
		return site + "/compare/" + escapeSlashes(b) + "..." + escapeSlashes(h)
	}
	return ""
}

// escapeSlashes leaves slashes as they are: hosts want them so in names of
// branches.
func escapeSlashes(s string) string { return strings.ReplaceAll(s, "%2F", "/") }

// split gives a repository's host and path, however its URL is written.
func split(repo string) (host, path string) {
	if h, p, ok := source.SplitSCP(repo); ok {
		if i := strings.LastIndex(h, "@"); i >= 0 {
			h = h[i+1:]
		}
		host, path = h, p
	} else if u, err := url.Parse(repo); err == nil && u.Scheme != "file" {
		host, path = u.Hostname(), u.Path
		if p := u.Port(); p != "" && (u.Scheme == "https" || u.Scheme == "http") {
			host = u.Host
		}
	}
	return strings.ToLower(host), strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}
