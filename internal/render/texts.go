package render

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// What stands for a secret text where it would be shown.
const (
	masked        = "++++++++"
	maskedChanged = "++++++++ (changed)"
)

const (
	// maskedFrom is the length from which a secret text is masked inside of
	// another one. Shorter ones would garble every message, and are masked only
	// where they are all there is.
	maskedFrom = 4
	// maskedLine is the same for one line of a secret with several.
	maskedLine = 8
	// maxTexts bounds how many lines of secrets are masked one by one.
	maxTexts = 20_000
	// quotedFrom and quotedKept are how YAML's parser shortens what it quotes.
	quotedFrom, quotedKept = 10, 7
)

// Texts are secret texts in the forms in which they may turn up, the longest
// first. They are never written anywhere.
type Texts []string

// NewTexts gives the forms of secret texts: as they are, in base64, as JSON
// writes them, and line by line.
func NewTexts(secrets []string) Texts {
	forms := map[string]bool{}
	for _, s := range secrets {
		addForms(forms, s)
	}
	for _, s := range secrets {
		if len(forms) > maxTexts || !strings.Contains(s, "\n") {
			continue
		}
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); len(line) >= maskedLine {
				forms[line] = true
			}
		}
	}
	out := make(Texts, 0, len(forms))
	for f := range forms {
		out = append(out, f)
	}
	sortedTexts(out)
	return out
}

func addForms(forms map[string]bool, s string) {
	trimmed := strings.TrimSpace(s)
	for _, t := range []string{s, trimmed} {
		if t == "" || t == "true" || t == "false" || t == "null" {
			continue
		}
		forms[t] = true
		forms[base64.StdEncoding.EncodeToString([]byte(t))] = true
		if quoted, err := json.Marshal(t); err == nil {
			forms[string(quoted[1:len(quoted)-1])] = true
		}
		if quoted, err := Canonical(t); err == nil {
			forms[string(quoted[1:len(quoted)-1])] = true
		}
	}
}

// With adds other texts.
func (t Texts) With(other Texts) Texts {
	if len(other) == 0 {
		return t
	}
	out := slices.Concat(t, other)
	sortedTexts(out)
	return slices.Compact(out)
}

// Mask masks the secrets in a text.
func (t Texts) Mask(s string) string {
	for _, secret := range t {
		if len(secret) < maskedFrom {
			if s == secret {
				return masked
			}
			continue
		}
		if len(secret) <= len(s) {
			s = strings.ReplaceAll(s, secret, masked)
		}
	}
	return s
}

// MaskError masks the secrets in an error, also where a parser has shortened
// them. Its place in the repository stays, and what it is compared with.
func (t Texts) MaskError(err error) error {
	if err == nil || len(t) == 0 {
		return err
	}
	at := (*FileError)(nil)
	text := err.Error()
	if errors.As(err, &at) {
		text = at.Err.Error()
	}
	clean := t.Mask(text)
	for _, secret := range t {
		if len(secret) > quotedFrom {
			clean = strings.ReplaceAll(clean, secret[:quotedKept]+"...", masked)
		}
	}
	if clean == text {
		return err
	}
	hidden := &maskedError{text: clean, is: err}
	if at != nil {
		return &FileError{File: at.File, Line: at.Line, Err: hidden}
	}
	return hidden
}

// maskedError is an error with another text. It does not give away the one that
// it hides, except to be compared.
type maskedError struct {
	text string
	is   error
}

func (e *maskedError) Error() string        { return e.text }
func (e *maskedError) Is(target error) bool { return errors.Is(e.is, target) }

// MaskObjects masks the secrets in the strings of an object before and after a
// change, in place; either may be nil. Where the one has a secret, what the
// other has at that place is masked too: it is most likely the secret that was
// there before.
func (t Texts) MaskObjects(before, after map[string]any) {
	if len(t) == 0 {
		return
	}
	if before == nil {
		t.maps(nil, after)
		return
	}
	t.maps(before, after)
}

// pair masks two values at the same place. What it gives is to be put there.
func (t Texts) pair(before, after any) (any, any) {
	switch a := after.(type) {
	case map[string]any:
		b, _ := before.(map[string]any)
		t.maps(b, a)
		if b == nil {
			before = t.one(before)
		}
		return before, after
	case []any:
		b, _ := before.([]any)
		t.lists(b, a)
		if b == nil {
			before = t.one(before)
		}
		return before, after
	}
	switch b := before.(type) {
	case map[string]any, []any:
		return t.one(b), t.one(after)
	}
	nowB, nowA := t.one(before), t.one(after)
	if before == nil || after == nil || nowB == before && nowA == after {
		return nowB, nowA
	}
	if before == after {
		return nowB, nowA
	}
	// Where the secret stood alone, the other value is one as well.
	if nowA == masked || nowB == masked {
		return masked, maskedChanged
	}
	if nowA != after && nowB == before {
		nowB = masked // what around it was like is not worth a leak
	}
	if nowB != before && nowA == after {
		nowA = masked
	}
	if nowA == nowB {
		nowA = maskedChanged
	}
	return nowB, nowA
}

func (t Texts) maps(before, after map[string]any) {
	for key, a := range after {
		b, was := before[key]
		if !was {
			after[key] = t.one(a)
			continue
		}
		before[key], after[key] = t.pair(b, a)
	}
	for key, b := range before {
		if _, is := after[key]; !is {
			before[key] = t.one(b)
		}
	}
}

func (t Texts) lists(before, after []any) {
	for i, a := range after {
		if i < len(before) {
			before[i], after[i] = t.pair(before[i], a)
		} else {
			after[i] = t.one(a)
		}
	}
	for i := len(after); i < len(before); i++ {
		before[i] = t.one(before[i])
	}
}

// one masks a single value, in place where it is a map or a list.
func (t Texts) one(v any) any {
	switch v := v.(type) {
	case string:
		return t.Mask(v)
	case map[string]any:
		t.maps(nil, v)
		return v
	case []any:
		t.lists(nil, v)
		return v
	case json.Number, int, int64, float64:
		if s := fmt.Sprint(v); len(s) >= maskedFrom && slices.Contains(t, s) {
			return masked
		}
	}
	return v
}

// sortedTexts is longest first: a text may be part of another.
func sortedTexts(texts []string) {
	sort.Slice(texts, func(i, j int) bool {
		if len(texts[i]) != len(texts[j]) {
			return len(texts[i]) > len(texts[j])
		}
		return texts[i] < texts[j]
	})
}
