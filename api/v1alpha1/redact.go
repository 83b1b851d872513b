package v1alpha1

import (
	"net/url"
	"slices"
	"strings"
)

const redacted = "xxxxx"

// RedactURL gives a repository's URL for people to read: credentials that stand
// in it are replaced. It is "https://dev:xxxxx@host/…"; a user name alone is
// replaced too where it may be a token, which is everywhere but with ssh.
func RedactURL(repo string) string {
	u, err := url.Parse(repo)
	if err != nil || u.User == nil {
		if err != nil && strings.Contains(repo, "://") && strings.Contains(repo, "@") {
			scheme, rest, _ := strings.Cut(repo, "://")
			return scheme + "://" + redacted + rest[strings.LastIndex(rest, "@"):]
		}
		return repo
	}
	switch _, password := u.User.Password(); {
	case password:
		u.User = url.UserPassword(u.User.Username(), redacted)
	case u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "oci":
		u.User = url.User(redacted)
	default:
		return repo
	}
	return u.String()
}

// Redacted is the source without credentials that stand in its URL.
func (s ApplicationSource) Redacted() ApplicationSource {
	s.RepoURL = RedactURL(s.RepoURL)
	return s
}

// Redacted are the sources without credentials that stand in their URLs.
func (s ApplicationSources) Redacted() ApplicationSources {
	out := slices.Clone(s)
	for i := range out {
		out[i] = out[i].Redacted()
	}
	return out
}
