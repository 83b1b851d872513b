package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// manifests returns the manifests in a directory of testdata by file name.
func manifests(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests in testdata/%s: %v", dir, err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = text
	}
	return out
}

// decode reads a manifest into its Go type and refuses unknown fields.
func decode(text []byte) (runtime.Object, error) {
	var meta struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(text, &meta); err != nil {
		return nil, err
	}
	var into runtime.Object
	switch meta.Kind {
	case v1alpha1.ApplicationKind:
		into = &v1alpha1.Application{}
	case v1alpha1.AppProjectKind:
		into = &v1alpha1.AppProject{}
	default:
		return nil, fmt.Errorf("a manifest of kind %q", meta.Kind)
	}
	return into, yaml.UnmarshalStrict(text, into)
}

func TestManifestsComeBackAsTheyWere(t *testing.T) {
	for name, text := range manifests(t, "accepted") {
		t.Run(name, func(t *testing.T) {
			object, err := decode(text)
			if err != nil {
				t.Fatal(err)
			}
			var want, got map[string]any
			if err := yaml.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			encoded, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(encoded, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("encoded otherwise than written (-written +encoded):\n%s", diff)
			}

			converted, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
			if err != nil {
				t.Fatal(err)
			}
			viaMap, err := json.Marshal(converted)
			if err != nil {
				t.Fatal(err)
			}
			got = nil
			if err := json.Unmarshal(viaMap, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("converted otherwise than written (-written +converted):\n%s", diff)
			}
			if diff := cmp.Diff(object, object.DeepCopyObject()); diff != "" {
				t.Errorf("the deep copy differs:\n%s", diff)
			}
		})
	}
}

// Every field of every type must occur in a manifest, so that the other tests
// speak of all of them.
func TestManifestsSetEveryField(t *testing.T) {
	declared, set := map[string]bool{}, map[string]bool{}
	for _, object := range []any{v1alpha1.Application{}, v1alpha1.AppProject{}} {
		declare(reflect.TypeOf(object), declared)
	}
	for name, text := range manifests(t, "accepted") {
		object, err := decode(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		collect(reflect.ValueOf(object), set)
	}
	for field := range declared {
		if !set[field] {
			t.Errorf("no manifest in testdata/accepted sets %s", field)
		}
	}
}

const thisPackage = "github.com/plumb-dev/plumb/api/v1alpha1"

func declare(t reflect.Type, fields map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		declare(t.Elem(), fields)
	case reflect.Struct:
		if t.PkgPath() != thisPackage {
			return
		}
		for i := range t.NumField() {
			key := t.Name() + "." + t.Field(i).Name
			if !fields[key] {
				fields[key] = true
				declare(t.Field(i).Type, fields)
			}
		}
	}
}

func collect(v reflect.Value, fields map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			collect(v.Elem(), fields)
		}
	case reflect.Slice:
		for i := range v.Len() {
			collect(v.Index(i), fields)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			collect(v.MapIndex(key), fields)
		}
	case reflect.Struct:
		if v.Type().PkgPath() != thisPackage {
			return
		}
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				fields[v.Type().Name()+"."+v.Type().Field(i).Name] = true
				collect(v.Field(i), fields)
			}
		}
	}
}

func TestAnEmptyObjectEncodesNoEmptyParts(t *testing.T) {
	app := v1alpha1.Application{}
	app.Spec.Source = &v1alpha1.ApplicationSource{RepoURL: "r"}
	app.Operation = &v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}}
	encoded, err := json.Marshal(app)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"metadata":{},"spec":{"source":{"repoURL":"r"}},"operation":{"sync":{}}}`; string(encoded) != want {
		t.Errorf("got  %s\nwant %s", encoded, want)
	}
}

func TestSchemesHoldOneGroupEach(t *testing.T) {
	for _, gv := range []struct {
		name string
		add  func(*runtime.Scheme) error
	}{
		{v1alpha1.GroupVersion.String(), v1alpha1.AddToScheme},
		{v1alpha1.ArgoGroupVersion.String(), v1alpha1.AddArgoToScheme},
	} {
		s := runtime.NewScheme()
		if err := gv.add(s); err != nil {
			t.Fatal(err)
		}
		for _, object := range []runtime.Object{&v1alpha1.Application{}, &v1alpha1.AppProjectList{}} {
			kinds, _, err := s.ObjectKinds(object)
			if err != nil || len(kinds) != 1 || kinds[0].GroupVersion().String() != gv.name {
				t.Errorf("%T in the scheme of %s: %v, %v", object, gv.name, kinds, err)
			}
		}
	}
}

func TestDefinitions(t *testing.T) {
	type definition struct {
		Metadata struct {
			Name   string
			Labels map[string]string
		}
		Spec struct {
			Group    string
			Names    struct{ ShortNames, Categories []string }
			Versions []struct{ Schema json.RawMessage }
		}
	}
	read := func(group string) []definition {
		var out []definition
		for _, text := range v1alpha1.CRDs(group) {
			var d definition
			if err := json.Unmarshal(text, &d); err != nil {
				t.Fatal(err)
			}
			out = append(out, d)
		}
		return out
	}
	plumb, argo := read(v1alpha1.Group), read(v1alpha1.ArgoGroup)
	for i, resource := range []string{v1alpha1.ApplicationResource, v1alpha1.AppProjectResource} {
		for _, d := range []definition{plumb[i], argo[i]} {
			if want := resource + "." + d.Spec.Group; d.Metadata.Name != want {
				t.Errorf("a definition has the name %q, want %q", d.Metadata.Name, want)
			}
			if d.Metadata.Labels[v1alpha1.LabelPartOf] != v1alpha1.LabelPartOfValue {
				t.Errorf("%s is not labelled as Plumb's: %v", d.Metadata.Name, d.Metadata.Labels)
			}
		}
		if diff := cmp.Diff(fmt.Sprint(plumb[i].Spec.Names.Categories), fmt.Sprint(argo[i].Spec.Names.Categories)); diff != "" {
			t.Error(diff)
		}
		if len(plumb[i].Spec.Versions) != 1 || len(argo[i].Spec.Versions) != 1 {
			t.Fatalf("%s: want one version", resource)
		}
		var a, b any
		if json.Unmarshal(plumb[i].Spec.Versions[0].Schema, &a) != nil || json.Unmarshal(argo[i].Spec.Versions[0].Schema, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the schemas of the two groups differ", resource)
		}
	}
	if got := strings.Join(append(argo[0].Spec.Names.ShortNames, argo[1].Spec.Names.ShortNames...), " "); got != "app apps appproj appprojs" {
		t.Errorf("the short names of argoproj.io are %q", got)
	}
}

// kubectl apply without --server-side keeps a copy in an annotation, which has a
// limit.
func TestDefinitionsFitKubectlApply(t *testing.T) {
	for _, group := range []string{v1alpha1.Group, v1alpha1.ArgoGroup} {
		for _, text := range v1alpha1.CRDs(group) {
			if len(text) > 256*1024-1024 {
				t.Errorf("a definition of %s has %d bytes", group, len(text))
			}
		}
	}
}

func BenchmarkDefinitions(b *testing.B) {
	for b.Loop() {
		v1alpha1.CRDs(v1alpha1.ArgoGroup)
	}
}
