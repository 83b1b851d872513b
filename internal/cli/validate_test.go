package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

const goodApplication = `apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: shop
  namespace: argocd
spec:
  project: default
  source:
    repoURL: https://example.org/shop.git
    path: deploy
  destination:
    server: https://kubernetes.default.svc
    namespace: shop
`

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		reason, text string
		want         []string // parts of the output, in order
		code         int
	}{
		"good": {"nothing to say", goodApplication, []string{"1 object, 0 errors, 0 warnings"}, 0},
		"good of our group": {"the same in both groups", strings.Replace(goodApplication, "argoproj.io", "plumb.dev", 1),
			[]string{"1 object, 0 errors, 0 warnings"}, 0},
		"misspelt": {"with the likely field and its line", strings.Replace(goodApplication, "    repoURL", "    repoUrl", 1),
			[]string{`f.yaml:9: error: Application shop: spec.source.repoUrl: unknown field "repoUrl", did you mean "repoURL"?`}, 1},
		"misspelt in metadata": {"metadata is checked, too", strings.Replace(goodApplication, "  name: shop\n", "  name: shop\n  labls: {a: b}\n", 1),
			[]string{`f.yaml:5: error: Application shop: metadata.labls: unknown field "labls", did you mean "labels"?`}, 1},
		"wrong type": {"the schema", strings.Replace(goodApplication, "path: deploy", "path: [deploy]", 1),
			[]string{"f.yaml:10: error: Application shop: spec.source.path: "}, 1},
		"second document": {"lines count from the file's start", goodApplication + "---\n" + strings.Replace(goodApplication, "  project", "  projet", 1),
			[]string{`f.yaml:21: error: Application shop: spec.projet: unknown field "projet", did you mean "project"?`}, 1},
		"not implemented": {"a warning", strings.Replace(goodApplication, "    path: deploy\n", "    path: deploy\n    plugin: {name: x}\n", 1),
			[]string{"f.yaml:11: warning: Application shop: spec.source.plugin: Plumb does not implement this yet", "0 errors, 1 warning"}, 0},
		"sync option": {"a warning", goodApplication + "  syncPolicy:\n    syncOptions:\n    - CreateNamspace=true\n",
			[]string{`f.yaml:16: warning: Application shop: spec.syncPolicy.syncOptions[0]: unknown sync option "CreateNamspace": it has no effect, did you mean "CreateNamespace"?`}, 0},
		"rule": {"CEL", strings.Replace(goodApplication, "    namespace: shop\n", "    namespace: shop\n    name: in-cluster\n", 1),
			[]string{"f.yaml:11: error: Application shop: spec.destination: "}, 1},
		"project": {"projects as well", "apiVersion: plumb.dev/v1alpha1\nkind: AppProject\nmetadata: {name: p}\nspec:\n  sourceRepoz: ['*']\n",
			[]string{`f.yaml:5: error: AppProject p: spec.sourceRepoz: unknown field "sourceRepoz", did you mean "sourceRepos"?`}, 1},
		"window": {"what would block a project", "apiVersion: plumb.dev/v1alpha1\nkind: AppProject\nmetadata: {name: p}\nspec:\n  syncWindows:\n  - kind: deny\n    schedule: daily\n    duration: 1h\n",
			[]string{`f.yaml:7: error: AppProject p: spec.syncWindows[0].schedule: "daily" is no cron schedule`}, 1},
		"deployment": {"built-in kinds", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replcas: 2\n  template:\n    spec:\n      containers:\n      - name: c\n        imagePullPolcy: Always\n",
			[]string{`f.yaml:5: error: Deployment d: spec.replcas: unknown field "replcas", did you mean "replicas"?`, `f.yaml:10: error: Deployment d: spec.template.spec.containers[0].imagePullPolcy:`}, 1},
		"deployment type": {"a string is no number", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, labels: {a: 1}}\nspec:\n  replicas: two\n",
			[]string{"f.yaml:3: error: Deployment d: metadata.labels.a: must be a string, is a number", "f.yaml:5: error: Deployment d: spec.replicas: must be a whole number, is a string"}, 1},
		"quantity": {"types with their own syntax", "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c}\nspec:\n  resources: {requests: {storage: 1Gx}}\n",
			[]string{"error: PersistentVolumeClaim c: "}, 1},
		"list": {"lines inside of lists", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: b}\n  dta: {}\n",
			[]string{`f.yaml:10: error: ConfigMap b: dta: unknown field "dta", did you mean "data"?`, "2 objects"}, 1},
		"kind": {"misspelt kinds", "apiVersion: apps/v1\nkind: Deploymnet\nmetadata: {name: d}\n",
			[]string{`f.yaml:2: error: Deploymnet d: kind: there is no kind "Deploymnet" in apps/v1, did you mean "Deployment"?`}, 1},
		"other kind": {"said, not passed over", "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w}\nanything: 1\n",
			[]string{"not checked, as there is no schema here for: example.org/v1 Widget", "0 errors"}, 0},
		"no name": {"every object has one", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", []string{"metadata.name: the object has no name"}, 1},
		"twice":   {"a key written twice", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\ndata: {c: d}\n", []string{"f.yaml:5: error: "}, 1},
		"broken":  {"no YAML", "a: b: c\n", []string{"f.yaml:1: error: invalid YAML"}, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			writeFile(t, ".", "f.yaml", c.text)
			out, stderr, code := offline(t, newValidateCommand, "", "-f", "f.yaml")
			if code != c.code {
				t.Errorf("%s: exit code %d, want %d", c.reason, code, c.code)
			}
			rest := out
			for _, part := range c.want {
				i := strings.Index(rest, part)
				if i < 0 {
					t.Fatalf("%s: no %q in\n%s%s", c.reason, part, out, stderr)
				}
				rest = rest[i+len(part):]
			}
		})
	}
}

func TestValidateJSON(t *testing.T) {
	out, _, code := offline(t, newValidateCommand, strings.Replace(goodApplication, "project:", "projct:", 1), "-f", "-", "-o", "json")
	var got validation
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if code != 1 || got.Errors != 1 || got.Objects != 1 || len(got.Findings) != 1 || got.Findings[0].Line != 7 || got.Findings[0].Field != "spec.projct" {
		t.Errorf("exit code %d, %+v", code, got)
	}
}

func TestValidateTellsNoSecrets(t *testing.T) {
	const canary = "hunter2-canary"
	out, stderr, _ := offline(t, newValidateCommand, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  password: "+canary+"\nstringData: ["+canary+"]\n", "-f", "-")
	if strings.Contains(out+stderr, canary) {
		t.Errorf("the secret is shown:\n%s%s", out, stderr)
	}
}
