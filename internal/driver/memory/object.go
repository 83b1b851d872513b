package memory

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

const masked = "++++++++"

func clone(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	return cloneValue(m).(map[string]any)
}

func cloneValue(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = cloneValue(e)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = cloneValue(e)
		}
		return out
	}
	return v
}

// merge makes live what is declared: it sets all that is declared, takes away
// what was declared before and is no longer, and leaves the rest alone. Lists
// are one value.
func merge(live, before, declared map[string]any) map[string]any {
	out := clone(live)
	if out == nil {
		out = map[string]any{}
	}
	for k := range before {
		if _, still := declared[k]; !still {
			delete(out, k)
		}
	}
	for k, v := range declared {
		child, isMap := v.(map[string]any)
		if !isMap {
			out[k] = cloneValue(v)
			continue
		}
		l, _ := out[k].(map[string]any)
		b, _ := before[k].(map[string]any)
		out[k] = merge(l, b, child)
	}
	return out
}

// differing gives the JSON pointers of what is declared and not so.
func differing(live, declared map[string]any, at string) []string {
	var out []string
	for k, v := range declared {
		p := at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k)
		child, isMap := v.(map[string]any)
		if l, ok := live[k].(map[string]any); ok && isMap {
			out = append(out, differing(l, child, p)...)
			continue
		}
		if !reflect.DeepEqual(live[k], v) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// covers tells whether a rule's pointers speak of a field. None: of all.
func covers(pointers []string, field string) bool {
	return len(pointers) == 0 || slices.ContainsFunc(pointers, func(p string) bool {
		return field == p || strings.HasPrefix(field, p+"/")
	})
}

func hash(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // only values that came out of JSON get here
		panic("memory: hash: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// state is what may be shown of an object.
func state(ref plan.Ref, m map[string]any) plan.State {
	if m == nil {
		return plan.State{}
	}
	shown := clone(m)
	if ref.Kind == "Secret" && ref.Group == "" {
		for _, field := range []string{"data", "stringData"} {
			values, _ := shown[field].(map[string]any)
			for k := range values {
				values[k] = masked
			}
		}
	}
	return plan.State{Hash: hash(m), Object: shown}
}

func decode(text []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	return m, nil
}

func annotations(m map[string]any) map[string]string {
	meta, _ := m["metadata"].(map[string]any)
	raw, _ := meta["annotations"].(map[string]any)
	out := make(map[string]string, len(raw))
	for k, v := range raw {
		out[k], _ = v.(string)
	}
	return out
}

func words(s string) []string {
	var out []string
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

func waveOf(a map[string]string) int {
	s, _ := v1alpha1.Lookup(a, v1alpha1.NameSyncWave)
	n, _ := strconv.Atoi(s)
	return n
}

var phases = []plan.Phase{plan.PreDelete, plan.PreSync, plan.Sync, plan.PostSync, plan.SyncFail, plan.PostDelete}

// hookOf reads a hook's annotations: nil for an ordinary object, skip for one
// that is not to be made.
func hookOf(a map[string]string) (h *driver.Hook, skip bool) {
	s, found := v1alpha1.Lookup(a, v1alpha1.NameHook)
	if !found {
		return nil, false
	}
	named := words(s)
	h = &driver.Hook{}
	for _, p := range phases {
		if slices.Contains(named, p.String()) {
			h.Phases = append(h.Phases, p)
		}
	}
	policies, _ := v1alpha1.Lookup(a, v1alpha1.NameHookDeletePolicy)
	if h.Policies = words(policies); len(h.Policies) == 0 {
		h.Policies = []string{"BeforeHookCreation"}
	}
	return h, len(h.Phases) == 0
}

var clusterScoped = map[string]bool{
	"Namespace": true, "Node": true, "PersistentVolume": true, "StorageClass": true, "PriorityClass": true,
	"ClusterRole": true, "ClusterRoleBinding": true, "CustomResourceDefinition": true,
}

func namespaced(r plan.Ref) bool { return !clusterScoped[r.Kind] }

// Tiers inside a wave; deletions come after all that is made, in reverse.
const (
	tierNamespace = iota
	tierDefinition
	tierRest
	tierDelete
)

func tierOf(r plan.Ref) int {
	switch r.Kind {
	case "Namespace":
		return tierNamespace
	case "CustomResourceDefinition":
		return tierDefinition
	}
	return tierRest
}
