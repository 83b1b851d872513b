package source

import (
	"net/url"
	"strings"
)

// SameRepo tells whether two URLs mean one repository, however they are
// written: scheme, user, default port, letter case and a trailing ".git" or
// slash do not matter. A webhook often names a repository in another form than
// the Application does.
func SameRepo(a, b string) bool {
	if a == b {
		return true
	}
	na, nb := normal(a), normal(b)
	return na != "" && na == nb
}

// normal gives host/path in lower case, or a local path as it is.
func normal(repo string) string {
	repo = strings.TrimSpace(repo)
	if rest, ok := strings.CutPrefix(repo, "file://"); ok {
		return trimRepo(rest)
	}
	if !strings.Contains(repo, "://") {
		host, path, ok := SplitSCP(repo)
		if !ok {
			return trimRepo(repo)
		}
		_, host, _ = cutLast(host, "@")
		return trimRepo(strings.ToLower(host + "/" + strings.TrimPrefix(path, "/")))
	}
	u, err := url.Parse(repo)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if port := u.Port(); port != "" && !(port == "443" && u.Scheme == "https") &&
		!(port == "80" && u.Scheme == "http") && !(port == "22" && strings.Contains(u.Scheme, "ssh")) {
		host += ":" + port
	}
	return trimRepo(host + strings.ToLower(u.Path))
}

// SplitSCP splits "user@host:path", the short form of ssh URLs.
func SplitSCP(repo string) (host, path string, ok bool) {
	if strings.Contains(repo, "://") {
		return "", "", false
	}
	host, path, ok = strings.Cut(repo, ":")
	if !ok || host == "" || strings.ContainsAny(host, "/\\") {
		return "", "", false
	}
	return host, path, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

func trimRepo(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s, "/"), ".git")
}
