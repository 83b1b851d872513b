package helm

import (
	"regexp"
	"slices"
	"sort"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	"github.com/plumb-dev/plumb/internal/render"
)

const (
	hookAnnotation = "helm.sh/hook"
	notesFile      = "NOTES.txt"
)

// knownHooks are the events that Helm knows. It leaves out an object with any
// other.
var knownHooks = []string{
	"pre-install", "post-install", "pre-delete", "post-delete", "pre-upgrade", "post-upgrade",
	"pre-rollback", "post-rollback", "test", "test-success",
}

// glued is a document marker with content right behind it, which YAML does not
// know but Helm has always accepted.
var glued = regexp.MustCompile(`(?m)^---([^\s-])`)

// document is one rendered document.
type document struct {
	file  string
	line  int
	kind  string
	value any
}

// collect adds what was rendered to the bundle, in Helm's order.
func (r *rendering) collect(ch *chart.Chart, rendered map[string]string) error {
	if !r.opts.SkipCrds {
		if err := r.crds(ch); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(rendered))
	for name := range rendered {
		if !strings.HasSuffix(name, notesFile) && strings.TrimSpace(rendered[name]) != "" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var manifests, hooks []document
	for _, name := range names {
		docs, err := r.parse(r.place(name), glued.ReplaceAllString(rendered[name], "---\n$1"))
		if err != nil {
			return err
		}
		for _, d := range docs {
			events, isHook := hookEvents(d.value)
			switch {
			case !isHook:
				manifests = append(manifests, d)
			case unknown(events), r.opts.SkipTests && isTest(events):
			default:
				hooks = append(hooks, d)
			}
		}
	}
	for _, list := range [][]document{inOrder(manifests), inOrder(hooks)} {
		for _, d := range list {
			if err := r.out.Add(d.value, d.file, d.line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rendering) crds(ch *chart.Chart) error {
	crds := ch.CRDObjects()
	slices.SortFunc(crds, func(a, b chart.CRD) int { return strings.Compare(a.Filename, b.Filename) })
	for _, crd := range crds {
		docs, err := r.parse(r.place(crd.Filename), string(crd.File.Data))
		if err != nil {
			return err
		}
		for _, d := range docs {
			if err := r.out.Add(d.value, d.file, d.line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rendering) parse(file, text string) ([]document, error) {
	// What templates give is bounded in all, but one of them may give it all.
	limits := r.limits
	limits.FileBytes = limits.TotalBytes
	docs, err := render.ParseYAML(file, []byte(text), render.Parsing{LastKeyWins: true, Limits: limits, Warn: r.out.Warn})
	if err != nil {
		return nil, inOutput(err)
	}
	out := make([]document, 0, len(docs))
	for _, d := range docs {
		m, _ := d.Value.(map[string]any)
		kind, _ := m["kind"].(string)
		out = append(out, document{file: file, line: d.Line, kind: kind, value: d.Value})
	}
	return out, nil
}

func hookEvents(value any) ([]string, bool) {
	m, _ := value.(map[string]any)
	meta, _ := m["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	text, ok := annotations[hookAnnotation].(string)
	if !ok {
		return nil, false
	}
	var events []string
	for e := range strings.SplitSeq(text, ",") {
		events = append(events, strings.ToLower(strings.TrimSpace(e)))
	}
	return events, true
}

func unknown(events []string) bool {
	return slices.ContainsFunc(events, func(e string) bool { return !slices.Contains(knownHooks, e) })
}

func isTest(events []string) bool {
	return slices.Contains(events, "test") || slices.Contains(events, "test-success")
}

// inOrder sorts by kind as Helm installs: unknown kinds last, by name.
func inOrder(docs []document) []document {
	rank := make(map[string]int, len(releaseutil.InstallOrder))
	for i, kind := range releaseutil.InstallOrder {
		rank[kind] = i + 1
	}
	slices.SortStableFunc(docs, func(a, b document) int {
		ra, rb := rank[a.kind], rank[b.kind]
		switch {
		case ra == 0 && rb == 0:
			return strings.Compare(a.kind, b.kind)
		case ra == 0:
			return 1
		case rb == 0:
			return -1
		}
		return ra - rb
	})
	return docs
}
