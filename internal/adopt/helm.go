package adopt

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
)

// valuesFile is a file that a chart takes values from.
type valuesFile struct {
	source int
	name   string
	// chart is true for the chart's own defaults.
	chart bool
}

// maxProbes bounds the renderings that are made to find one value.
const maxProbes = 60

// valuesFiles gives the files that a release takes values from; the last counts
// most. The chart's own file comes first.
func (s *session) valuesFiles(i int) []valuesFile {
	dir := dirOf(s.specs[i])
	out := []valuesFile{{i, render.Clean(dir + "/values.yaml"), true}}
	if s.specs[i].Helm == nil {
		return out
	}
	for _, name := range s.specs[i].Helm.ValueFiles {
		in, at, err := i, "", error(nil)
		switch {
		case strings.Contains(name, "://"):
			continue
		case strings.HasPrefix(name, "$"):
			ref, rest, _ := strings.Cut(name[1:], "/")
			in = slices.IndexFunc(s.specs, func(o v1alpha1.ApplicationSource) bool { return o.Ref == ref })
			at, err = render.Resolve(".", rest)
		default:
			at, err = render.Resolve(dir, name)
		}
		if in < 0 || err != nil {
			continue
		}
		found := []string{at}
		if strings.ContainsAny(at, "*?[") {
			if found, err = doublestar.Glob(s.Sources[in].Tree, at, doublestar.WithFilesOnly()); err != nil {
				continue
			}
		}
		for _, f := range found {
			if !slices.Contains(out, valuesFile{in, f, false}) {
				out = append(out, valuesFile{in, f, false})
			}
		}
	}
	return out
}

// probe is one value that may be the one that a field is made from.
type probe struct {
	file   valuesFile
	path   Path
	value  any
	remove bool
	rank   int
}

// helm finds the value that a field is made from: one which, changed, changes
// the field to what is live.
func (s *session) helm(_ context.Context, i int, _ Drift, f Field, object map[string]any, reason *string) []candidate {
	files := s.valuesFiles(i)
	var probes []probe
	set := map[string]bool{} // what a file that counts more sets already
	for n, file := range slices.Backward(files) {
		data, err := s.content(file.source, file.name)
		if err != nil || data == nil {
			continue
		}
		values, err := editable(data)
		if err != nil {
			*reason = file.name + ": " + err.Error()
			continue
		}
		if len(values) == 0 {
			continue
		}
		for _, l := range leaves(values[0], nil, nil) {
			id := l.path.Pointer()
			if set[id] && isScalar(l.value) {
				continue
			}
			set[id] = true
			for _, p := range probesOf(f, object, l) {
				p.file, p.rank = file, p.rank*100+len(files)-n
				probes = append(probes, p)
			}
		}
	}
	slices.SortStableFunc(probes, func(a, b probe) int { return cmp.Compare(a.rank, b.rank) })
	var out []candidate
	for _, p := range probes[:min(len(probes), maxProbes)] {
		if c, ok := s.probed(i, files, p); ok {
			out = append(out, c)
		}
	}
	if len(out) == 0 && *reason == "" {
		*reason = "no value of the chart has what is declared there: a template makes it"
	}
	return out
}

// probesOf are the ways in which a value could make a field what is live.
func probesOf(f Field, object map[string]any, l leaf) []probe {
	last := f.Path[len(f.Path)-1]
	named := 1
	if len(l.path) > 0 && alike(l.path[len(l.path)-1].Key, last.Key) {
		named = 0
	}
	current, there := get(object, f.Path)
	var out []probe
	switch {
	case there && f.HasLive && equal(l.value, current):
		out = append(out, probe{path: l.path, value: f.Live, rank: named})
	case there && f.HasLive && isScalar(l.value) && isScalar(current):
		if v, ok := within(l.value, current, f.Live); ok {
			out = append(out, probe{path: l.path, value: v, rank: 2 + named})
		}
	case there && !f.HasLive && equal(l.value, current) && named == 0:
		out = append(out, probe{path: l.path, remove: true, rank: 1})
	}
	// A map or list that is passed through as a whole.
	parent, hasParent := get(object, f.Path[:len(f.Path)-1])
	if there || !f.HasLive || isScalar(l.value) {
		return out
	}
	outer := ""
	if len(f.Path) > 1 {
		outer = f.Path[len(f.Path)-2].Key
	}
	inner := l.path[len(l.path)-1].Key
	same := hasParent && equal(l.value, parent)
	if (same || alike(inner, outer)) && fitsInto(l.value, last) {
		rank := 3
		if same {
			rank = 2
		}
		out = append(out, probe{path: l.path.with(last), value: f.Live, rank: rank})
	}
	if empty(l.value) && alike(inner, last.Key) { // resources: {}
		out = append(out, probe{path: l.path, value: f.Live, rank: 1})
	}
	return out
}

func fitsInto(v any, s Step) bool {
	if s.isKey() {
		_, ok := v.(map[string]any)
		return ok
	}
	_, ok := v.([]any)
	return ok
}

// alike tells whether one name says the other: podAnnotations, annotations.
func alike(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a != "" && b != "" && (a == b || strings.HasSuffix(a, b) || strings.HasSuffix(b, a))
}

// within gives the value that a part of a text has to be for the whole to be
// what is live: the tag in an image.
func within(part, whole, live any) (any, bool) {
	p, w, l := plainValue(part), plainValue(whole), plainValue(live)
	if p == "" || p == w || part == nil {
		return nil, false
	}
	for from := 0; ; {
		i := strings.Index(w[from:], p)
		if i < 0 {
			return nil, false
		}
		before, after := w[:from+i], w[from+i+len(p):]
		if strings.HasPrefix(l, before) && strings.HasSuffix(l, after) && len(l) > len(before)+len(after) {
			middle := l[len(before) : len(l)-len(after)]
			if _, isText := part.(string); !isText {
				return numberOf(middle), numeric.MatchString(middle)
			}
			return middle, true
		}
		from += i + 1
	}
}

// probed makes an edit of a probe: in its own file, or for a default of the
// chart in the last file of values that can be committed.
func (s *session) probed(i int, files []valuesFile, p probe) (candidate, bool) {
	target, readOnly := p.file, ""
	if p.file.chart && (len(files) > 1 || s.Sources[i].ReadOnly != "" || s.specs[i].Chart != "") {
		j := len(files) - 1
		for ; j > 0 && s.Sources[files[j].source].ReadOnly != ""; j-- {
		}
		if j > 0 {
			target = files[j]
		} else {
			readOnly = "the value " + p.path.String() + " is a default of the chart, and no file of values is in the repository: put it into the Application (spec.source.helm.valuesObject)"
		}
	} else if why := s.Sources[p.file.source].ReadOnly; why != "" {
		readOnly = why
	}
	data, err := s.content(target.source, target.name)
	if err != nil || data == nil {
		if target == p.file || err == nil && data == nil {
			return candidate{}, false
		}
		return candidate{}, false
	}
	var edited []byte
	if values, parseErr := editable(data); parseErr != nil {
		return candidate{}, false
	} else if len(values) == 0 { // only comments
		edited = append(slices.Clone(data), manifest(with(nil, p.path, p.value, p.remove).(map[string]any))...)
	} else if edited, err = EditYAML(data, 0, p.path, p.value, p.remove); err != nil {
		return candidate{}, false
	}
	c := candidate{source: target.source, files: map[string][]byte{target.name: edited}, file: target.name, readOnly: readOnly}
	if readOnly != "" && !p.remove {
		c.patch = fmt.Sprintf("# %s\n%s", path.Base(target.name), manifest(with(nil, p.path, p.value, false).(map[string]any)))
	}
	return c, true
}
