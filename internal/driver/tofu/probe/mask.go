package probe

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"regexp"
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
	secrets = slices.Clone(secrets)
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, s := range secrets {
		forms := []string{s, strings.Trim(strconv.Quote(s), `"`), url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte(s))}
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

// secretNames are names of variables that mostly hold secrets.
var secretNames = regexp.MustCompile(`(?i)token|secret|passw|passphrase|api_?key|access_?key|private_?key|credential|_pat$|dsn|connection_?string`)

// environmentSecrets are the values of an environment that are secrets by their
// names.
func environmentSecrets(env []string) []string {
	var secrets []string
	for _, each := range env {
		if name, value, ok := strings.Cut(each, "="); ok && secretNames.MatchString(name) {
			secrets = append(secrets, value)
		}
	}
	return secrets
}

func (m masker) text(text string) string {
	text = m.replacer.Replace(text)
	if len(text) > maxReason {
		text = text[:maxReason] + "…"
	}
	return text
}
