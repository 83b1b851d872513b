package kustomize

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/render"
)

func TestInputs(t *testing.T) {
	req := request(map[string]string{
		"base/kustomization.yaml": "resources: [cm.yaml]\n",
		"base/cm.yaml":            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {host: none, port: none}\n",
		"app/kustomization.yaml": `resources: [../base]
namePrefix: a-
replacements:
- source: {kind: ConfigMap, name: plumb-inputs, fieldPath: data.host}
  targets:
  - select: {kind: ConfigMap, name: web}
    fieldPaths: [data.host]
- source: {kind: ConfigMap, name: plumb-inputs, fieldPath: data.port}
  targets:
  - select: {kind: ConfigMap, name: web}
    fieldPaths: [data.port]
`,
	}, "app", nil)
	req.Inputs = map[string]render.Value{"host": {JSON: json.RawMessage(`"db.example"`)}, "port": {JSON: json.RawMessage("5432"), Sensitive: true}}
	b, err := Renderer{}.Render(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Objects) != 1 {
		t.Fatalf("the inputs themselves are not applied: %d objects", len(b.Objects))
	}
	if text := string(b.Objects[0].JSON); !strings.Contains(text, `"host":"db.example"`) || !strings.Contains(text, `"port":"5432"`) || b.Objects[0].Ref.Name != "a-web" {
		t.Errorf("got %s", text)
	}
}
