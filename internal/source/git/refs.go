package git

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// refs is what a repository advertised at one moment. It is immutable.
type refs struct {
	ids map[string]string // full name → commit id (tags peeled)
	// annotated are the tags that are objects of their own: full name → their id.
	annotated map[string]string
	head      string // what HEAD points to, where the server says so
	digest    [32]byte
}

// resolution is what a revision means.
type resolution struct{ id, ref string }

var (
	fullID  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	shortID = regexp.MustCompile(`^[0-9a-f]{7,63}$`)
)

// maxRefs bounds what is kept of one repository's references.
const maxRefs = 1_000_000

// parseRefs reads the output of git ls-remote --symref.
func parseRefs(out []byte) (*refs, error) {
	r := &refs{ids: make(map[string]string, bytes.Count(out, []byte{'\n'})), digest: sha256.Sum256(out)}
	peeled := map[string]string{}
	for line := range strings.Lines(string(out)) {
		left, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || name == "" {
			return nil, fmt.Errorf("unexpected line in the list of references: %q", clip(line, 80))
		}
		if target, ok := strings.CutPrefix(left, "ref: "); ok {
			if name == "HEAD" {
				r.head = target
			}
			continue
		}
		if !fullID.MatchString(left) {
			return nil, fmt.Errorf("unexpected object id in the list of references: %q", clip(left, 80))
		}
		if tag, ok := strings.CutSuffix(name, "^{}"); ok {
			peeled[tag] = left
			continue
		}
		if len(r.ids) >= maxRefs {
			return nil, fmt.Errorf("over %d references", maxRefs)
		}
		r.ids[name] = left
	}
	r.annotated = make(map[string]string, len(peeled))
	for tag, id := range peeled {
		r.annotated[tag] = r.ids[tag]
		r.ids[tag] = id
	}
	return r, nil
}

// resolve gives the meaning of a revision that is a name; the commit ids are
// the caller's concern. Like Argo CD, a semver range over the tags goes first,
// then branches before tags.
func (r *refs) resolve(revision, tagPrefix string) (resolution, bool) {
	if revision == "" || revision == "HEAD" {
		return r.resolveHead()
	}
	if tag, ok := r.newestTag(revision, tagPrefix); ok {
		return resolution{r.ids[tag], tag}, true
	}
	for _, name := range []string{"refs/heads/" + revision, "refs/tags/" + revision, revision, "refs/" + revision} {
		if id, ok := r.ids[name]; ok {
			return resolution{id, name}, true
		}
	}
	return resolution{}, false
}

func (r *refs) resolveHead() (resolution, bool) {
	if id, ok := r.ids["HEAD"]; ok {
		ref := r.head
		if ref == "" {
			ref = "HEAD"
		}
		return resolution{id, ref}, true
	}
	if id, ok := r.ids[r.head]; ok {
		return resolution{id, r.head}, true
	}
	return resolution{}, false
}

// newestTag gives the full name of the highest tag in a semver range. An exact
// version is a name, not a range.
func (r *refs) newestTag(revision, prefix string) (string, bool) {
	if version, err := semver.NewVersion(revision); err == nil {
		name := "refs/tags/" + prefix + version.Original()
		_, ok := r.ids[name]
		return name, ok && prefix != ""
	}
	wanted, err := semver.NewConstraint(revision)
	if err != nil {
		return "", false
	}
	var best *semver.Version
	var bestName string
	for name := range r.ids {
		short, ok := strings.CutPrefix(name, "refs/tags/"+prefix)
		if !ok {
			continue
		}
		version, err := semver.NewVersion(short)
		if err != nil || !wanted.Check(version) {
			continue
		}
		if best == nil || version.GreaterThan(best) || version.Equal(best) && name < bestName {
			best, bestName = version, name
		}
	}
	return bestName, best != nil
}

// startingWith gives the one advertised commit that a short id begins.
func (r *refs) startingWith(short string) (string, bool) {
	found := ""
	for _, id := range r.ids {
		if strings.HasPrefix(id, short) && id != found {
			if found != "" {
				return "", false
			}
			found = id
		}
	}
	return found, found != ""
}

// near lists names that a mistyped revision may have meant, likeliest first.
func (r *refs) near(revision string) []string {
	revision = strings.TrimPrefix(strings.TrimPrefix(revision, "refs/heads/"), "refs/tags/")
	type match struct {
		name     string
		distance int
	}
	var found []match
	considered := 0
	for _, name := range slices.Sorted(mapsKeys(r.ids)) {
		short, ok := shortName(name)
		if !ok || len(short) > 200 {
			continue
		}
		if considered++; considered > 5000 {
			break
		}
		d := distance(strings.ToLower(revision), strings.ToLower(short))
		if strings.Contains(short, revision) || strings.Contains(revision, short) {
			d = min(d, 2)
		}
		if d <= max(2, len(revision)/3) {
			found = append(found, match{short, d})
		}
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].distance < found[j].distance })
	var names []string
	for _, m := range found[:min(3, len(found))] {
		names = append(names, m.name)
	}
	return names
}

func shortName(ref string) (string, bool) {
	if short, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return short, true
	}
	return strings.CutPrefix(ref, "refs/tags/")
}

func mapsKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// tagsAt lists the tags on a commit.
func (r *refs) tagsAt(id string) []string {
	var tags []string
	for name, at := range r.ids {
		if tag, ok := strings.CutPrefix(name, "refs/tags/"); ok && at == id {
			tags = append(tags, tag)
		}
	}
	sort.Strings(tags)
	return tags
}

// distance is Levenshtein's, over bytes.
func distance(a, b string) int {
	if len(a) > 200 || len(b) > 200 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
