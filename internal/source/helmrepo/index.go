package helmrepo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"
)

// index is what an HTTP chart repository offers: the parts of its index.yaml
// that are needed to find a chart.
type index struct {
	Entries map[string][]version `json:"entries"`
}

type version struct {
	Version     string   `json:"version"`
	URLs        []string `json:"urls"`
	Digest      string   `json:"digest"`
	Created     string   `json:"created"`
	Description string   `json:"description"`
	Home        string   `json:"home"`
	AppVersion  string   `json:"appVersion"`
	Maintainers []struct {
		Name  string `json:"name"`
		Email string `json:"email"`
	} `json:"maintainers"`

	parsed *semver.Version
}

// parseIndex reads an index.yaml. Versions that are not semver are left out, as
// Helm does.
func parseIndex(raw []byte) (*index, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, fmt.Errorf("index.yaml is empty")
	}
	out := &index{}
	var err error
	if raw[0] == '{' {
		err = json.Unmarshal(raw, out)
	} else {
		err = yaml.Unmarshal(raw, out)
	}
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		return nil, fmt.Errorf("index.yaml is not valid: %s", clip(text))
	}
	if out.Entries == nil {
		return nil, fmt.Errorf("index.yaml has no entries: is this a chart repository?")
	}
	for name, versions := range out.Entries {
		kept := versions[:0]
		for _, v := range versions {
			parsed, err := semver.NewVersion(v.Version)
			if err != nil || len(v.URLs) == 0 {
				continue
			}
			v.parsed = parsed
			kept = append(kept, v)
		}
		slices.SortStableFunc(kept, func(a, b version) int { return b.parsed.Compare(a.parsed) })
		out.Entries[name] = kept
	}
	return out, nil
}

// find gives the version of a chart that is wanted: that very one, else the
// highest in the range; the latest stable one where none is named.
func (i *index) find(chart, wanted string) (version, error) {
	versions, ok := i.Entries[chart]
	if !ok {
		return version{}, fmt.Errorf("there is no chart %q in the repository%s", clip(chart), hint(near(chart, i.names())))
	}
	for _, v := range versions {
		if v.Version == wanted {
			return v, nil
		}
	}
	if wanted == "" {
		wanted = "*"
	}
	constraint, err := semver.NewConstraint(wanted)
	if err != nil {
		return version{}, fmt.Errorf("chart %s: %q is neither a version nor a range of versions", clip(chart), clip(wanted))
	}
	for _, v := range versions {
		if constraint.Check(v.parsed) {
			return v, nil
		}
	}
	return version{}, fmt.Errorf("chart %s has no version %q%s", clip(chart), clip(wanted), newest(versions))
}

func (i *index) names() []string {
	var names []string
	for name := range i.Entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func newest(versions []version) string {
	var some []string
	for _, v := range versions[:min(3, len(versions))] {
		some = append(some, v.Version)
	}
	if len(some) == 0 {
		return ""
	}
	return ": the newest are " + strings.Join(some, ", ")
}

// near lists up to three names that one may have meant.
func near(wanted string, names []string) []string {
	var out []string
	for _, name := range names {
		if len(out) < 3 && wanted != "" && (strings.Contains(name, wanted) || strings.Contains(wanted, name)) {
			out = append(out, name)
		}
	}
	return out
}

func hint(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(names, ", ") + "?"
}

// chartURL makes the URL of an archive absolute, and tells whether the
// repository's credentials may be sent there: to its own host only.
func chartURL(repo, ref string) (absolute string, own bool, err error) {
	base, err := url.Parse(strings.TrimSuffix(repo, "/") + "/")
	if err != nil {
		return "", false, fmt.Errorf("the repository's URL is not valid")
	}
	target, err := url.Parse(ref)
	if err != nil {
		return "", false, fmt.Errorf("the chart's URL in index.yaml is not valid")
	}
	full := base.ResolveReference(target)
	if full.RawQuery == "" {
		full.RawQuery = base.RawQuery
	}
	if full.Scheme != "https" && full.Scheme != "http" {
		return "", false, fmt.Errorf("the chart's URL in index.yaml begins with %q: only https and http are allowed", clip(full.Scheme))
	}
	if base.Scheme == "https" && full.Scheme == "http" {
		return full.String(), false, nil
	}
	return full.String(), full.Host == base.Host, nil
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
