package secrets

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/render/helm"
	"github.com/plumb-dev/plumb/internal/render/kustomize"
	"github.com/plumb-dev/plumb/internal/render/tofu"
	"github.com/plumb-dev/plumb/internal/render/yaml"
	"github.com/plumb-dev/plumb/internal/source/memtree"
)

var tools = render.Tools{Directory: yaml.Renderer{}, Kustomize: kustomize.Renderer{}, Helm: helm.Renderer{}}

func request(files map[string]string, keys render.Keys) render.Request {
	return render.Request{
		AppName: "web", Namespace: "shop", Project: "shop", KubeVersion: "v1.36.3", Keys: keys, At: time.Unix(1_000_000, 0),
		Input: render.Input{Tree: memtree.New(files), Path: "app", Source: v1alpha1.ApplicationSource{Path: "app"}},
	}
}

func bundleText(b render.Bundle) string {
	var out strings.Builder
	for _, o := range b.Objects {
		out.Write(o.JSON)
		out.WriteByte('\n')
	}
	return out.String()
}

const chartYAML = "apiVersion: v2\nname: web\nversion: 1.0.0\n"

const chartTemplate = `apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data:
  url: "db://{{ .Values.password }}"
  encoded: {{ .Values.password | b64enc }}
`

func TestEveryRenderer(t *testing.T) {
	a := ageRecipient(t)
	v := startVault(t)
	v.fill()
	keys := New("shop", []Material{a.material, v.material()})
	sops := func(format, plain string) string { return encrypt(t, format, plain, "", 0, []recipient{a}) }
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	values := "password: " + canary + "\n"
	for name, tc := range map[string]struct {
		reason  string
		files   map[string]string
		change  func(*render.Request)
		want    []string
		expires bool
	}{
		"plain yaml":         {reason: "a whole manifest", files: map[string]string{"app/s.yaml": sops("yaml", secretManifest)}, want: []string{`"password":"` + canary}},
		"plain json":         {reason: "JSON", files: map[string]string{"app/s.json": sops("json", `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"p": "`+canary+`"}}`)}, want: []string{`"p":"` + canary}},
		"kustomize resource": {reason: "a resource", files: map[string]string{"app/kustomization.yaml": "resources: [s.yaml]\n", "app/s.yaml": sops("yaml", secretManifest)}, want: []string{canary}},
		"kustomize base":     {reason: "outside of the Application's directory", files: map[string]string{"app/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources: [s.yaml]\n", "base/s.yaml": sops("yaml", secretManifest)}, want: []string{canary}},
		"kustomize envs":     {reason: "a generator", files: map[string]string{"app/kustomization.yaml": "secretGenerator:\n- name: g\n  envs: [s.env]\n", "app/s.env": sops("dotenv", "PASSWORD="+canary+"\n")}, want: []string{`"PASSWORD":"` + encoded}},
		"kustomize files":    {reason: "a generator", files: map[string]string{"app/kustomization.yaml": "secretGenerator:\n- name: g\n  files: [key=s.bin]\n", "app/s.bin": sops("binary", canary)}, want: []string{`"key":"` + encoded}},
		"kustomize patch":    {reason: "a patch", files: map[string]string{"app/kustomization.yaml": "resources: [c.yaml]\npatches:\n- path: p.yaml\n", "app/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n", "app/p.yaml": sops("yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: c\ndata:\n    p: "+canary+"\n")}, want: []string{`"p":"` + canary}},
		"helm value file": {reason: "beside the chart", files: map[string]string{"app/Chart.yaml": chartYAML, "app/templates/c.yaml": chartTemplate, "app/secrets.yaml": sops("yaml", values)}, change: func(r *render.Request) {
			r.Input.Source.Helm = &v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"secrets.yaml"}}
		}, want: []string{"db://" + canary, encoded}},
		"helm value file, ref": {reason: "in another source", files: map[string]string{"app/Chart.yaml": chartYAML, "app/templates/c.yaml": chartTemplate}, change: func(r *render.Request) {
			r.Input.Source.Helm = &v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"$values/secrets.yaml"}}
			r.Refs = map[string]render.Input{"values": {Tree: memtree.New(map[string]string{"secrets.yaml": sops("yaml", values)})}}
		}, want: []string{"db://" + canary, encoded}},
		"helm values, looked up": {reason: "before the templates run", files: map[string]string{"app/Chart.yaml": chartYAML, "app/templates/c.yaml": chartTemplate, "app/values.yaml": "password: ref+vault://kv/shop/db#/password\n"}, want: []string{"db://" + canary, encoded}, expires: true},
		"helm parameter, looked up": {reason: "set by the Application", files: map[string]string{"app/Chart.yaml": chartYAML, "app/templates/c.yaml": chartTemplate}, change: func(r *render.Request) {
			r.Input.Source.Helm = &v1alpha1.ApplicationSourceHelm{Parameters: []v1alpha1.HelmParameter{{Name: "password", Value: "ref+vault://kv/shop/db#/password"}}}
		}, want: []string{"db://" + canary}, expires: true},
		"manifest, looked up":      {reason: "any string field", files: map[string]string{"app/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, annotations: {a: secretref+vault://kv/shop/db#/password}}\ndata:\n  url: web:ref+vault://kv/shop/db#/password+@db\n"}, want: []string{"web:" + canary + "@db", `"a":"` + canary}, expires: true},
		"Secret's data, looked up": {reason: "in base64, as a generator makes it", files: map[string]string{"app/kustomization.yaml": "secretGenerator:\n- name: g\n  literals: [p=ref+vault://kv/shop/db#/password]\n"}, want: []string{`"p":"` + encoded}, expires: true},
		"Secret's stringData":      {reason: "the usual", files: map[string]string{"app/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: ref+vault://kv/shop/db#/password}\n"}, want: []string{`"p":"` + canary}, expires: true},
		"ref+sops":                 {reason: "a file of the repository", files: map[string]string{"app/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {p: ref+sops://secrets/x.yaml#/password}\n", "app/secrets/x.yaml": sops("yaml", values)}, want: []string{`"p":"` + canary}, expires: true},
		"annotation":               {reason: "a text about references", files: map[string]string{"app/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, annotations: {plumb.dev/references: 'false'}}\ndata: {p: 'ref+exec://x, " + canary + "'}\n", "app/s.yaml": sops("yaml", secretManifest)}, want: []string{"ref+exec://x"}},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(tc.files, keys)
			if tc.change != nil {
				tc.change(&req)
			}
			b, err := tools.Render(t.Context(), req)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			text := bundleText(b)
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s: no %s in\n%s", tc.reason, want, text)
				}
			}
			discreet(t, "the masked bundle", b.Secrets.Mask(text))
			if b.Expires.IsZero() == tc.expires {
				t.Errorf("%s: expires %v", tc.reason, b.Expires)
			}
			if len(b.Warnings) > 0 && name != "annotation" {
				t.Errorf("%s: %q", tc.reason, b.Warnings)
			}
		})
	}
}

func TestRenderFails(t *testing.T) {
	a := ageRecipient(t)
	values := encrypt(t, "yaml", "password: "+canary+"\n", "", 0, []recipient{a})
	config := func(value string) map[string]string {
		return map[string]string{"app/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {p: '" + value + "'}\n", "x.yaml": values}
	}
	chart := func(template string) map[string]string {
		return map[string]string{"app/Chart.yaml": chartYAML, "app/templates/c.yaml": template, "app/s.yaml": values}
	}
	helmValues := func(r *render.Request) {
		r.Input.Source.Helm = &v1alpha1.ApplicationSourceHelm{ValueFiles: []string{"s.yaml"}}
	}
	for name, tc := range map[string]struct {
		reason string
		files  map[string]string
		change func(*render.Request)
		keys   []Material
		fails  []string
		warns  string
	}{
		"outside":            {reason: "no path leaves the tree", files: config("ref+sops://../../etc/x.yaml#/a"), keys: []Material{a.material}, fails: []string{"app/c.yaml:1: ConfigMap c: data.p", "leads out of the repository"}},
		"outside, file":      {reason: "no path leaves the tree", files: config("ref+file://../../../../etc/passwd"), keys: []Material{a.material}, fails: []string{"leads out of the repository"}},
		"root":               {reason: "of the repository", files: config("ref+file:///etc/passwd"), keys: []Material{a.material}, fails: []string{"etc/passwd"}},
		"exec":               {reason: "no program", files: config("ref+exec://sh"), keys: []Material{a.material}, fails: []string{"app/c.yaml:1: ConfigMap c: data.p", "refused"}},
		"no keys":            {reason: "left as it is, with a word", files: config("ref+vault://kv/a#/b"), warns: "ConfigMap c: data.p stays as it is"},
		"no keys for that":   {reason: "left as it is, with a word", files: config("ref+vault://kv/a#/b"), keys: []Material{a.material}, warns: "project shop has none for Vault"},
		"template fails":     {reason: "a template quotes a value", files: chart(`{{ fail (printf "bad %s" .Values.password) }}`), change: helmValues, keys: []Material{a.material}, fails: []string{"bad ++++++++"}},
		"invalid yaml":       {reason: "a value breaks the YAML", files: chart("a: {{ .Values.password }}: x: y\n"), change: helmValues, keys: []Material{a.material}, fails: []string{"app/templates/c.yaml"}},
		"no kind":            {reason: "a value where an object is", files: chart("kind: {{ .Values.password }}\n"), change: helmValues, keys: []Material{a.material}, fails: []string{"apiVersion"}},
		"not to be opened":   {reason: "a value file without a key", files: chart("x"), change: helmValues, fails: []string{"app/s.yaml: the file is encrypted with SOPS"}},
		"in a secret's yaml": {reason: "the decrypted text is no manifest", files: map[string]string{"app/s.yaml": encrypt(t, "yaml", "apiVersion: v1\nkind: Secret\nmetadata: "+canary+"\n", "", 0, []recipient{a})}, keys: []Material{a.material}, fails: []string{"app/s.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(tc.files, New("shop", tc.keys))
			if tc.change != nil {
				tc.change(&req)
			}
			b, err := tools.Render(t.Context(), req)
			if tc.warns != "" {
				if err != nil || !strings.Contains(strings.Join(b.Warnings, "\n"), tc.warns) || !b.Expires.IsZero() {
					t.Errorf("%s: %q, %v", tc.reason, b.Warnings, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("%s: it is rendered: %s", tc.reason, bundleText(b))
			}
			for _, want := range tc.fails {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %q is missing in: %v", tc.reason, want, err)
				}
			}
			discreet(t, "the error", err.Error())
			var unwrapped interface{ Unwrap() error }
			if errors.As(err, &unwrapped) {
				discreet(t, "what the error hides", unwrapped.Unwrap().Error())
			}
		})
	}
}

// TestModule takes secrets into a module's files and variables.
func TestModule(t *testing.T) {
	a := ageRecipient(t)
	v := startVault(t)
	v.fill()
	tools := tools
	tools.Tofu = tofu.Renderer{}
	render1 := func() render.Bundle {
		t.Helper()
		req := request(map[string]string{
			"app/main.tf": "variable \"password\" {}\n", "app/prod.tfvars": encrypt(t, "binary", "password = \""+canary+"\"\n", "", 0, []recipient{a}),
		}, New("shop", []Material{a.material, v.material()}))
		req.Input.Source.Tofu = &v1alpha1.ApplicationSourceTofu{
			VarFiles: []string{"prod.tfvars"}, Vars: map[string]string{"token": "ref+vault://kv/shop/db#/password", "plain": "x"},
			Env:     v1alpha1.Env{{Name: "KEY", Value: "ref+vault://kv/shop/db#/password"}, {Name: "OTHER", Value: "y"}},
			Backend: map[string]string{"password": "ref+vault://kv/shop/db#/password", "bucket": "states"},
		}
		b, err := tools.Render(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := render1()
	if got := string(b.Module.Files["app/prod.tfvars"]); got != "password = \""+canary+"\"\n" {
		t.Errorf("the file of values is %q", got)
	}
	for name, got := range map[string]render.Value{"token": b.Module.Variables["token"], "KEY": b.Module.Env["KEY"], "password": b.Module.Backend["password"]} {
		if string(got.JSON) != `"`+canary+`"` || !got.Sensitive {
			t.Errorf("%s is %s, sensitive %v", name, string(got.JSON), got.Sensitive)
		}
	}
	if o := b.Module.Options; len(o.Vars) != 1 || len(o.Env) != 1 || len(o.Backend) != 1 {
		t.Errorf("what was looked up is still an option: %v %v %v", o.Vars, o.Env, o.Backend)
	}
	if b.Secrets.Mask(canary) == canary || b.Expires.IsZero() {
		t.Errorf("the bundle does not say what is secret, or until when: %v", b.Expires)
	}
	v.do("POST", "kv/data/shop/db", map[string]any{"data": map[string]any{"password": "rotated"}})
	if render1().Hash == b.Hash {
		t.Error("a rotated variable is no other bundle")
	}
}

// TestCached tells what a kept bundle depends on.
func TestCached(t *testing.T) {
	a, b := ageRecipient(t), ageRecipient(t)
	v := startVault(t)
	v.fill()
	cache := render.NewCache(1 << 20)
	file := encrypt(t, "yaml", secretManifest, "", 0, []recipient{a, b})
	files := map[string]string{"app/s.yaml": file}
	rendered := func(what string, req render.Request, want bool) render.Bundle {
		t.Helper()
		out, fresh, err := cache.Render(t.Context(), req, tools)
		if err != nil || fresh != want {
			t.Fatalf("%s: rendered %v, %v", what, fresh, err)
		}
		return out
	}
	rendered("the first", request(files, New("shop", []Material{a.material})), true)
	rendered("the same", request(files, New("shop", []Material{a.material})), false)
	rendered("another key", request(files, New("shop", []Material{b.material})), true)
	if _, _, err := cache.Render(t.Context(), request(files, New("other", nil)), tools); err == nil {
		t.Error("a project without keys gets what another has decrypted")
	}

	files = map[string]string{"app/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {p: ref+vault://kv/shop/db#/password}\n"}
	req := request(files, New("shop", []Material{v.material()}))
	first := rendered("looked up", req, true)
	rendered("still holds", req, false)
	v.do("POST", "kv/data/shop/db", map[string]any{"data": map[string]any{"password": "rotated"}})
	req.At = first.Expires.Add(-time.Second)
	rendered("holds until it expires", req, false)
	req.At = first.Expires
	if second := rendered("looked up again", req, true); second.Hash == first.Hash || !strings.Contains(bundleText(second), "rotated") {
		t.Errorf("the rotated value does not arrive: %s", bundleText(second))
	}
	v.do("POST", "kv/data/shop/db", map[string]any{"data": map[string]any{"password": "rotated-again"}})
	req.Fresh = true
	if third := rendered("asked for", req, true); !strings.Contains(bundleText(third), "rotated-again") {
		t.Errorf("a refresh does not look up: %s", bundleText(third))
	}
}
