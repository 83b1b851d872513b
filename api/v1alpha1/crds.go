package v1alpha1

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	// LabelPartOf is set on the definitions that Plumb installs, with
	// LabelPartOfValue. A definition of the same name without it is somebody
	// else's, such as Argo CD's own, and is left alone.
	LabelPartOf = "app.kubernetes.io/part-of"
	// LabelPartOfValue is the value of LabelPartOf on Plumb's definitions.
	LabelPartOfValue = "plumb"
)

// crds holds the definitions of plumb.dev, as generated from the Go types.
//
//go:embed crds/*.yaml
var crds embed.FS

// CRDs returns the CustomResourceDefinitions of Application and AppProject in
// JSON, for GroupVersion.Group or ArgoGroupVersion.Group. The schemas are the
// same in both; names differ. Plumb's own group has those of Plan and Approval,
// too, which are for Applications of both.
func CRDs(group string) [][]byte {
	if group != Group && group != ArgoGroup {
		panic(fmt.Sprintf("v1alpha1.CRDs: no group %q", group)) // a programming error: there are two groups
	}
	all := [][]byte{
		definition(group, ApplicationResource, "app", "apps"),
		definition(group, AppProjectResource, "appproj", "appprojs"),
	}
	if group == Group {
		all = append(all, definition(group, PlanResource), definition(group, ApprovalResource))
	}
	return all
}

// definition derives the definition of a resource in a group. argoNames are the
// short names that Argo CD gives it.
func definition(group, resource string, argoNames ...string) []byte {
	file := "crds/" + Group + "_" + resource + ".yaml"
	text, err := crds.ReadFile(file)
	must(file, err)
	text, err = yaml.ToJSON([]byte(strings.TrimPrefix(string(text), "---\n")))
	must(file, err)
	if group == Group {
		return text
	}
	var crd struct {
		APIVersion string                     `json:"apiVersion"`
		Kind       string                     `json:"kind"`
		Metadata   map[string]any             `json:"metadata"`
		Spec       map[string]json.RawMessage `json:"spec"`
	}
	must(file, json.Unmarshal(text, &crd))
	var names map[string]any
	must(file, json.Unmarshal(crd.Spec["names"], &names))

	names["shortNames"] = argoNames
	crd.Metadata["name"] = resource + "." + group
	crd.Spec["names"], err = json.Marshal(names)
	must(file, err)
	crd.Spec["group"], err = json.Marshal(group)
	must(file, err)
	text, err = json.Marshal(crd)
	must(file, err)
	return text
}

// must stops on an error that only a broken build can cause: the definitions are
// embedded, and a test reads them all.
func must(file string, err error) {
	if err != nil {
		panic(fmt.Sprintf("v1alpha1: embedded %s: %v", file, err))
	}
}
