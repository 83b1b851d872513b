// Package planjson turns the JSON of OpenTofu's plans and states (show -json)
// into Plumb's changes and resources. What is sensitive is masked; what is not
// known yet is marked. It is a function of the JSON: it runs nothing, and does
// not know where plans come from or what becomes of them.
package planjson

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/plumb-dev/plumb/internal/plan"
)

// Options of a conversion.
type Options struct {
	// Salt goes into all hashes, so that they do not tell secrets that can be
	// guessed. It has to be the same where hashes are to be compared.
	Salt []byte
}

// Result is what a plan says.
type Result struct {
	Plan plan.Plan
	// Notes say more of a change than it does itself, by address: why something
	// is deleted, for one.
	Notes map[plan.Address]string
	// Changed are the attributes that an update or replacement gives another known
	// value, by address: JSON pointers, which hold no values.
	Changed map[plan.Address][]string
	// Reads are data sources that are read when the plan is applied.
	Reads []Read
	// Drift is what has changed outside, whether or not the plan undoes it.
	Drift []Drift
	// Outputs that change, sorted by name.
	Outputs []OutputChange
}

// Read is a data source that is read when the plan is applied.
type Read struct {
	Ref    plan.Ref `json:"ref"`
	Reason string   `json:"reason,omitempty"`
}

// Drift is a resource that has changed outside.
type Drift struct {
	Ref plan.Ref `json:"ref"`
	// Recorded is what the state says, Live what is; Live is empty where the
	// resource is Deleted.
	Recorded plan.State `json:"recorded"`
	Live     plan.State `json:"live"`
	Deleted  bool       `json:"deleted,omitempty"`
}

// OutputChange is an output that changes. Sensitive values are masked.
type OutputChange struct {
	Name      string      `json:"name"`
	Action    plan.Action `json:"action"`
	Before    any         `json:"before,omitempty"`
	After     any         `json:"after,omitempty"`
	Sensitive bool        `json:"sensitive,omitempty"`
}

// Convert tells in Plumb's words what a plan says.
func Convert(p *tfjson.Plan, o Options) Result {
	r := Result{Notes: map[plan.Address]string{}, Changed: map[plan.Address][]string{}}
	if p == nil {
		return r
	}
	drifted := r.drift(p.ResourceDrift, o)
	var steps []plan.Step
	for _, rc := range p.ResourceChanges {
		if rc == nil || rc.Change == nil {
			continue
		}
		if rc.Mode == tfjson.DataResourceMode {
			if rc.Change.Actions.Read() {
				r.Reads = append(r.Reads, Read{refOf(rc), readReasons[rc.ActionReason]})
			}
			continue
		}
		change := convert(rc, drifted[rc.Address], o)
		if change == nil {
			continue
		}
		steps = append(steps, plan.Step{Change: change, Phase: plan.Sync})
		if a := change.Action(); a == plan.ActionUpdate || a == plan.ActionReplace {
			r.Changed[change.Target().Address()] = pathsOf(rc.Change)
		}
		if note := noteOf(rc); note != "" {
			r.Notes[change.Target().Address()] = note
		}
	}
	r.Plan = plan.New(steps)
	r.outputs(p.OutputChanges)
	slices.SortFunc(r.Reads, func(a, b Read) int { return cmp.Compare(a.Ref.Name, b.Ref.Name) })
	return r
}

// refOf names a resource: the type is its kind, the address its name. An object
// that a failed replacement has left (deposed) is named by its key, too.
func refOf(rc *tfjson.ResourceChange) plan.Ref {
	name := rc.Address
	if rc.DeposedKey != "" {
		name += " (deposed " + rc.DeposedKey + ")"
	}
	return plan.Ref{Kind: rc.Type, Name: name}
}

// convert gives the change of one resource, or nil if it stays as it is.
func convert(rc *tfjson.ResourceChange, drifted *tfjson.Change, o Options) plan.Change {
	c, ref := rc.Change, refOf(rc)
	before := func() plan.State { return o.state(c.Before, c.BeforeSensitive, nil) }
	after := func() plan.State { return o.state(c.After, c.AfterSensitive, c.AfterUnknown) }
	switch a := c.Actions; {
	case a.Replace():
		return plan.Replace{Resource: ref, Before: before(), After: after(), Reason: replaceReason(rc)}
	case a.Create(), slices.Contains(a, tfjson.ActionCreate):
		return plan.Create{Resource: ref, After: after()}
	case a.Delete():
		return plan.Delete{Resource: ref, Before: before()}
	case slices.Contains(a, tfjson.ActionForget):
		return plan.Forget{Resource: ref, Before: before()}
	case a.Update(), importOf(rc) != "", from(rc) != "":
		return plan.Update{
			Resource: ref, Before: before(), After: after(),
			Drift: a.Update() && undoes(c, drifted), Import: importOf(rc), From: from(rc),
		}
	default:
		return nil
	}
}

func importOf(rc *tfjson.ResourceChange) string {
	switch i := rc.Change.Importing; {
	case i == nil:
		return ""
	case i.ID == "": // known later, or an identity of several parts
		return Unknown
	default:
		return i.ID
	}
}

// from is the address that a resource had before.
func from(rc *tfjson.ResourceChange) plan.Address {
	if rc.PreviousAddress == "" || rc.PreviousAddress == rc.Address {
		return ""
	}
	return plan.Ref{Kind: typeOf(rc.PreviousAddress), Name: rc.PreviousAddress}.Address()
}

// Ref names the resource at an address: its type is its kind.
func Ref(address string) plan.Ref { return plan.Ref{Kind: typeOf(address), Name: address} }

// typeOf is the type in a resource's address.
func typeOf(address string) string {
	parts := segments(address)
	for len(parts) > 2 && parts[0] == "module" {
		parts = parts[2:]
	}
	if len(parts) > 2 && (parts[0] == "data" || parts[0] == "ephemeral") {
		parts = parts[1:]
	}
	return parts[0]
}

// segments splits an address at the dots that are not in an index.
func segments(address string) []string {
	var parts []string
	var quoted, indexed, escaped bool
	begin := 0
	for i := range len(address) {
		switch c := address[i]; {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == ']':
			indexed = c == '['
		case c == '.' && !indexed:
			parts = append(parts, address[begin:i])
			begin = i + 1
		}
	}
	return append(parts, address[begin:])
}

// drift tells what has changed outside and returns it by address.
func (r *Result) drift(changes []*tfjson.ResourceChange, o Options) map[string]*tfjson.Change {
	by := map[string]*tfjson.Change{}
	for _, rc := range changes {
		if rc == nil || rc.Change == nil || rc.DeposedKey != "" || reflect.DeepEqual(rc.Change.Before, rc.Change.After) {
			continue
		}
		by[rc.Address] = rc.Change
		d := Drift{Ref: refOf(rc), Recorded: o.state(rc.Change.Before, rc.Change.BeforeSensitive, nil), Deleted: rc.Change.After == nil}
		if !d.Deleted {
			d.Live = o.state(rc.Change.After, rc.Change.AfterSensitive, nil)
		}
		r.Drift = append(r.Drift, d)
	}
	slices.SortFunc(r.Drift, func(a, b Drift) int { return cmp.Compare(a.Ref.Name, b.Ref.Name) })
	return by
}

// undoes tells whether an update does nothing but undo a drift: each attribute
// that it changes to a known value gets the one that the state recorded.
func undoes(c, drifted *tfjson.Change) bool {
	if drifted == nil {
		return false
	}
	recorded, ok1 := drifted.Before.(map[string]any)
	live, ok2 := c.Before.(map[string]any)
	planned, ok3 := c.After.(map[string]any)
	if !ok1 || !ok2 || !ok3 {
		return false
	}
	unknown, _ := c.AfterUnknown.(map[string]any)
	undone := false
	for name := range merged(live, planned) {
		if hasTrue(unknown[name]) || reflect.DeepEqual(live[name], planned[name]) {
			continue
		}
		if !reflect.DeepEqual(planned[name], recorded[name]) {
			return false
		}
		undone = true
	}
	return undone
}

func merged(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, b)
	return all
}

// hasTrue tells whether anything is marked.
func hasTrue(marks any) bool {
	switch marks := marks.(type) {
	case bool:
		return marks
	case map[string]any:
		for _, m := range marks {
			if hasTrue(m) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(marks, hasTrue)
	}
	return false
}

func (r *Result) outputs(changes map[string]*tfjson.Change) {
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		c := changes[name]
		if c == nil || c.Actions.NoOp() {
			continue
		}
		out := OutputChange{
			Name: name, Action: plan.ActionUpdate, Sensitive: hasTrue(c.BeforeSensitive) || hasTrue(c.AfterSensitive),
			Before: shown(c.Before, c.BeforeSensitive, nil), After: shown(c.After, c.AfterSensitive, c.AfterUnknown),
		}
		switch {
		case c.Actions.Create():
			out.Action = plan.ActionCreate
		case c.Actions.Delete():
			out.Action = plan.ActionDelete
		}
		r.Outputs = append(r.Outputs, out)
	}
}

var readReasons = map[tfjson.ActionReason]string{
	tfjson.ActionReasonReadBecauseConfigUnknown:     "what it asks for is known after apply",
	tfjson.ActionReasonReadBecauseDependencyPending: "what it depends on changes",
	tfjson.ActionReasonReadBecauseCheckNested:       "it is part of a check",
}

var replaceReasons = map[tfjson.ActionReason]string{
	tfjson.ActionReasonReplaceBecauseCannotUpdate: "can't be changed in place",
	tfjson.ActionReasonReplaceBecauseTainted:      "an earlier run has left it incomplete (tainted)",
	tfjson.ActionReasonReplaceByRequest:           "asked for",
	tfjson.ActionReasonReplaceByTriggers:          "what it is to be replaced with changes (replace_triggered_by)",
}

var deleteReasons = map[tfjson.ActionReason]string{
	tfjson.ActionReasonDeleteBecauseNoResourceConfig: "it is not declared any more",
	tfjson.ActionReasonDeleteBecauseWrongRepetition:  "count or for_each was added or taken away",
	tfjson.ActionReasonDeleteBecauseCountIndex:       "its index is beyond count",
	tfjson.ActionReasonDeleteBecauseEachKey:          "its key is not in for_each any more",
	tfjson.ActionReasonDeleteBecauseNoModule:         "its module is not declared any more",
	tfjson.ActionReasonDeleteBecauseNoMoveTarget:     "it was moved to an address that is not declared",
}

// replaceReason says why a resource is replaced, and by which attributes.
func replaceReason(rc *tfjson.ResourceChange) string {
	reason := replaceReasons[rc.ActionReason]
	var paths []string
	for _, p := range rc.Change.ReplacePaths {
		if steps, ok := p.([]any); ok {
			paths = append(paths, pathText(steps))
		}
	}
	slices.Sort(paths)
	if len(paths) > 0 {
		reason = strings.TrimPrefix(reason+": "+strings.Join(slices.Compact(paths), ", "), ": ")
	}
	if rc.Change.Actions.CreateBeforeDestroy() {
		reason = strings.TrimPrefix(reason+"; the new one is made first", "; ")
	}
	if moved := from(rc); moved != "" {
		reason = strings.TrimPrefix(reason+"; it was "+string(moved), "; ")
	}
	if i := importOf(rc); i != "" {
		reason = strings.TrimPrefix(reason+"; exists as "+i, "; ")
	}
	return reason
}

func pathText(steps []any) string {
	var b strings.Builder
	for i, step := range steps {
		switch step := step.(type) {
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		default:
			fmt.Fprintf(&b, "[%v]", step)
		}
	}
	return b.String()
}

func noteOf(rc *tfjson.ResourceChange) string {
	switch a := rc.Change.Actions; {
	case rc.DeposedKey != "":
		return "an earlier replacement has left it"
	case a.Delete():
		return deleteReasons[rc.ActionReason]
	case slices.Contains(a, tfjson.ActionForget) && slices.Contains(a, tfjson.ActionCreate):
		return "the one before is let go, not deleted"
	default:
		return ""
	}
}
