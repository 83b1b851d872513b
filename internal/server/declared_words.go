package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// What the ledger says in words of what is declared, beside hashes: the names of
// details, and the facet that each belongs to. Nothing of it is a place where anybody
// writes secrets.
var declaredWords = []struct{ name, facet string }{
	{"approval", facetSpec},
	{"windows", facetSpec},
	{"roles", facetPermissions},
	{"accounts", facetPermissions},
}

const (
	// none are the words for what is not declared.
	none = "none"
	// itemEnd is between the items of a detail.
	itemEnd = "; "
	// mostWords bounds a detail, in bytes, mostItems what is told of a change.
	mostWords = 960
	mostItems = 10
)

// wordsOfProject are the words for what a project asks and lets.
func wordsOfProject(spec v1alpha1.AppProjectSpec) map[string]string {
	var windows, roles, accounts []string
	for _, w := range spec.SyncWindows {
		windows = append(windows, windowWords(w))
	}
	for _, r := range spec.Roles {
		roles = append(roles, fmt.Sprintf("%s (groups %s): %s", r.Name, list(r.Groups), list(r.Policies)))
	}
	for _, a := range spec.DestinationServiceAccounts {
		accounts = append(accounts, fmt.Sprintf("%s in %s as %s", v1alpha1.RedactURL(a.Server), cmp.Or(a.Namespace, "any namespace"), a.DefaultServiceAccount))
	}
	return map[string]string{
		"approval": approvalWords(spec.Approval), "windows": items(windows), "roles": items(roles), "accounts": items(accounts),
	}
}

// wordsOfApplication are the words for what an Application asks.
func wordsOfApplication(spec v1alpha1.ApplicationSpec) map[string]string {
	var p *v1alpha1.ApprovalPolicy
	if spec.SyncPolicy != nil {
		p = spec.SyncPolicy.Approval
	}
	return map[string]string{"approval": approvalWords(p)}
}

func approvalWords(p *v1alpha1.ApprovalPolicy) string {
	if p == nil {
		return none
	}
	if p.GetWhen() == v1alpha1.ApproveNever {
		return string(v1alpha1.ApproveNever)
	}
	s := p.Snapshot()
	var who []string
	for _, a := range s.Approvers {
		if a.User != "" {
			who = append(who, "user "+a.User)
		} else {
			who = append(who, "group "+a.Group)
		}
	}
	text := fmt.Sprintf("%s, %d of %s", p.GetWhen(), s.Min, cmp.Or(strings.Join(who, ", "), "those who may"))
	if !s.NotAuthor {
		text += ", also by the author"
	}
	if p.ValidFor != "" {
		text += ", for " + p.ValidFor
	}
	if p.PullRequest != nil && *p.PullRequest {
		text += ", or by a merged pull request"
	}
	return text
}

func windowWords(w v1alpha1.SyncWindow) string {
	parts := []string{fmt.Sprintf("%s %q for %s %s", cmp.Or(w.Kind, "allow"), w.Schedule, w.Duration, cmp.Or(w.TimeZone, "UTC"))}
	for _, on := range []struct {
		name string
		of   []string
	}{{"applications", w.Applications}, {"namespaces", w.Namespaces}, {"clusters", w.Clusters}} {
		if len(on.of) > 0 {
			parts = append(parts, on.name+" "+strings.Join(on.of, " "))
		}
	}
	text := strings.Join(parts, ", ")
	if w.ManualSync {
		text += ", by hand all the same"
	}
	return text
}

func list(all []string) string { return cmp.Or(strings.Join(all, ", "), none) }

// items puts a list into one detail, bounded.
func items(all []string) string {
	text := ""
	for i, item := range all {
		if len(text)+len(item)+len(itemEnd) > mostWords {
			return text + fmt.Sprintf("%sand %d more", itemEnd, len(all)-i)
		}
		if i > 0 {
			text += itemEnd
		}
		text += item
	}
	return cmp.Or(text, none)
}

// hear takes the words out of an entry.
func (s *declaredState) hear(details map[string]string) {
	for _, w := range declaredWords {
		if text, ok := details[w.name]; ok {
			if s.words == nil {
				s.words = map[string]string{}
			}
			s.words[w.name] = text
		}
	}
}

// tell puts the words for a facet into an entry, and says what has changed of them.
func (s *declaredState) tell(e *entry.Entry, facet string, before declaredState) {
	var changes []string
	for _, w := range declaredWords {
		now, ok := s.words[w.name]
		if w.facet != facet || !ok {
			continue
		}
		was := cmp.Or(before.words[w.name], none)
		if now == was && now == none {
			continue // there is nothing to say
		}
		e.Details[w.name] = now
		if now != was {
			changes = append(changes, w.name+": "+changeOf(was, now))
		}
	}
	if len(changes) > 0 {
		e.Message += ": " + strings.Join(changes, ". ")
	}
}

// changeOf says how a list has become another one.
func changeOf(was, now string) string {
	before, after := strings.Split(was, itemEnd), strings.Split(now, itemEnd)
	if len(before) == 1 && len(after) == 1 {
		return was + " → " + now
	}
	var parts []string
	for _, item := range before {
		if item != none && !slices.Contains(after, item) {
			parts = append(parts, "− "+item)
		}
	}
	for _, item := range after {
		if item != none && !slices.Contains(before, item) {
			parts = append(parts, "+ "+item)
		}
	}
	if len(parts) == 0 {
		return "in another order"
	}
	if len(parts) > mostItems {
		parts = append(parts[:mostItems], fmt.Sprintf("and %d more", len(parts)-mostItems))
	}
	return strings.Join(parts, itemEnd)
}
