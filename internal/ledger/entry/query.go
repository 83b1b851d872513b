package entry

import (
	"slices"
	"strings"
	"time"
)

// Query asks for entries. What is empty asks for nothing in particular.
type Query struct {
	Application Application // Group and UID count where they are set
	Project     string
	Kinds       []Kind
	Person      string // who acted, or is the author of a commit, by name or address
	Operation   string
	Since       time.Time // from then on
	Until       time.Time // before then
	Text        string    // in any of its texts, in any case

	Oldest bool    // the oldest first
	After  *uint64 // go on after this index, in the order asked for
	Limit  int     // at most so many; 0 is all
}

// Page is an answer, and where the next one begins.
type Page struct {
	Entries []Entry
	// Next is what After of the next Query is; nil where nothing follows.
	Next *uint64
}

// Matches tells whether the entry is asked for, wherever it is in the log.
func (q *Query) Matches(e *Entry) bool {
	a, b := q.Application, e.Application
	switch {
	case a.Group != "" && a.Group != b.Group,
		a.Namespace != "" && a.Namespace != b.Namespace,
		a.Name != "" && a.Name != b.Name,
		a.UID != "" && a.UID != b.UID,
		q.Project != "" && q.Project != e.Project,
		q.Operation != "" && q.Operation != e.Operation,
		len(q.Kinds) > 0 && !slices.Contains(q.Kinds, e.Kind),
		!q.Since.IsZero() && e.Time.Before(q.Since),
		!q.Until.IsZero() && !e.Time.Before(q.Until):
		return false
	}
	if q.Person != "" && !slices.Contains(e.Persons(), strings.ToLower(q.Person)) {
		return false
	}
	return q.Text == "" || e.contains(strings.ToLower(q.Text))
}

// The details that name persons, and what stands between several of them.
const (
	// ImpersonatedBy is who has acted as the actor.
	ImpersonatedBy = "impersonatedBy"
	// ChangedBy are those who have made the drift that has ended.
	ChangedBy = "changedBy"
	// WrittenBefore are others who have changed the same in that time.
	WrittenBefore = "writtenBefore"
	Between       = ", "
)

// Persons are all who have a part in the entry, in lower case, each once: the
// actor, who has acted as him, whose change has ended, and the authors and signers
// of commits.
func (e *Entry) Persons() []string {
	var persons []string
	add := func(names ...string) {
		for _, name := range names {
			if name = strings.ToLower(name); name != "" && !slices.Contains(persons, name) {
				persons = append(persons, name)
			}
		}
	}
	add(e.Actor.User)
	for _, detail := range []string{ImpersonatedBy, ChangedBy, WrittenBefore} {
		add(strings.Split(e.Details[detail], Between)...)
	}
	for _, r := range e.Revisions {
		add(r.Author, r.AuthorEmail, r.Signature.Signer)
	}
	return persons
}

func (e *Entry) contains(text string) bool {
	in := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(s), text) })
	}
	if in(string(e.Kind), e.Application.String(), e.Project, e.Actor.User, e.Actor.Via, e.Operation, string(e.Result),
		e.Message, e.Plan.Name, e.Plan.Digest, e.Plan.Risk) || in(e.Actor.Groups...) {
		return true
	}
	for _, r := range e.Revisions {
		if in(r.Repo, r.Revision, r.Author, r.AuthorEmail, r.Signature.Key, r.Signature.Signer) {
			return true
		}
	}
	for key, value := range e.Details {
		if in(key, value) {
			return true
		}
	}
	return false
}
