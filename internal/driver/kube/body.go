package kube

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/plumb-dev/plumb/internal/driver"
)

// set by API servers, and never declared by anyone on purpose.
var serverFields = []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"}

// body is a declared object as it is sent: with the owner's mark on it.
func (c *cluster) body(it *declared, owner driver.Owner, more map[string]string) ([]byte, error) {
	if it.ensure {
		return it.json, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(it.json, &object); err != nil {
		return nil, fmt.Errorf("read %s: %w", shown(it.ref), err)
	}
	metadata, err := members(object["metadata"])
	if err != nil {
		return nil, fmt.Errorf("read %s: metadata: %w", shown(it.ref), err)
	}
	for _, f := range serverFields {
		delete(metadata, f)
	}
	metadata["name"] = quoted(it.ref.Name)
	if it.ref.Namespace == "" {
		delete(metadata, "namespace")
	} else {
		metadata["namespace"] = quoted(it.ref.Namespace)
	}
	delete(metadata, "generateName")
	if err := addTexts(metadata, "labels", map[string]string{LabelManaged: "true"}); err != nil {
		return nil, fmt.Errorf("read %s: labels: %w", shown(it.ref), err)
	}
	marks := map[string]string{AnnotationOwner: string(owner)}
	if c.options.Installation != "" {
		marks[AnnotationHost] = c.options.Installation
	}
	for k, v := range more {
		marks[k] = v
	}
	if err := addTexts(metadata, "annotations", marks); err != nil {
		return nil, fmt.Errorf("read %s: annotations: %w", shown(it.ref), err)
	}
	if object["metadata"], err = json.Marshal(metadata); err != nil {
		return nil, err
	}
	if it.secret() {
		if err := mergeStringData(object); err != nil {
			return nil, fmt.Errorf("read %s: stringData or data is not a map of texts", shown(it.ref))
		}
	}
	return json.Marshal(object)
}

func members(raw json.RawMessage) (map[string]json.RawMessage, error) {
	m := map[string]json.RawMessage{}
	if len(raw) == 0 {
		return m, nil
	}
	err := json.Unmarshal(raw, &m)
	if m == nil {
		m = map[string]json.RawMessage{}
	}
	return m, err
}

func quoted(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil { // a string can always be marshalled
		return json.RawMessage(`""`)
	}
	return b
}

func addTexts(metadata map[string]json.RawMessage, field string, texts map[string]string) error {
	m, err := members(metadata[field])
	if err != nil {
		return err
	}
	for k, v := range texts {
		m[k] = quoted(v)
	}
	metadata[field], err = json.Marshal(m)
	return err
}

// mergeStringData turns a Secret's stringData into data. API servers do so too,
// but then nobody owns what is in data, and its drift could not be seen.
func mergeStringData(object map[string]json.RawMessage) error {
	var plain map[string]string
	if raw, ok := object["stringData"]; !ok {
		return nil
	} else if err := json.Unmarshal(raw, &plain); err != nil {
		return err
	}
	data, err := members(object["data"])
	if err != nil {
		return err
	}
	for k, v := range plain {
		data[k] = quoted(base64.StdEncoding.EncodeToString([]byte(v)))
	}
	delete(object, "stringData")
	if len(data) == 0 {
		return nil
	}
	object["data"], err = json.Marshal(data)
	return err
}

// respecting puts the live values of ignored fields into a body, so that
// applying it leaves them as they are (RespectIgnoreDifferences).
func respecting(body []byte, it *declared, live map[string]any) ([]byte, error) {
	if !it.options.respectIgnore || it.ruling == nil || live == nil {
		return body, nil
	}
	var object map[string]any
	if err := decodeJSON(body, &object); err != nil {
		return nil, err
	}
	skip := it.ruling.skip(live)
	for p := range it.ruling.skip(object) {
		skip[p] = struct{}{}
	}
	for p := range skip {
		if !tracking.has(p) {
			copyPointer(object, live, p)
		}
	}
	dropMarked(object)
	return json.Marshal(object)
}
