package planjson

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// maxPaths bounds how many changed attributes of one resource are told apart.
const maxPaths = 1000

// pathsOf are the attributes that a change gives another known value, as JSON
// pointers (/tags/Owner). What is known only after the apply is not among them:
// providers say so of values that follow from others.
func pathsOf(c *tfjson.Change) []string {
	var found []string
	differing("", c.Before, c.After, c.AfterUnknown, &found)
	slices.Sort(found)
	return found
}

func differing(place string, before, after, unknown any, found *[]string) {
	if len(*found) >= maxPaths || marked(unknown) || !hasTrue(unknown) && reflect.DeepEqual(before, after) {
		return
	}
	b, isMap := before.(map[string]any)
	a, stillMap := after.(map[string]any)
	if isMap && (stillMap || after == nil) || stillMap && before == nil {
		later, _ := unknown.(map[string]any)
		known := merged(b, a)
		for _, name := range slices.Sorted(maps.Keys(known)) {
			differing(place+"/"+escaped.Replace(name), b[name], a[name], later[name], found)
		}
		if len(known) == 0 {
			*found = append(*found, place)
		}
		return
	}
	list, isList := before.([]any)
	now, stillList := after.([]any)
	if isList && stillList && len(list) == len(now) {
		later, _ := unknown.([]any)
		for i := range list {
			differing(place+"/"+strconv.Itoa(i), list[i], now[i], at(later, i), found)
		}
		return
	}
	*found = append(*found, place)
}

// escaped writes a name as a part of a JSON pointer (RFC 6901).
var escaped = strings.NewReplacer("~", "~0", "/", "~1")
