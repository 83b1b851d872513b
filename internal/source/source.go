// Package source is the contract between the engine and the places that
// desired state comes from: a Git repository, a Helm repository, an OCI
// registry. Its implementations are the folders below it; it knows nothing of
// what the content means.
package source

import (
	"context"
	"io/fs"
)

// Spec names content: a repository and what of it. Chart is set for Helm
// charts only (then Repo is a chart repository's URL or an OCI registry path).
type Spec struct {
	Repo     string
	Revision string // branch, tag, semver range, commit, HEAD or empty (HEAD); for charts a version or range
	Chart    string
	// TagPrefix narrows the tags that a semver range is matched with, in
	// repositories that version several things ("component-b/1.2.0").
	TagPrefix string
}

// Credentials for one repository, as Argo CD's repository Secrets give them.
// The zero value is "none". Never print it: String and GoString are masked.
type Credentials struct {
	Username, Password   string
	BearerToken          string
	SSHPrivateKey        string
	TLSClientCert        string
	TLSClientKey         string
	Insecure             bool
	InsecureOCIForceHTTP bool
	EnableLFS            bool
	ForceBasicAuth       bool
	Proxy, NoProxy       string
	Type                 string // "git", "helm", "oci" or empty (auto)
	EnableOCI            bool
	// KnownHosts and CABundle are PEM or known_hosts texts (may be empty).
	KnownHosts, CABundle string
}

// String hides everything.
func (Credentials) String() string { return "[credentials]" }

// GoString hides everything.
func (Credentials) GoString() string { return "[credentials]" }

// Resolved is a revision made immutable.
type Resolved struct {
	// Revision is a commit id, or a chart's version, or a digest.
	Revision string
	// Ref is the symbolic name it came from, where there is one.
	Ref string
	// Stale says why the answer may be old, where the repository could not be
	// asked just now (it is down, not gone) and what was last seen still holds.
	Stale string
}

// Tree is the read-only content of a source at one revision, rooted at the
// repository's (or chart's) root. It is safe for concurrent use. Open never
// follows a symbolic link out of the tree; files over the size limit fail to
// open with an error that names them.
type Tree interface {
	fs.ReadDirFS
	fs.ReadFileFS
	fs.StatFS
	// Revision is the immutable revision the tree was read at.
	Revision() string
	// ID identifies the content at a path ("." is the root): the Git object id
	// of the file or directory, or a digest. It is empty where there is nothing.
	ID(path string) string
}

// Source fetches from one kind of place. All methods are safe for concurrent
// use, and concurrent calls for one repository share one fetch.
type Source interface {
	// Resolve gives the immutable revision that the spec means now. It answers
	// from what was last seen of the repository, and asks the repository only
	// where nothing was seen yet or the fact is older than the last Refresh.
	Resolve(ctx context.Context, spec Spec, cred Credentials) (Resolved, error)
	// Fetch gives the content at a resolved revision.
	Fetch(ctx context.Context, spec Spec, at Resolved, cred Credentials) (Tree, error)
	// Describe gives a revision's author, date and message.
	Describe(ctx context.Context, spec Spec, at Resolved, cred Credentials) (Commit, error)
	// Watch calls moved with a repository's URL whenever one of its references
	// that was resolved before may now mean something else, until ctx is done.
	Watch(ctx context.Context, moved func(repo string))
	// Refresh says that a repository may have changed (a webhook, a user): it is
	// asked again now. An empty repo means all of them.
	Refresh(repo string)
}
