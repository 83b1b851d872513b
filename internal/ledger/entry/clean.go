package entry

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The longest texts of an entry, in bytes.
const (
	maxName    = 512
	maxAddress = 2048
	maxMessage = 4096
	maxValue   = 1024

	maxDetails   = 32
	maxGroups    = 64
	maxRevisions = 32
)

// Clean makes an entry fit to be kept for good, and shown on any terminal:
// texts lose control characters and what turns the direction of writing, long
// ones are cut, and passwords in the addresses of repositories are masked. What
// else is secret, whoever makes the entry must leave out.
func Clean(e Entry) Entry {
	c := cleaner{}
	e.Application = Application{
		Group: c.text(e.Application.Group, maxName), Namespace: c.text(e.Application.Namespace, maxName),
		Name: c.text(e.Application.Name, maxName), UID: c.text(e.Application.UID, maxName),
	}
	e.Project = c.text(e.Project, maxName)
	e.Operation = c.text(e.Operation, maxName)
	e.Message = c.text(e.Message, maxMessage)
	e.Actor.User = c.text(e.Actor.User, maxName)
	e.Actor.Via = c.text(e.Actor.Via, maxName)
	e.Actor.Groups = texts(&c, e.Actor.Groups)
	e.Revisions = c.revisions(e.Revisions)
	e.Plan.Name = c.text(e.Plan.Name, maxName)
	e.Plan.Digest = c.text(e.Plan.Digest, maxName)
	e.Plan.Risk = c.text(e.Plan.Risk, maxValue)
	e.Details = c.details(e.Details)
	e.Cut = e.Cut || c.cut
	return shed(e)
}

// shed leaves out of an entry that is too large what is least missed.
func shed(e Entry) Entry {
	for range maxDetails + maxGroups + maxRevisions {
		if raw, err := Encode(e); err != nil && raw == nil && e.check() != nil {
			return e // Encode says why
		} else if err == nil {
			return e
		}
		e.Cut = true
		switch {
		case len(e.Details) > 0:
			keys := slices.Sorted(maps.Keys(e.Details))
			delete(e.Details, keys[len(keys)-1])
		case len(e.Actor.Groups) > 0:
			e.Actor.Groups = e.Actor.Groups[:len(e.Actor.Groups)-1]
		case len(e.Revisions) > 0:
			e.Revisions = e.Revisions[:len(e.Revisions)-1]
		default:
			return e
		}
	}
	return e
}

// cleaner remembers whether something was cut.
type cleaner struct{ cut bool }

// passwords are in addresses: all that stands before the host of http, where a
// token may be the name, and what follows a name elsewhere.
var passwords = regexp.MustCompile(`(?i)(https?://)[^/@\s]+@|([a-z][a-z0-9+.-]*://[^/@:\s]*):[^/@\s]*@`)

// account is how an API server calls an account of an issuer, as in
// https://issuer.example.org#ada@example.org: no address has a "#" before its host.
var account = regexp.MustCompile(`(?i)^https?://[a-z0-9-]+(\.[a-z0-9-]+)+#`)

func masked(s string) string {
	return passwords.ReplaceAllStringFunc(s, func(found string) string {
		if account.MatchString(found) {
			return found
		}
		return strings.Replace(passwords.ReplaceAllString(found, "${1}${2}:xxxxx@"), "://:xxxxx@", "://xxxxx@", 1)
	})
}

func (c *cleaner) text(s string, most int) string {
	if len(s) > 4*most { // nobody's megabytes are looked at letter by letter
		s, c.cut = s[:4*most], true
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if strings.Contains(s, "://") {
		s = masked(s)
	}
	if len(s) <= most {
		return s
	}
	c.cut = true
	const ellipsis = "…"
	s = s[:most-len(ellipsis)]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + ellipsis
}

func texts(c *cleaner, list []string) []string {
	if len(list) > maxGroups {
		list, c.cut = list[:maxGroups], true
	}
	cleaned := make([]string, 0, len(list))
	for _, s := range list {
		cleaned = append(cleaned, c.text(s, maxName))
	}
	return slices.Clip(cleaned)
}

func (c *cleaner) revisions(list []Revision) []Revision {
	if len(list) > maxRevisions {
		list, c.cut = list[:maxRevisions], true
	}
	cleaned := make([]Revision, 0, len(list))
	for _, r := range list {
		cleaned = append(cleaned, Revision{
			Repo: c.text(r.Repo, maxAddress), Revision: c.text(r.Revision, maxName),
			Author: c.text(r.Author, maxName), AuthorEmail: c.text(r.AuthorEmail, maxName), CommittedAt: sane(r.CommittedAt),
			Signature: Signature{
				Status: c.text(r.Signature.Status, maxName), Key: c.text(r.Signature.Key, maxName),
				Signer: c.text(r.Signature.Signer, maxName),
			},
		})
	}
	return cleaned
}

func (c *cleaner) details(details map[string]string) map[string]string {
	cleaned := make(map[string]string, min(len(details), maxDetails))
	for _, key := range slices.Sorted(maps.Keys(details)) {
		if len(cleaned) == maxDetails {
			c.cut = true
			break
		}
		cleaned[c.text(key, maxName)] = c.text(details[key], maxValue)
	}
	return cleaned
}

// sane leaves out a time that cannot be written: a commit's date is its
// author's to choose.
func sane(t time.Time) time.Time {
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return time.Time{}
	}
	return t
}
