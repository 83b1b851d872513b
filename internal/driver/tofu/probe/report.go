package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/provider"
)

// Verdict is what is known of an instance.
type Verdict int

// The verdicts. The zero value is the one that promises nothing.
const (
	Unknown Verdict = iota
	Same
	Differs
	Gone
)

func (v Verdict) String() string {
	return [...]string{"unknown", "same", "differs", "gone"}[v]
}

// Cause says why something is unknown.
type Cause int

// The causes.
const (
	NoCause Cause = iota
	// Configuration: the provider's configuration cannot be evaluated.
	Configuration
	// NotInstalled: there is no binary of the provider.
	NotInstalled
	// Refused: the provider did not start, or refused its configuration.
	Refused
	// Crashed: the provider ended while it was asked.
	Crashed
	// TooLate: there was no answer in time.
	TooLate
	// Failed: the provider answered with an error.
	Failed
	// Unreadable: the state of the instance cannot be compared (it is tainted,
	// deposed, or newer than the provider).
	Unreadable
	// Throttled: more was asked than is answered, so that nothing is asked for a
	// while.
	Throttled
	// Cancelled: the caller did not wait.
	Cancelled
)

func (c Cause) String() string {
	return [...]string{"", "configuration", "not installed", "refused", "crashed", "too late", "failed", "unreadable", "throttled", "cancelled"}[c]
}

// Result is what is known of one object.
type Result struct {
	Address string
	// Deposed is the key of an object that was replaced and not yet destroyed.
	Deposed string
	Verdict Verdict
	// Cause and Reason say why it is unknown, without configured secrets.
	Cause  Cause
	Reason string
	// Differences are where it differs.
	Differences []Difference

	fingerprint string
}

// Report is what is known of all objects of a state, in its order.
type Report struct {
	Results []Result
	// Unseen are instances of data sources, whose answers may have changed.
	Unseen []string
}

// Count tells how many results have a verdict.
func (r Report) Count(v Verdict) int {
	n := 0
	for _, result := range r.Results {
		if result.Verdict == v {
			n++
		}
	}
	return n
}

// Same tells whether everything is.
func (r Report) Same() bool { return r.Count(Same) == len(r.Results) }

// Sensitive marks the parts of values that must not be shown.
const Sensitive = mark("sensitive")

type mark string

// Difference is a value that is not what the state says.
type Difference struct {
	// Path is where it is; it is empty for the identity of an object.
	Path cty.Path
	// Before and After are null where there was or is none. What must not be
	// shown bears the mark Sensitive.
	Before, After cty.Value
}

// Sensitive tells whether a part of it must not be shown.
func (d Difference) Sensitive() bool {
	return d.Before.ContainsMarked() || d.After.ContainsMarked()
}

// Name is the path as it is written in a module.
func (d Difference) Name() string {
	if len(d.Path) == 0 {
		return "(identity)"
	}
	var b strings.Builder
	for i, step := range d.Path {
		switch step := step.(type) {
		case cty.GetAttrStep:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step.Name)
		case cty.IndexStep:
			b.WriteString("[" + Show(step.Key) + "]")
		}
	}
	return b.String()
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s -> %s", d.Name(), Show(d.Before), Show(d.After))
}

// GoString hides what String hides.
func (d Difference) GoString() string { return d.String() }

const hidden = "(sensitive value)"

// Show writes a value as JSON, without what is sensitive.
func Show(v cty.Value) string {
	shown, err := cty.TransformWithTransformer(v, hider{})
	if err != nil {
		return hidden
	}
	text, err := ctyjson.Marshal(shown, shown.Type())
	if err != nil {
		return hidden
	}
	return string(text)
}

// hider replaces what is marked. Collections with such parts are rebuilt as
// objects and tuples, since texts take the place of other values.
type hider struct{}

func (hider) Enter(_ cty.Path, v cty.Value) (cty.Value, error) {
	if v.IsMarked() {
		return cty.StringVal(hidden), nil
	}
	if v.IsNull() || !v.IsKnown() || !v.ContainsMarked() {
		return v, nil
	}
	switch t := v.Type(); {
	case t.IsMapType():
		return cty.ObjectVal(v.AsValueMap()), nil
	case t.IsListType():
		return cty.TupleVal(v.AsValueSlice()), nil
	}
	return v, nil
}

func (hider) Exit(_ cty.Path, v cty.Value) (cty.Value, error) { return v, nil }

// differences finds where two values of one type differ.
func differences(path cty.Path, before, after cty.Value, found *[]Difference) {
	if before.RawEquals(after) {
		return
	}
	t := before.Type()
	if before.IsNull() || after.IsNull() || !t.Equals(after.Type()) {
		*found = append(*found, Difference{path.Copy(), before, after})
		return
	}
	switch {
	case t.IsObjectType():
		for name := range t.AttributeTypes() {
			differences(append(path, cty.GetAttrStep{Name: name}), before.GetAttr(name), after.GetAttr(name), found)
		}
	case t.IsMapType():
		mapDifferences(path, before, after, found)
	case t.IsListType() || t.IsTupleType():
		for i := range max(before.LengthInt(), after.LengthInt()) {
			index := cty.NumberIntVal(int64(i))
			differences(append(path, cty.IndexStep{Key: index}), element(before, index), element(after, index), found)
		}
	default:
		*found = append(*found, Difference{path.Copy(), before, after})
	}
}

func mapDifferences(path cty.Path, before, after cty.Value, found *[]Difference) {
	keys := before.AsValueMap()
	for key := range after.AsValueMap() {
		if keys == nil {
			keys = map[string]cty.Value{}
		}
		keys[key] = cty.NilVal
	}
	for key := range keys {
		index := cty.StringVal(key)
		differences(append(path, cty.IndexStep{Key: index}), element(before, index), element(after, index), found)
	}
}

func element(v, index cty.Value) cty.Value {
	if v.HasIndex(index).RawEquals(cty.True) {
		return v.Index(index)
	}
	if v.Type().IsTupleType() {
		return cty.NullVal(cty.DynamicPseudoType)
	}
	return cty.NullVal(v.Type().ElementType())
}

// concealer marks what must not be shown.
type concealer struct {
	block     *provider.Block
	sensitive []cty.Path // in the state
	secrets   []string   // known texts, wherever they turn up
}

func (c concealer) hide(d Difference) Difference {
	d.Before, d.After = c.hideIn(d.Path, d.Before), c.hideIn(d.Path, d.After)
	return d
}

func (c concealer) hideIn(path cty.Path, v cty.Value) cty.Value {
	marked, err := cty.Transform(v, func(below cty.Path, v cty.Value) (cty.Value, error) {
		at := append(path.Copy(), below...)
		if c.block.Sensitive(at) || covered(at, c.sensitive) || c.known(v) {
			return v.Mark(Sensitive), nil
		}
		return v, nil
	})
	if err != nil {
		return v.Mark(Sensitive)
	}
	return marked
}

func (c concealer) known(v cty.Value) bool {
	if v.IsMarked() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return false
	}
	text := v.AsString()
	return slices.ContainsFunc(c.secrets, func(s string) bool { return len(s) >= shortest && strings.Contains(text, s) })
}

// covered tells whether a path leads to what one of the others leads to, or
// into it. Elements of a list may have changed places.
func covered(path cty.Path, by []cty.Path) bool {
	return slices.ContainsFunc(by, func(prefix cty.Path) bool {
		if len(prefix) > len(path) {
			return false
		}
		for i, step := range prefix {
			if numbered(step) && numbered(path[i]) {
				continue
			}
			if !path[i : i+1].Equals(prefix[i : i+1]) {
				return false
			}
		}
		return true
	})
}

func numbered(step cty.PathStep) bool {
	index, ok := step.(cty.IndexStep)
	return ok && index.Key.Type() == cty.Number
}

// fingerprint identifies a difference: this instance, this before, this after.
func fingerprint(address, deposed string, values ...cty.Value) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q", address, deposed)
	for _, v := range values {
		if v == cty.NilVal {
			fmt.Fprint(sum, " none")
			continue
		}
		encoded, err := msgpack.Marshal(v, cty.DynamicPseudoType)
		if err != nil {
			return "" // it cannot be remembered
		}
		fmt.Fprintf(sum, " %d ", len(encoded))
		sum.Write(encoded)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
