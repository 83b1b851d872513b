package scm

import (
	"net/url"
	"strings"
)

// Locate splits the URL of a repository, as git clone takes it, into the host
// and the repository there. It is false where it is on no host.
func Locate(repoURL string) (host string, repo Repo, ok bool) {
	text := strings.TrimSpace(repoURL)
	if !strings.Contains(text, "://") { // git@host:owner/name
		at, rest, found := strings.Cut(text, ":")
		if !found || strings.Contains(at, "/") || strings.HasPrefix(rest, "\\") {
			return "", Repo{}, false
		}
		text = "ssh://" + at + "/" + strings.TrimPrefix(rest, "/")
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme == "file" || u.Scheme == "oci" {
		return "", Repo{}, false
	}
	host = strings.ToLower(u.Host)
	if u.Scheme == "ssh" || u.Scheme == "git+ssh" {
		host = strings.ToLower(u.Hostname()) // that port is not the API's
		for _, prefix := range []string{"altssh.", "ssh."} {
			host = strings.TrimPrefix(host, prefix)
		}
	}
	path := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	at := strings.LastIndex(path, "/")
	if at <= 0 || at == len(path)-1 {
		return "", Repo{}, false
	}
	return host, Repo{Owner: path[:at], Name: path[at+1:]}, true
}

// Same tells whether two URLs mean one repository of a host, by whatever protocol
// and port it is reached.
func Same(a, b string) bool {
	hostA, repoA, okA := Locate(a)
	hostB, repoB, okB := Locate(b)
	return okA && okB && sameHost(hostA, hostB) && strings.EqualFold(repoA.String(), repoB.String())
}

// Under tells whether a repository's URL is below another one, which is that of a
// host, a group or the repository itself, however they are written. How much of
// it is meant tells which of several is the closest.
func Under(repoURL, above string) (closeness int, ok bool) {
	host, repo, ok := Locate(repoURL)
	if !ok {
		return 0, false
	}
	path := strings.ToLower(repo.String())
	aboveHost, abovePath := splitAbove(above)
	if aboveHost == "" || !sameHost(host, aboveHost) {
		return 0, false
	}
	if abovePath == "" || path == abovePath || strings.HasPrefix(path, abovePath+"/") {
		return 1 + len(abovePath), true
	}
	return 0, false
}

func splitAbove(above string) (host, path string) {
	if h, r, ok := Locate(above); ok {
		return h, strings.ToLower(r.String())
	}
	if !strings.Contains(above, "://") {
		above = "https://" + above
	}
	u, err := url.Parse(strings.TrimSpace(above))
	if err != nil {
		return "", ""
	}
	return strings.ToLower(u.Host), strings.ToLower(strings.Trim(u.Path, "/"))
}

// sameHost compares hosts; a port counts only where both name one.
func sameHost(a, b string) bool {
	nameA, portA, _ := strings.Cut(a, ":")
	nameB, portB, _ := strings.Cut(b, ":")
	return nameA == nameB && (portA == portB || portA == "" || portB == "")
}

// Guess gives the kind of a well-known host.
func Guess(host string) (Kind, bool) {
	name, _, _ := strings.Cut(strings.ToLower(host), ":")
	switch {
	case name == "github.com":
		return GitHub, true
	case name == "bitbucket.org":
		return BitbucketCloud, true
	case name == "gitlab.com", strings.HasPrefix(name, "gitlab."):
		return GitLab, true
	case name == "codeberg.org", name == "gitea.com", strings.HasPrefix(name, "gitea."), strings.HasPrefix(name, "forgejo."):
		return Gitea, true
	}
	return "", false
}
