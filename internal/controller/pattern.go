package controller

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/gobwas/glob"
)

// pattern is one entry of a project's list: a glob, which a leading "!" turns
// into a denial.
type pattern struct {
	text string
	deny bool
	any  bool
	glob glob.Glob
}

// compile reads a pattern. A text that is no pattern is an error rather than a
// pattern that matches nothing: a denial would then allow everything.
func compile(text string, normal func(string) string, separators ...rune) (pattern, error) {
	p := pattern{text: text}
	body := text
	if rest, ok := strings.CutPrefix(text, "!"); ok {
		p.deny, body = true, rest
	}
	if normal != nil {
		body = normal(body)
	}
	if body == "*" && !p.deny {
		p.any = true
		return p, nil
	}
	g, err := glob.Compile(body, separators...)
	if err != nil {
		return p, fmt.Errorf("%q is no pattern: %w", text, err)
	}
	p.glob = g
	return p, nil
}

// match tells whether the pattern is content with a value: a denial is with all
// that it does not name.
func (p pattern) match(value string) bool {
	switch {
	case p.any:
		return true
	case p.deny:
		return !p.glob.Match(value)
	default:
		return p.glob.Match(value)
	}
}

// matchKind compares kinds and groups as Argo CD does: with shell patterns.
func matchKind(pattern, value string) bool {
	ok, err := path.Match(pattern, value)
	return ok && err == nil
}

// namespacePattern matches namespaces by glob or, between slashes, by a regular
// expression.
func namespacePattern(text string) (func(string) bool, error) {
	if len(text) > 2 && strings.HasPrefix(text, "/") && strings.HasSuffix(text, "/") {
		re, err := regexp.Compile(text[1 : len(text)-1])
		if err != nil {
			return nil, fmt.Errorf("%q is no regular expression: %w", text, err)
		}
		return re.MatchString, nil
	}
	g, err := glob.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no pattern: %w", text, err)
	}
	return g.Match, nil
}
