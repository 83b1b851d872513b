package assess

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gobwas/glob"
	"sigs.k8s.io/yaml"
)

const customizationsKey = "resource.customizations"

// overrides are the user's own checks.
type overrides struct {
	exact    map[string]*script
	patterns []pattern // sorted by key, so that the choice is always the same
	problems []error
}

type pattern struct {
	key    string
	match  glob.Glob
	script *script
}

// override is what argocd-cm says of one kind.
type override struct {
	Health   string `json:"health.lua"`
	OpenLibs bool   `json:"health.lua.useOpenLibs"`
}

// parseOverrides reads argocd-cm. What can't be read there is a problem and left
// out: one broken entry must not take the health of everything away.
func parseOverrides(data map[string]string) overrides {
	found := map[string]override{}
	var problems []error
	if text := data[customizationsKey]; text != "" {
		if err := yaml.Unmarshal([]byte(text), &found); err != nil {
			problems = append(problems, fmt.Errorf("argocd-cm: %s: %w", customizationsKey, err))
		}
	}
	if found == nil { // "null" is nothing
		found = map[string]override{}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		v, parts := data[k], strings.SplitN(k, ".", 4)
		if len(parts) < 4 || parts[0]+"."+parts[1] != customizationsKey {
			continue
		}
		name, ok := overrideKey(parts[3])
		if !ok {
			problems = append(problems, fmt.Errorf("argocd-cm: %s: the key must end with <group>_<Kind> or <Kind>", k))
			continue
		}
		o := found[name]
		switch parts[2] {
		case "health":
			o.Health = v
		case "useOpenLibs":
			open, err := strconv.ParseBool(v)
			if err != nil {
				problems = append(problems, fmt.Errorf("argocd-cm: %s: must be true or false", k))
			}
			o.OpenLibs = open
		}
		found[name] = o
	}
	return compileOverrides(found, problems)
}

func compileOverrides(found map[string]override, problems []error) overrides {
	out := overrides{exact: make(map[string]*script, len(found)), problems: problems}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		o := found[name]
		if o.Health == "" {
			continue
		}
		s := newScript(o.Health, o.OpenLibs)
		out.exact[name] = s
		if !strings.ContainsAny(name, `*?[{\`) {
			continue
		}
		g, err := glob.Compile(name)
		if err != nil {
			out.problems = append(out.problems, fmt.Errorf("argocd-cm: %s: the wildcard can't be read: %w", name, err))
			continue
		}
		out.patterns = append(out.patterns, pattern{name, g, s})
	}
	return out
}

// overrideKey turns the last part of a key, "<group>_<Kind>" or "<Kind>", into
// "group/Kind" or "Kind".
func overrideKey(groupKind string) (string, bool) {
	parts := strings.Split(groupKind, "_")
	switch {
	case groupKind == "all":
		return "*/*", true
	case len(parts) == 2:
		return parts[0] + "/" + parts[1], true
	case len(parts) == 1 && groupKind != "":
		return groupKind, true
	}
	return "", false
}

// find gives the user's check for a kind, or nil.
func (o overrides) find(group, kind string) *script {
	if len(o.exact) == 0 {
		return nil
	}
	k := key(group, kind)
	if s := o.exact[k]; s != nil {
		return s
	}
	for _, p := range o.patterns {
		if p.match.Match(k) {
			return p.script
		}
	}
	return nil
}
