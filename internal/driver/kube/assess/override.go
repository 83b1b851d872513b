package assess

import (
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

// parseOverrides reads argocd-cm. What can't be read there is left out: one
// broken entry must not take the health of everything away.
func parseOverrides(data map[string]string) overrides {
	found := map[string]override{}
	if text := data[customizationsKey]; text != "" {
		_ = yaml.Unmarshal([]byte(text), &found)
	}
	for k, v := range data {
		parts := strings.SplitN(k, ".", 4)
		if len(parts) < 4 || parts[0]+"."+parts[1] != customizationsKey {
			continue
		}
		name, ok := overrideKey(parts[3])
		if !ok {
			continue
		}
		o := found[name]
		switch parts[2] {
		case "health":
			o.Health = v
		case "useOpenLibs":
			o.OpenLibs, _ = strconv.ParseBool(v)
		}
		found[name] = o
	}
	return compileOverrides(found)
}

func compileOverrides(found map[string]override) overrides {
	out := overrides{exact: make(map[string]*script, len(found))}
	for name, o := range found {
		if o.Health == "" {
			continue
		}
		s := newScript(o.Health, o.OpenLibs)
		out.exact[name] = s
		if !strings.ContainsAny(name, `*?[{\`) {
			continue
		}
		if g, err := glob.Compile(name); err == nil {
			out.patterns = append(out.patterns, pattern{name, g, s})
		}
	}
	slices.SortFunc(out.patterns, func(a, b pattern) int { return strings.Compare(a.key, b.key) })
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
