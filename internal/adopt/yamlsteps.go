package adopt

import "slices"

// op is one edit: one value is set, put in, or removed.
type op struct {
	path   Path
	value  any
	remove bool
	insert bool // an item before the index
}

// steps are the edits that make one value another one, as small as may be.
func steps(at Path, is, want any) []op {
	switch is := is.(type) {
	case map[string]any:
		if want, ok := want.(map[string]any); ok && len(is) > 0 && len(want) > 0 {
			var d differ
			d.maps(nil, is, want)
			var out []op
			for _, field := range d.fields {
				p := append(slices.Clip(at), field.Path...)
				switch {
				case !field.HasLive:
					out = append(out, op{path: p, remove: true})
				case field.HasDeclared:
					out = append(out, steps(p, field.Declared, field.Live)...)
				default:
					out = append(out, op{path: p, value: field.Live})
				}
			}
			return out
		}
	case []any:
		if want, ok := want.([]any); ok && len(is) > 0 && len(want) > 0 {
			return listSteps(at, is, want)
		}
	}
	return []op{{path: at, value: want}}
}

// listSteps keeps the items that stay, and their comments with them.
func listSteps(at Path, is, want []any) []op {
	var out []op
	wanted := map[string]int{}
	for _, w := range want {
		wanted[text(w)]++
	}
	var kept []any
	var gone []int
	for i, v := range is {
		if wanted[text(v)] > 0 {
			wanted[text(v)]--
			kept = append(kept, v)
		} else {
			gone = append(gone, i)
		}
	}
	k := 0
	for _, w := range want {
		if k < len(kept) && equal(kept[k], w) {
			k++
		}
	}
	if k < len(kept) || len(kept) == 0 || len(gone) > 0 && len(is) == len(want) {
		return indexSteps(at, is, want)
	}
	for _, i := range slices.Backward(gone) {
		out = append(out, op{path: at.with(Step{Index: i}), remove: true})
	}
	k = 0
	for i, w := range want {
		if k < len(kept) && equal(kept[k], w) {
			k++
			continue
		}
		out = append(out, op{path: at.with(Step{Index: i}), value: w, insert: true})
	}
	return out
}

func indexSteps(at Path, is, want []any) []op {
	var out []op
	for i := range min(len(is), len(want)) {
		if !equal(is[i], want[i]) {
			out = append(out, steps(at.with(Step{Index: i}), is[i], want[i])...)
		}
	}
	for i := len(is) - 1; i >= len(want); i-- {
		out = append(out, op{path: at.with(Step{Index: i}), remove: true})
	}
	for i := len(is); i < len(want); i++ {
		out = append(out, op{path: at.with(Step{Index: i}), value: want[i], insert: true})
	}
	return out
}
