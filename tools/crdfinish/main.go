// Command crdfinish finishes the CustomResourceDefinitions that controller-gen
// writes, where markers cannot say what is needed:
//
//   - A number of replicas is kept within 32 bits. One that is not would make the
//     whole list that holds it undecodable for every client in Go.
//   - The schema of a source is repeated a dozen times. Only the copies below spec
//     keep their descriptions, which halves the definition.
//   - A label says that the definition is Plumb's, so that an existing cluster's
//     own definition is never mistaken for it.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crdfinish DIR")
		os.Exit(2)
	}
	if err := finishAll(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "crdfinish:", err)
		os.Exit(1)
	}
}

func finishAll(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no definition in %s", dir)
	}
	for _, file := range files {
		if err := finish(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func finish(file string) error {
	in, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(in, &crd); err != nil {
		return err
	}
	metadata, ok := crd["metadata"].(map[string]any)
	if !ok {
		return errors.New("no metadata")
	}
	metadata["labels"] = map[string]any{"app.kubernetes.io/part-of": "plumb"}

	spec, _ := crd["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	for _, v := range versions {
		version, _ := v.(map[string]any)
		schema, _ := version["schema"].(map[string]any)
		root, ok := schema["openAPIV3Schema"].(map[string]any)
		if !ok {
			return errors.New("a version without a schema")
		}
		visit(root, nil)
	}
	out, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte("---\n"), out...), 0o644)
}

// visit walks a schema; path holds the names of the properties down to it.
func visit(schema map[string]any, path []string) {
	if len(path) > 1 && path[0] != "spec" && inSource(path) {
		delete(schema, "description")
	}
	if isReplicaCount(schema, path) {
		schema["minimum"], schema["maximum"] = -1<<31, 1<<31-1
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		for name, property := range properties {
			if property, ok := property.(map[string]any); ok {
				visit(property, append(path[:len(path):len(path)], name))
			}
		}
	}
	for _, below := range []string{"items", "additionalProperties"} {
		if schema, ok := schema[below].(map[string]any); ok {
			visit(schema, path)
		}
	}
}

// inSource says whether the path goes through a source, to something inside it.
func inSource(path []string) bool {
	for _, name := range path[:len(path)-1] {
		if name == "source" || name == "sources" || name == "drySource" || name == "syncSource" {
			return true
		}
	}
	return false
}

func isReplicaCount(schema map[string]any, path []string) bool {
	return schema["x-kubernetes-int-or-string"] == true && strings.HasSuffix(strings.Join(path, "."), "kustomize.replicas.count")
}
