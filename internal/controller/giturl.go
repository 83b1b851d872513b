package controller

import (
	"net/url"
	"regexp"
	"strings"
)

// scpURL is the short form of an ssh URL, or an ssh URL with a user.
var scpURL = regexp.MustCompile(`^(ssh://)?([^/:]*?)@[^@]+$`)

// normalRepo writes a repository's URL the way Argo CD compares them: in lower
// case, without ".git", and ssh URLs without their scheme. It is empty for what
// is no URL.
func normalRepo(repo string) string {
	repo = strings.ToLower(strings.TrimSpace(repo))
	if scpURL.MatchString(repo) && !strings.HasPrefix(repo, "ssh://") {
		repo = "ssh://" + strings.Replace(repo, ":", "/", 1)
	}
	u, err := url.Parse(strings.TrimSuffix(repo, ".git"))
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.String(), "ssh://")
}

// sameRepo tells whether two URLs mean one repository to Argo CD.
func sameRepo(a, b string) bool {
	na, nb := normalRepo(a), normalRepo(b)
	return na != "" && na == nb
}
