package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/test/fakecloud"
	"github.com/plumb-dev/plumb/test/tofutest"
)

// toolFiles are what the engine finds OpenTofu with: a program that notes its runs,
// and a configuration by which providers come from a mirror, and those of one
// registry from where nobody listens.
func (w *world) toolFiles(t *testing.T) (env []string) {
	t.Helper()
	tools := tofutest.Get(t)
	bin := filepath.Join(w.dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho \"$PWD $1\" >>%s\nexec %s \"$@\"\n", w.runs(), tools.Tofu)
	if err := os.WriteFile(filepath.Join(bin, "tofu"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`disable_checkpoint = true
provider_installation {
  filesystem_mirror {
    path    = %q
    exclude = ["127.0.0.1:9/*/*"]
  }
  direct {
    include = ["127.0.0.1:9/*/*"]
  }
}
`, tools.Mirror)
	writeFile(t, filepath.Join(w.dir, "tofurc"), config)
	temp := filepath.Join(w.dir, "tmp")
	for _, dir := range []string{temp, filepath.Dir(w.runs())} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "TF_CLI_CONFIG_FILE=" + filepath.Join(w.dir, "tofurc"), "TMPDIR=" + temp,
		// The script is no part of a module: it may do what it is for.
		"PLUMB_MODULE_READABLE=" + tools.Tofu, "PLUMB_MODULE_WRITABLE=" + filepath.Dir(w.runs()),
	}
}

func (w *world) runs() string { return filepath.Join(w.dir, "runs", "tofu") }

// plans counts the plans that were made for an Application.
func (w *world) plans(t *testing.T, namespace, name string) int {
	t.Helper()
	text, err := os.ReadFile(w.runs())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "/"+namespace+"-"+name+"-") && strings.HasSuffix(line, " plan\n") {
			n++
		}
	}
	return n
}

const cloudModule = "terraform {\n  required_providers {\n    cloud = { source = \"plumb-dev/cloud\" }\n  }\n}\n"

const bucket = cloudModule + "resource \"cloud_bucket\" \"it\" {\n  name = \"it\"\n}\n"

// inCloud has a module's provider find a cloud, with a token.
func inCloud(cloud tofutest.Server, token string) func(map[string]any) {
	return func(s map[string]any) {
		source(s)["tofu"] = map[string]any{"env": []any{
			map[string]any{"name": "FAKECLOUD_ENDPOINT", "value": cloud.URL}, map[string]any{"name": "FAKECLOUD_TOKEN", "value": token},
		}}
	}
}

// TestBadModuleHurtsOneApplicationAlone has modules that can't be planned or
// applied: each says what to do, others are not hurt, and no program is run again
// and again.
func TestBadModuleHurtsOneApplicationAlone(t *testing.T) {
	w := plumb(t)
	for name, c := range badModules() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := c.run(t, w)
			if n := w.plans(t, ns, "bad"); n > 5 {
				t.Errorf("%d plans were made of what can't be", n)
			}
		})
	}
}

// module is the one file of a bad module.
func oneFile(text string) map[string]string {
	return map[string]string{"fine.yaml": "", "main.tf": text}
}

func badModules() map[string]bad {
	all := map[string]bad{
		"syntax error": {
			reason: "file, line and column", files: oneFile("\nresource \"cloud_bucket\" \"it\" {\n"),
			condition: "InvalidSpecError", says: []string{"bad/main.tf:2:30", "Unclosed"},
		},
		"argument that does not exist": {
			reason: "file, line and column", files: oneFile(cloudModule + "resource \"cloud_bucket\" \"it\" {\n  name = \"it\"\n  nope = 1\n}\n"),
			condition: "InvalidSpecError", says: []string{"bad/main.tf:8:3", "Unsupported argument"},
		},
		"missing variable": {
			reason: "where to give it", files: oneFile("variable \"size\" {}\n"),
			condition: "InvalidSpecError", says: []string{"bad/main.tf:1:1", "size", "source.tofu.vars"},
		},
		"unknown provider": {
			reason: "which one", files: oneFile("resource \"nobody_has\" \"it\" {}\n"),
			condition: "ComparisonError", says: []string{"hashicorp/nobody"},
		},
		"unreachable registry": {
			reason: "which one, and why", files: oneFile("terraform {\n  required_providers {\n    x = { source = \"127.0.0.1:9/a/x\" }\n  }\n}\nresource \"x_y\" \"it\" {}\n"),
			condition: "ComparisonError", says: []string{"127.0.0.1:9", "can be reached"},
		},
		"backend gone": {
			reason: "where the state should be", files: oneFile("terraform {\n  backend \"http\" {\n    address   = \"http://127.0.0.1:9/state\"\n    retry_max = 0\n  }\n}\n"),
			condition: "ComparisonError", says: []string{"127.0.0.1:9", "connection refused"},
		},
		"wrong credentials": {
			reason: "that it is the credentials, and never the credentials", files: oneFile(bucket),
			prepare: func(t *testing.T, _ *world, _ *repository, _ string) func(map[string]any) {
				return inCloud(tofutest.Cloud(t), "not-the-token")
			},
			condition: "SyncError", says: []string{"cloud_bucket.it", "check the credentials"},
		},
		"provider crash": {
			reason: "that it is the provider", files: oneFile(cloudModule + "data \"cloud_zones\" \"it\" {}\n"),
			prepare: func(t *testing.T, _ *world, _ *repository, _ string) func(map[string]any) {
				cloud := tofutest.Cloud(t)
				if err := cloud.Inject(fakecloud.Fault{Action: fakecloud.Crash, Times: -1}); err != nil {
					t.Fatal(err)
				}
				return inCloud(cloud, tofutest.Token)
			},
			condition: "ComparisonError", says: []string{"Plugin did not respond", "a fault in the provider", "newer version"},
		},
		"state newer than the tool": {
			reason: "which tool is needed", files: oneFile("output \"x\" {\n  value = 1\n}\n"),
			prepare: func(t *testing.T, w *world, _ *repository, ns string) func(map[string]any) {
				w.kubectl(t, stateSecret(t, "bad", `{"version":5,"terraform_version":"99.0.0","serial":3,"lineage":"l","outputs":{},"resources":[]}`), "apply", "-n", ns, "-f", "-")
				return nil
			},
			condition: "ComparisonError", says: []string{"state has format 5", "newer", "use a newer version"},
		},
	}
	for name, c := range badValues() {
		all[name] = c
	}
	return all
}

// badValues are modules whose values can't be had.
func badValues() map[string]bad {
	input := func(of, output string) func(map[string]any) {
		return func(s map[string]any) {
			s["inputs"] = []any{map[string]any{"name": "x", "from": map[string]any{"application": map[string]any{"name": of}, "output": output}}}
		}
	}
	variable := oneFile("variable \"x\" {}\noutput \"y\" {\n  value = var.x\n}\n")
	from := func(field, name string) func(map[string]any) {
		return func(s map[string]any) {
			source(s)["tofu"] = map[string]any{field: []any{map[string]any{"secret": name}}}
		}
	}
	return map[string]bad{
		"Secret missing": {
			reason: "which one, and that it is to be made", files: variable, spec: from("varsFrom", "nobody-made-it"),
			condition: "ComparisonError", says: []string{"nobody-made-it", "does not exist", "varsFrom[0]"},
		},
		"Secret not permitted": {
			reason: "credentials of Plumb's own are nobody's values", files: variable,
			prepare: func(t *testing.T, w *world, _ *repository, ns string) func(map[string]any) {
				w.kubectl(t, manifest("v1", "Secret", "theirs", map[string]any{
					"metadata":   map[string]any{"labels": map[string]any{"argocd.argoproj.io/secret-type": "repository"}},
					"stringData": map[string]any{"url": "https://git.example/x-" + ns, "password": "hunter-three"},
				}), "apply", "-n", ns, "-f", "-")
				return from("envFrom", "theirs")
			},
			condition: "ComparisonError", says: []string{"theirs", "may not be used here"},
		},
		"output that does not exist": {
			reason: "which outputs there are", files: variable,
			prepare: func(t *testing.T, w *world, r *repository, ns string) func(map[string]any) {
				r.commit(map[string]string{"net/main.tf": "output \"address\" {\n  value = \"10.0.0.1\"\n}\n"})
				w.declare(t, ns, application("net", r.url(), "net", ns, nil))
				w.await(t, ns, "net", "Synced", "Healthy")
				return input("net", "ip")
			},
			condition: "InvalidSpecError", says: []string{"net", `no output "ip"`, "address"},
		},
		"cycle of inputs": {
			reason: "who waits for whom", files: variable,
			prepare: func(t *testing.T, w *world, r *repository, ns string) func(map[string]any) {
				r.commit(map[string]string{"other/main.tf": variable["main.tf"]})
				w.declare(t, ns, application("other", r.url(), "other", ns, input("bad", "y")))
				return input("other", "y")
			},
			condition: "InvalidSpecError", says: []string{"/bad", "/other", "round in a circle", "take one of them out"},
		},
		"cycle of dependencies": {
			reason: "who waits for whom", files: oneFile("output \"x\" {\n  value = 1\n}\n"),
			prepare: func(t *testing.T, w *world, r *repository, ns string) func(map[string]any) {
				on := func(name string) func(map[string]any) {
					return func(s map[string]any) { s["dependsOn"] = []any{map[string]any{"name": name}} }
				}
				r.commit(map[string]string{"other/main.tf": "output \"x\" {\n  value = 1\n}\n"})
				w.declare(t, ns, application("other", r.url(), "other", ns, on("bad")))
				return on("other")
			},
			condition: "InvalidSpecError", says: []string{"/bad", "/other", "round in a circle", "take one of them out"},
		},
	}
}

// stateSecret is a state as OpenTofu's own backend keeps it.
func stateSecret(t *testing.T, name, state string) string {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(state)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return manifest("v1", "Secret", "tfstate-default-"+name, map[string]any{
		"metadata": map[string]any{
			"labels":      map[string]any{"tfstate": "true", "tfstateSecretSuffix": name, "tfstateWorkspace": "default"},
			"annotations": map[string]any{"encoding": "gzip"},
		},
		"data": map[string]any{"tfstate": base64.StdEncoding.EncodeToString(packed.Bytes())},
	})
}
