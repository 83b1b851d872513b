package kube

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// declared is one desired object, as far as it had to be read. It is made once
// for each bundle and never changes.
type declared struct {
	json []byte
	ref  plan.Ref
	// kind tells where the object is served; known is false where it is not,
	// coming where a definition in the same bundle will make it so.
	kind          mapping
	known, coming bool
	// desired is the mark of what is declared and of how it is sent.
	desired string
	wave    int
	hook    *driver.Hook
	options syncOptions
	ruling  *ruling
	// ensure is set for a namespace that is only to exist (CreateNamespace).
	ensure  bool
	invalid *driver.Problem
	// index of the object in the bundle that it was read from, from 1.
	index int
}

func (d *declared) address() plan.Address { return d.ref.Address() }

func (d *declared) secret() bool { return isSecret(d.ref.Group, d.ref.Kind) }

// head is the part of an object that ordering and tracking depend on.
type head struct {
	Metadata struct {
		Name         string            `json:"name"`
		GenerateName string            `json:"generateName"`
		Namespace    string            `json:"namespace"`
		Annotations  map[string]string `json:"annotations"`
	} `json:"metadata"`
}

// bundle is what is desired by one Application, read.
type bundle struct {
	// key identifies everything that the reading depended on.
	key        string
	generation int64
	kinds      *kinds // that it was read for
	app        syncOptions
	rules      *ruleSet
	objects    []*declared
	byAddress  map[plan.Address]*declared
	// namespaces that the bundle itself makes.
	namespaces map[string]bool
	unknown    bool
}

// bundleKey identifies what a reading of a bundle depends on.
func bundleKey(h hasher, d *driver.Desired) string {
	b, err := json.Marshal(struct {
		T, O, I, D, N, X any
	}{d.Target, d.SyncOptions, d.IgnoreDifferences, d.Drift, d.NamespaceMetadata, d.Deleting})
	if err != nil {
		return ""
	}
	return h.of(d.Bundle.Hash, strconv.Itoa(len(d.Bundle.Objects)), string(b))
}

// readBundle reads a bundle for a destination whose kinds are given.
func readBundle(h hasher, d *driver.Desired, kinds *kinds, key string) (*bundle, error) {
	rules, err := compileRules(h, d.IgnoreDifferences, d.Drift)
	if err != nil {
		return nil, err
	}
	b := &bundle{
		key: key, generation: kinds.generation, kinds: kinds, rules: rules, app: syncOptions{}.with(d.SyncOptions),
		byAddress: make(map[plan.Address]*declared, len(d.Bundle.Objects)), namespaces: map[string]bool{},
	}
	coming := definitions(d.Bundle.Objects)
	for i := range d.Bundle.Objects {
		b.add(h, i+1, d, kinds, coming)
	}
	if b.app.createNamespace && d.Target.Namespace != "" && !d.Deleting && !b.namespaces[d.Target.Namespace] {
		b.ensureNamespace(h, d, kinds)
	}
	return b, nil
}

func (b *bundle) add(h hasher, index int, d *driver.Desired, kinds *kinds, coming map[schema.GroupKind]mapping) {
	o := &d.Bundle.Objects[index-1]
	it := &declared{json: o.JSON, ref: o.Ref, index: index}
	var hd head
	if err := json.Unmarshal(o.JSON, &hd); err != nil {
		it.invalid = &driver.Problem{Reason: ReasonInvalid, Message: "the object cannot be read: its metadata is malformed"}
	}
	hook, skip := parseHook(hd.Metadata.Annotations)
	if skip || d.Deleting && !runsAt(hook, true) || !d.Deleting && hook != nil && !runsAt(hook, false) {
		return
	}
	it.hook, it.wave = hook, waveOf(hd.Metadata.Annotations)
	it.options = b.app.of(hd.Metadata.Annotations)
	gvk := schema.GroupVersionKind{Group: o.Ref.Group, Version: o.Ref.Version, Kind: o.Ref.Kind}
	it.kind, it.known = kinds.find(gvk)
	if !it.known {
		it.kind, it.coming = coming[gvk.GroupKind()]
		it.kind.gvr.Version = gvk.Version
		b.unknown = true
	}
	b.name(h, it, o, &hd, d.Target.Namespace)
	if it.ref.Kind == "Namespace" && it.ref.Group == "" {
		b.namespaces[it.ref.Name] = true
	}
	it.ruling = b.rules.of(it.ref)
	it.desired = h.of(o.Hash, it.ref.Version, it.kind.gvr.Resource, strconv.FormatBool(it.options.respectIgnore))
	if old := b.byAddress[it.address()]; old != nil { // the last one counts, as it does for Argo CD
		*old = *it
		return
	}
	b.objects = append(b.objects, it)
	b.byAddress[it.address()] = it
}

// name gives an object the namespace that it goes to and a name if it has none.
func (b *bundle) name(h hasher, it *declared, o *render.Object, hd *head, namespace string) {
	if hd.Metadata.Namespace != "" {
		it.ref.Namespace = hd.Metadata.Namespace
	}
	switch {
	case it.known || it.coming:
		if !it.kind.namespaced {
			it.ref.Namespace = ""
		} else if it.ref.Namespace == "" {
			it.ref.Namespace = namespace
		}
	case it.ref.Namespace == "":
		it.ref.Namespace = namespace
	}
	if it.ref.Name = hd.Metadata.Name; it.ref.Name == "" {
		it.ref.Name = hd.Metadata.GenerateName + generatedSuffix(h, o.Hash)
	}
	for _, segment := range []string{it.ref.Name, it.ref.Namespace} {
		if faults := rest.IsValidPathSegmentName(segment); len(faults) > 0 {
			it.invalid = &driver.Problem{Reason: ReasonInvalid, Message: fmt.Sprintf("the name %q cannot be used: it %s", segment, faults[0])}
		}
	}
	if hd.Metadata.Name != "" {
		return
	}
	if it.hook == nil || hd.Metadata.GenerateName == "" {
		it.invalid = &driver.Problem{Reason: ReasonInvalid, Message: "metadata.name is missing: give the object a name (generateName is for hooks only)"}
	}
}

// located says where in its repository the object is declared that a problem is
// about. The place is looked up anew each time: a bundle that was read stays in
// use when its objects move to other files.
func located(p *driver.Problem, it *declared, d *driver.Desired) *driver.Problem {
	p = discreet(p, d)
	if p == nil || p.Reason == ReasonUnreachable || it == nil || it.index < 1 || it.index > len(d.Bundle.Objects) {
		return p
	}
	at := where(&d.Bundle.Objects[it.index-1])
	if at == "" {
		return p
	}
	there := *p
	there.Message = at + p.Message
	return &there
}

// discreet masks what was decrypted or looked up, in whatever object it is: the
// API server quotes what it refuses.
func discreet(p *driver.Problem, d *driver.Desired) *driver.Problem {
	if p == nil {
		return nil
	}
	clean := d.Bundle.Secrets.Mask(p.Message)
	if clean == p.Message {
		return p
	}
	hidden := *p
	hidden.Message = clean
	return &hidden
}

func where(o *render.Object) string {
	if o.File == "" {
		return ""
	}
	if o.Line > 0 {
		return fmt.Sprintf("%s:%d: ", o.File, o.Line)
	}
	return o.File + ": "
}

// generatedSuffix makes the names of hooks with generateName: the same hook has
// the same name, so that one that was made before is found.
func generatedSuffix(_ hasher, hash string) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	sum := []byte(hasher{}.of(hash))
	out := make([]byte, 8)
	for i := range out {
		out[i] = letters[int(sum[i])%len(letters)]
	}
	return string(out)
}

func runsAt(hook *driver.Hook, deleting bool) bool {
	if hook == nil {
		return false
	}
	for _, p := range hook.Phases {
		if (p == plan.PreDelete || p == plan.PostDelete) == deleting {
			return true
		}
	}
	return false
}

// definitions reads what the CustomResourceDefinitions of a bundle will serve.
func definitions(objects []render.Object) map[schema.GroupKind]mapping {
	out := map[schema.GroupKind]mapping{}
	for i := range objects {
		if objects[i].Ref.Kind != "CustomResourceDefinition" || objects[i].Ref.Group != "apiextensions.k8s.io" {
			continue
		}
		var crd struct {
			Spec struct {
				Group, Scope string
				Names        struct{ Kind, Plural string }
			}
		}
		if json.Unmarshal(objects[i].JSON, &crd) == nil && plainName(crd.Spec.Names.Plural) && plainName(crd.Spec.Group) {
			out[schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}] = mapping{
				gvr:        schema.GroupVersionResource{Group: crd.Spec.Group, Resource: crd.Spec.Names.Plural},
				namespaced: crd.Spec.Scope == "Namespaced",
			}
		}
	}
	return out
}

func plainName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && !strings.Contains(s, "..")
}

// ensureNamespace adds the Application's namespace, which is to exist but is
// not held: it carries no mark, and is never deleted.
func (b *bundle) ensureNamespace(h hasher, d *driver.Desired, kinds *kinds) {
	metadata := map[string]any{"name": d.Target.Namespace}
	if m := d.NamespaceMetadata; m != nil {
		if len(m.Labels) > 0 {
			metadata["labels"] = m.Labels
		}
		if len(m.Annotations) > 0 {
			metadata["annotations"] = m.Annotations
		}
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
	if err != nil {
		return
	}
	it := &declared{json: body, ref: plan.Ref{Version: "v1", Kind: "Namespace", Name: d.Target.Namespace}, ensure: true}
	it.kind, it.known = kinds.find(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	it.desired = ensured + h.of(string(body))
	b.objects = append(b.objects, it)
	b.byAddress[it.address()] = it
	b.namespaces[d.Target.Namespace] = true
}

// ensured begins the mark of a namespace that is not held, only made.
const ensured = "ensure:"
