package adopt

import (
	"fmt"
	"path"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
)

// ReadOnly says why nothing can be committed to a source, as far as its
// declaration tells. Base is the branch that is to be committed to, if it was named.
func ReadOnly(s v1alpha1.ApplicationSource, base string) string {
	switch {
	case s.IsHelmRepo():
		return "the chart " + s.Chart + " comes from a chart repository, which is not edited"
	case s.IsOCI():
		return "it comes from an OCI registry, which is not edited"
	case base == "" && len(s.TargetRevision) == 40 && strings.Trim(s.TargetRevision, "0123456789abcdef") == "":
		return "the source is held at a commit (targetRevision): name the branch to commit to with --base"
	case base == "" && strings.ContainsAny(s.TargetRevision, "*^~<>="):
		return "the source follows tags (targetRevision " + s.TargetRevision + "): name the branch to commit to with --base"
	}
	return ""
}

// Base is the branch that a source follows, or the one that was named; empty for
// the default one.
func Base(s v1alpha1.ApplicationSource, named string) string {
	if named != "" {
		return named
	}
	if s.TargetRevision == "HEAD" {
		return ""
	}
	return strings.TrimPrefix(s.TargetRevision, "refs/heads/")
}

// Message says what is adopted, and why it differed: for a commit. The title may be
// empty.
func Message(title, application, key string, items []Item) string {
	var b strings.Builder
	b.WriteString(title)
	if title == "" {
		fmt.Fprintf(&b, "Adopt what runs into %s", application)
	}
	fmt.Fprintf(&b, "\n\nThe Application %s was changed where it runs. This makes Git say so:\n\n", key)
	const most = 100
	for i, item := range items {
		if i == most {
			fmt.Fprintf(&b, "- and %d more\n", len(items)-most)
			break
		}
		fmt.Fprintf(&b, "- %s\n", item)
	}
	return b.String()
}

// String is the item in one line.
func (i Item) String() string {
	if i.Field == "" {
		return string(i.Ref.Address()) + ": deleted"
	}
	return fmt.Sprintf("%s %s: %s -> %s", i.Ref.Address(), i.Field, brief(i.Declared), brief(i.Live))
}

// brief writes a value in a few words.
func brief(v any) string {
	switch v := v.(type) {
	case nil:
		return "(none)"
	case map[string]any, []any:
		return "(…)"
	default:
		text := strings.Map(visible, fmt.Sprint(v))
		if runes := []rune(text); len(runes) > 60 {
			text = string(runes[:60]) + "…"
		}
		return text
	}
}

// visible replaces what would steer a terminal or hide text.
func visible(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return ' '
	case r < 0x20, r == 0x7f, r >= 0x80 && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return '?'
	}
	return r
}

// Answered tells whether an Application's policy has a drifted field adopted: the
// first rule that speaks of it counts. No field is the resource as a whole.
func Answered(p *v1alpha1.DriftPolicy, ref plan.Ref, field Path) bool {
	if p == nil {
		return false
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		group := r.Group == "*" || r.Group == ref.Group || r.Group == "" && r.Kind == ""
		kind := r.Kind == "" || r.Kind == "*" || r.Kind == ref.Kind
		if !group || !kind || !glob(r.Name, ref.Name) || !glob(r.Namespace, ref.Namespace) {
			continue
		}
		if len(r.JSONPointers) == 0 {
			return r.Action == v1alpha1.DriftAdopt
		}
		at := field.Pointer()
		for _, pointer := range r.JSONPointers {
			if len(field) > 0 && (at == pointer || strings.HasPrefix(at, strings.TrimSuffix(pointer, "/")+"/")) {
				return r.Action == v1alpha1.DriftAdopt
			}
		}
	}
	return p.Default == v1alpha1.DriftAdopt
}

func glob(pattern, s string) bool {
	if pattern == "" || pattern == "*" || pattern == s {
		return true
	}
	ok, err := path.Match(pattern, s)
	return err == nil && ok
}
