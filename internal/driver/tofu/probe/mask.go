package probe

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// shortest is the length from which on a secret is masked: shorter ones would
// mask half of all texts, and are no secrets.
const shortest = 4

const maxReason = 2000

// masker takes secrets out of what providers say.
type masker struct{ replacer *strings.Replacer }

func newMasker(secrets []string) masker {
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, s := range secrets {
		forms := []string{s, strings.Trim(strconv.Quote(s), `"`)}
		for line := range strings.Lines(s) { // of a key, each line
			forms = append(forms, strings.TrimSpace(line))
		}
		for _, form := range forms {
			if len(form) >= shortest {
				pairs = append(pairs, form, hidden)
			}
		}
	}
	return masker{strings.NewReplacer(pairs...)}
}

func (m masker) text(text string) string {
	text = m.replacer.Replace(text)
	if len(text) > maxReason {
		text = text[:maxReason] + "…"
	}
	return text
}
