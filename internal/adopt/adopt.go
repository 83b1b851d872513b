// Package adopt writes what is live back into the files that declare it: it
// edits YAML, kustomizations, values of charts and OpenTofu modules in place, and
// touches nothing but the bytes of the fields that have drifted. Each edit is a
// proposal until a rendering with it gives what is live there and nothing else
// than before elsewhere; what can't be mapped is refused, with a patch to be put
// in by hand. It pushes nothing, and knows neither destinations nor Git: whoever
// uses it hands it trees, a way to render them, and what has drifted.
package adopt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// Edits are contents of files by source and path; nil is no file any more.
type Edits map[int]map[string][]byte

// Renderer gives what an Application's sources mean with some files changed.
type Renderer func(ctx context.Context, edits Edits) (render.Bundle, error)

// Source is one of an Application's sources, at the revision that is compared.
type Source struct {
	Spec v1alpha1.ApplicationSource
	Tree source.Tree
	// ReadOnly is why nothing can be committed there; empty where it can.
	ReadOnly string
}

// Drift is one resource that is live otherwise than it is declared.
type Drift struct {
	Ref plan.Ref
	// Declared is what the destination would store after a sync, Live what it
	// stores now. Both are masked.
	Declared, Live map[string]any
	// Deleted is true where it was deleted at the destination.
	Deleted bool
}

// DriftOf gives what a change would take back. It is none where the change makes
// or deletes a resource.
func DriftOf(c plan.Change) (Drift, bool) {
	switch c := c.(type) {
	case plan.Update:
		return Drift{Ref: c.Resource, Declared: c.After.Object, Live: c.Before.Object}, true
	case plan.Replace:
		return Drift{Ref: c.Resource, Declared: c.After.Object, Live: c.Before.Object}, true
	}
	return Drift{}, false
}

// Request is what is to be adopted.
type Request struct {
	// Application's name.
	Application string
	Sources     []Source
	// Bundle is what the sources mean as they are.
	Bundle render.Bundle
	Render Renderer
	Drift  []Drift
	// Resources are all of the destination: the instances of a module's resources.
	Resources []plan.Ref
	// Select limits it to some fields. Nil is all.
	Select func(ref plan.Ref, field Path) bool
	// Deletions takes resources out of Git that were deleted at the destination.
	Deletions bool
}

// File is one file that is to change. Nil is no file.
type File struct {
	Source        int
	Path          string
	Before, After []byte
}

// Item is one field that is adopted.
type Item struct {
	Ref   plan.Ref
	Field string
	// Declared and Live are the values as they may be shown; nil is none.
	Declared, Live any
	// File that it is written to.
	File string
}

// Refusal is one field that is not adopted.
type Refusal struct {
	Ref    plan.Ref
	Field  string
	Reason string
	// Patch can be put in by hand, where that is possible.
	Patch string
}

// Proposal is what would have to be committed for Git to say what is live.
type Proposal struct {
	Files   []File
	Adopted []Item
	Refused []Refusal
}

// maxFields bounds how much is adopted at once: each field costs renderings.
const maxFields = 300

// Propose finds the edits that make the sources mean what is live.
func Propose(ctx context.Context, r Request) (Proposal, error) {
	s := &session{Request: r, edits: Edits{}, bundle: r.Bundle}
	if err := s.read(); err != nil {
		return Proposal{}, err
	}
	drift := slices.SortedFunc(slices.Values(r.Drift), func(a, b Drift) int { return cmp.Compare(a.Ref.Address(), b.Ref.Address()) })
	fields := 0
	for _, d := range drift {
		if d.Deleted {
			s.deleted(ctx, d)
			continue
		}
		for _, f := range Differences(d.Declared, d.Live) {
			if r.Select != nil && !r.Select(d.Ref, f.Path) {
				continue
			}
			if fields++; fields > maxFields {
				s.refuse(d, f, fmt.Sprintf("more than %d fields have drifted: adopt it in parts", maxFields))
				continue
			}
			s.field(ctx, d, f)
			if err := ctx.Err(); err != nil {
				return Proposal{}, err
			}
		}
	}
	s.out.Files = s.files()
	return s.out, nil
}

// session is one proposal in the making.
type session struct {
	Request
	edits  Edits
	bundle render.Bundle // with the edits
	kinds  []v1alpha1.ApplicationSourceType
	specs  []v1alpha1.ApplicationSource // with what files override
	out    Proposal
}

// read finds out what kind of source each is.
func (s *session) read() error {
	s.kinds = make([]v1alpha1.ApplicationSourceType, len(s.Sources))
	s.specs = make([]v1alpha1.ApplicationSource, len(s.Sources))
	for i, src := range s.Sources {
		s.specs[i] = src.Spec
		if src.Spec.IsRef() && src.Spec.Path == "" && src.Spec.Chart == "" {
			continue // only referred to by others
		}
		dir := dirOf(src.Spec)
		spec, err := render.Override(src.Tree, dir, s.Application, src.Spec, render.Limits{})
		if err != nil {
			return fmt.Errorf("parameter overrides: %w", err)
		}
		kind, err := render.Detect(src.Tree, dir, &spec)
		if err != nil {
			return err
		}
		s.specs[i], s.kinds[i] = spec, kind
	}
	return nil
}

func dirOf(s v1alpha1.ApplicationSource) string { return render.Clean(s.Path) }

// files gives what has changed, in order.
func (s *session) files() []File {
	var out []File
	for _, i := range slices.Sorted(maps.Keys(s.edits)) {
		for _, name := range slices.Sorted(maps.Keys(s.edits[i])) {
			before, _ := s.original(i, name)
			if after := s.edits[i][name]; !bytes.Equal(before, after) || (before == nil) != (after == nil) {
				out = append(out, File{Source: i, Path: name, Before: before, After: after})
			}
		}
	}
	return out
}

// original is a file's content before any edit; nil where there is none.
func (s *session) original(i int, name string) ([]byte, error) {
	if info, err := s.Sources[i].Tree.Stat(name); err != nil || info.IsDir() {
		return nil, err
	}
	return render.ReadFile(s.Sources[i].Tree, name, render.DefaultFileBytes)
}

// content is a file as it is with the edits.
func (s *session) content(i int, name string) ([]byte, error) {
	if data, ok := s.edits[i][name]; ok {
		if data == nil {
			return nil, errGone
		}
		return data, nil
	}
	return s.original(i, name)
}

var errGone = errors.New("there is no such file")

func (s *session) refuse(d Drift, f Field, reason string) {
	s.out.Refused = append(s.out.Refused, Refusal{Ref: d.Ref, Field: f.Path.String(), Reason: reason, Patch: patchOf(d, f)})
}

// candidate is an edit that may be the one.
type candidate struct {
	source int
	files  map[string][]byte
	file   string // for people
	// readOnly is what to do instead, where the edit can't be committed.
	readOnly string
	patch    string
}

// field adopts one field.
func (s *session) field(ctx context.Context, d Drift, f Field) {
	if why := secret(d, f); why != "" {
		s.out.Refused = append(s.out.Refused, Refusal{Ref: d.Ref, Field: f.Path.String(), Reason: why})
		return
	}
	if s.bundle.Module != nil {
		s.module(d, f)
		return
	}
	object, at, err := s.object(s.bundle, d.Ref)
	if err != nil {
		s.refuse(d, f, err.Error())
		return
	}
	if s.satisfied(object, f) { // by an earlier edit
		s.adopted(d, f, s.fileOf(at))
		return
	}
	reason := ""
	for i := range s.Sources {
		for _, c := range s.candidates(ctx, i, d, f, object, at, &reason) {
			b, why := s.verify(ctx, c, d, f)
			if why != "" {
				reason = cmp.Or(reason, why)
				continue
			}
			if c.readOnly != "" {
				s.out.Refused = append(s.out.Refused, Refusal{Ref: d.Ref, Field: f.Path.String(), Reason: c.readOnly, Patch: cmp.Or(c.patch, patchOf(d, f))})
				return
			}
			s.take(c, b)
			s.adopted(d, f, c.file)
			return
		}
	}
	s.refuse(d, f, cmp.Or(reason, "no file of the repository could be found in which this one value alone is declared"))
}

func (s *session) adopted(d Drift, f Field, file string) {
	s.out.Adopted = append(s.out.Adopted, Item{Ref: d.Ref, Field: f.Path.String(), Declared: f.Declared, Live: f.Live, File: file})
}

func (s *session) fileOf(o render.Object) string {
	if len(s.edits) == 1 {
		for _, files := range s.edits {
			if len(files) == 1 {
				for name := range files {
					return name
				}
			}
		}
	}
	return o.File
}

// take makes a candidate a part of the proposal.
func (s *session) take(c candidate, b render.Bundle) {
	s.edits = merged(s.edits, c)
	s.bundle = b
}

func merged(edits Edits, c candidate) Edits {
	out := maps.Clone(edits)
	files := maps.Clone(out[c.source])
	if files == nil {
		files = map[string][]byte{}
	}
	maps.Copy(files, c.files)
	out[c.source] = files
	return out
}

// candidates are the edits of a source that may make a field what is live.
func (s *session) candidates(ctx context.Context, i int, d Drift, f Field, object map[string]any, at render.Object, reason *string) []candidate {
	switch s.kinds[i] {
	case v1alpha1.ApplicationSourceTypeDirectory:
		return s.writable(i, s.plainFiles(i, d, f, at, reason), reason)
	case v1alpha1.ApplicationSourceTypeKustomize:
		return s.writable(i, s.kustomize(i, d, f, object, reason), reason)
	case v1alpha1.ApplicationSourceTypeHelm:
		return s.helm(ctx, i, d, f, object, reason)
	case "":
	default:
		*reason = fmt.Sprintf("sources of type %s are not edited", s.kinds[i])
	}
	return nil
}

func (s *session) writable(i int, all []candidate, reason *string) []candidate {
	if why := s.Sources[i].ReadOnly; why != "" && len(all) > 0 {
		*reason = why
		return nil
	}
	return all
}

// masks are what stands in the place of secrets.
var masks = []string{"++++++++", "(sensitive value)"}

// secret says why a field is never written to Git.
func secret(d Drift, f Field) string {
	if d.Ref.Group == "" && d.Ref.Kind == "Secret" && len(f.Path) > 0 && f.Path[0].Key != "metadata" && f.Path[0].Key != "type" && f.Path[0].Key != "immutable" {
		return "the values of Secrets are never written to Git: change what the Secret is made from (a file encrypted with SOPS, a reference)"
	}
	if masked(f.Live) || masked(f.Declared) {
		return "the value is secret, and is never written to Git: change it where it comes from"
	}
	return ""
}

func masked(v any) bool {
	switch v := v.(type) {
	case string:
		return slices.ContainsFunc(masks, func(m string) bool { return strings.Contains(v, m) })
	case map[string]any:
		for _, e := range v {
			if masked(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, masked)
	}
	return false
}

// deleted takes a resource out of Git.
func (s *session) deleted(ctx context.Context, d Drift) {
	refuse := func(reason string) {
		s.out.Refused = append(s.out.Refused, Refusal{Ref: d.Ref, Reason: reason})
	}
	switch {
	case s.Select != nil && !s.Select(d.Ref, nil):
		return
	case !s.Deletions:
		refuse("it was deleted where it runs: to take it out of Git too, ask for that by --deletions")
		return
	case s.bundle.Module != nil:
		refuse("resources of modules are not taken out of their files: remove the block, and what refers to it, by hand")
		return
	}
	_, at, err := s.object(s.bundle, d.Ref)
	if err != nil {
		refuse(err.Error())
		return
	}
	for i := range s.Sources {
		for _, c := range s.removals(i, d, at) {
			b, err := s.Render(ctx, merged(s.edits, c))
			if err != nil || indexOf(b, d.Ref) >= 0 || len(b.Objects) != len(s.bundle.Objects)-1 || s.removesMore(b) {
				continue
			}
			s.take(c, b)
			s.out.Adopted = append(s.out.Adopted, Item{Ref: d.Ref, Field: "", Declared: "declared", File: c.file})
			return
		}
	}
	refuse("it can't be taken out of the files of the sources alone: remove it by hand")
}

func (s *session) removesMore(b render.Bundle) bool {
	known := map[plan.Ref]string{}
	for _, o := range s.bundle.Objects {
		known[o.Ref] = o.Hash
	}
	return slices.ContainsFunc(b.Objects, func(o render.Object) bool { return known[o.Ref] != o.Hash })
}

func (s *session) removals(i int, d Drift, at render.Object) []candidate {
	if s.Sources[i].ReadOnly != "" {
		return nil
	}
	switch s.kinds[i] { //nolint:exhaustive // others are refused
	case v1alpha1.ApplicationSourceTypeDirectory:
		return s.removeDocument(i, d, at.File)
	case v1alpha1.ApplicationSourceTypeKustomize:
		return s.removeByPatch(i, d)
	}
	return nil
}

// patchOf is a manifest that holds one field only, as live.
func patchOf(d Drift, f Field) string {
	if !f.HasLive || d.Ref.Version == "" {
		return ""
	}
	patch, _ := with(header(d.Ref, d.Ref.Name), f.Path, patchValue(f), false).(map[string]any)
	return string(manifest(patch))
}

// header is what a patch names its object by.
func header(ref plan.Ref, name string) map[string]any {
	version := ref.Version
	if ref.Group != "" {
		version = ref.Group + "/" + version
	}
	return map[string]any{"apiVersion": version, "kind": ref.Kind, "metadata": map[string]any{"name": name}}
}

// patchValue says what a merge has to do for a field: what is gone is nulled, an
// item that is gone is marked.
func patchValue(f Field) any {
	last := f.Path[len(f.Path)-1]
	if f.HasLive || last.isKey() {
		return f.Live
	}
	gone := maps.Clone(last.Match)
	if gone == nil {
		gone = map[string]any{}
	}
	gone["$patch"] = "delete"
	return gone
}

// manifest writes an object as YAML with the fields that people put first.
func manifest(object map[string]any) []byte {
	f := &file{eol: "\n", step: 2}
	return []byte(f.writer(false).block(object, 0) + "\n")
}
