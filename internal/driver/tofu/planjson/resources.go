package planjson

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/plumb-dev/plumb/internal/plan"
)

// Resource is one instance in a state.
type Resource struct {
	Ref plan.Ref `json:"ref"`
	// State is masked.
	State plan.State `json:"state"`
	// ID is the attribute id, where there is one that is not sensitive.
	ID string `json:"id,omitempty"`
	// Provider is the source address of its provider; Module the address of its
	// module, empty for the root.
	Provider string `json:"provider,omitempty"`
	Module   string `json:"module,omitempty"`
	// Data is true for data sources.
	Data bool `json:"data,omitempty"`
	// Tainted is true where an earlier run has left it incomplete.
	Tainted bool `json:"tainted,omitempty"`
	// Deposed is the key of an object that a replacement has left.
	Deposed string `json:"deposed,omitempty"`
	// DependsOn are addresses, without instances.
	DependsOn []string `json:"dependsOn,omitempty"`
}

// Output is an output in a state. A sensitive value is masked; Hash is of what
// it really is.
type Output struct {
	Name      string `json:"name"`
	Value     any    `json:"value,omitempty"`
	Hash      string `json:"hash"`
	Sensitive bool   `json:"sensitive,omitempty"`
}

// ParseState reads the JSON of a state as show -json writes it. A state file is
// another thing: it does not mark what is sensitive.
func ParseState(b []byte) (*tfjson.State, error) {
	var s tfjson.State
	s.UseJSONNumber(true)
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	return &s, nil
}

// ParsePlan reads the JSON of a plan as show -json writes it.
func ParsePlan(b []byte) (*tfjson.Plan, error) {
	var p tfjson.Plan
	p.UseJSONNumber(true)
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	return &p, nil
}

// Resources are those of a state, sorted by address.
func Resources(s *tfjson.State, o Options) []Resource {
	if s == nil || s.Values == nil {
		return nil
	}
	all := o.resources(nil, s.Values.RootModule)
	slices.SortFunc(all, func(a, b Resource) int { return cmp.Compare(a.Ref.Name, b.Ref.Name) })
	return all
}

func (o Options) resources(all []Resource, m *tfjson.StateModule) []Resource {
	if m == nil {
		return all
	}
	for _, r := range m.Resources {
		if r != nil {
			all = append(all, o.resource(r, m.Address))
		}
	}
	for _, child := range m.ChildModules {
		all = o.resources(all, child)
	}
	return all
}

func (o Options) resource(r *tfjson.StateResource, module string) Resource {
	var marks any = true // what can't be read hides everything
	if len(r.SensitiveValues) == 0 {
		marks = nil
	} else if err := json.Unmarshal(r.SensitiveValues, &marks); err != nil {
		marks = true
	}
	out := Resource{
		Ref:   refOf(&tfjson.ResourceChange{Address: r.Address, Type: r.Type, DeposedKey: r.DeposedKey}),
		State: o.state(r.AttributeValues, marks, nil), Provider: r.ProviderName, Module: module,
		Data: r.Mode == tfjson.DataResourceMode, Tainted: r.Tainted, Deposed: r.DeposedKey, DependsOn: r.DependsOn,
	}
	if id, ok := out.State.Object["id"].(string); ok && id != Sensitive {
		out.ID = id
	}
	return out
}

// Outputs are those of a state, sorted by name.
func Outputs(s *tfjson.State, o Options) []Output {
	if s == nil || s.Values == nil {
		return nil
	}
	var all []Output
	for _, name := range slices.Sorted(maps.Keys(s.Values.Outputs)) {
		if out := s.Values.Outputs[name]; out != nil {
			all = append(all, Output{Name: name, Value: shown(out.Value, out.Sensitive, nil), Hash: o.hash(out.Value), Sensitive: out.Sensitive})
		}
	}
	return all
}
