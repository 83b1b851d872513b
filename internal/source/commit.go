package source

import (
	"bytes"
	"context"
	"strings"
)

// Commit is what is known about a revision.
type Commit struct {
	Revision string
	// Author and Committer are as Git writes them: "Name <mail>".
	Author    string
	Committer string
	Date      string // RFC 3339, of the author
	Message   string // first lines
	Tags      []string
	// Signature is what came of verifying the signature. A source leaves it
	// empty: which keys are trusted is the project's business.
	Signature Signature
}

// AuthorName is the author's name alone.
func (c Commit) AuthorName() string {
	name, _, _ := strings.Cut(c.Author, "<")
	return strings.TrimSpace(name)
}

// AuthorEmail is the author's mail address alone, or empty.
func (c Commit) AuthorEmail() string {
	_, rest, ok := strings.Cut(c.Author, "<")
	if !ok {
		return ""
	}
	mail, _, _ := strings.Cut(rest, ">")
	return strings.TrimSpace(mail)
}

// Subject is the first line of the message.
func (c Commit) Subject() string {
	subject, _, _ := strings.Cut(c.Message, "\n")
	return strings.TrimSpace(subject)
}

// SignatureStatus is what came of verifying a signature. The set is closed.
type SignatureStatus string

// The results. The zero value says that nobody has looked.
const (
	NotVerified      SignatureStatus = ""
	SignatureGood    SignatureStatus = "Good"
	SignatureMissing SignatureStatus = "Unsigned"
	SignatureBad     SignatureStatus = "BadSignature"
	KeyUnknown       SignatureStatus = "UnknownKey"
	KeyNotAllowed    SignatureStatus = "KeyNotAllowed"
	KeyExpired       SignatureStatus = "ExpiredKey"
	KeyRevoked       SignatureStatus = "RevokedKey"
	SignatureExpired SignatureStatus = "ExpiredSignature"
)

// Signature is what is known of a signature.
type Signature struct {
	Status SignatureStatus
	// Kind is "gpg" or "ssh", Key the id or fingerprint of the key that it was
	// made with, and Signer whose key that is, where they are known.
	Kind, Key, Signer string
}

// Describer tells of revisions. Every Source is one.
type Describer interface {
	// Describe gives a revision's author, date and message.
	Describe(ctx context.Context, spec Spec, at Resolved, cred Credentials) (Commit, error)
}

// Object is a commit, or an annotated tag, whose signature can be verified.
type Object struct {
	// ID of the object, and Tag's name where it is one.
	ID, Tag string
	// Raw is the object as it is stored, without header.
	Raw []byte
}

// Signed is a Source whose revisions can carry signatures. It verifies none.
type Signed interface {
	// Signatures visits the objects that can vouch for a revision until visit has
	// seen enough: the annotated tag that it came from; or else its commit, and then
	// the annotated tags on it.
	Signatures(ctx context.Context, spec Spec, at Resolved, cred Credentials, visit func(Object) (enough bool)) error
	// History visits a revision's commit and those before it, as far as visit asks
	// to go deeper.
	History(ctx context.Context, spec Spec, at Resolved, cred Credentials, visit func(Object) (deeper bool)) error
}

// Compared is a Source whose revisions can be compared.
type Compared interface {
	// Differences gives what differs between two revisions, by path; it is an error
	// where that is over most files.
	Differences(ctx context.Context, spec Spec, from, to Resolved, cred Credentials, most int) (map[string]Difference, error)
}

// Difference is one file in two revisions: its mode and content's id in each, empty
// where it is not there.
type Difference struct{ From, To string }

// Parents are the parents of a commit, as the raw object names them: only the
// headers right after the tree are that for Git, what comes later under the name
// is not.
func Parents(raw []byte) []string {
	var out []string
	head, _, _ := bytes.Cut(raw, []byte("\n\n"))
	for line := range bytes.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		switch key {
		case "tree":
		case "parent":
			out = append(out, value)
		default:
			return out
		}
	}
	return out
}
