package kustomize

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf16"
)

// A built-in plugin whose configuration names a URL would have kustomize ask
// for it, from where Plumb runs.
func TestPluginsAskNoNetwork(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("- {op: add, path: /data/stolen, value: yes}\n"))
	}))
	t.Cleanup(server.Close)
	url := server.URL + "/secret"
	plugin := "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\ntarget: {kind: ConfigMap}\npath: " + url + "\n"
	harmless := strings.Replace(plugin, url, "x.yaml", 1)
	notJSON := "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: y}\nprefix: a\nextra:\n  ? {a: b}\n  : c\n"

	cases := map[string]struct {
		reason string
		entry  string
		files  map[string]string
		want   string
	}{
		"Plain": {"as it is usually written", "t.yaml", map[string]string{"app/t.yaml": plugin}, "app/t.yaml:5: the plugin configuration names the URL"},
		"Extension": {"kustomize takes any file for resources", "t.conf",
			map[string]string{"app/t.conf": plugin}, "app/t.conf:5: the plugin configuration names the URL"},
		"OtherDocument": {"a document that is no JSON does not hide another one", "t.yaml",
			map[string]string{"app/t.yaml": plugin + "---\n" + notJSON}, "app/t.yaml:5: the plugin configuration names the URL"},
		"NoJSON": {"what cannot be looked at is not used, nor shown", "t.yaml",
			map[string]string{"app/t.yaml": plugin + "extra:\n  ? {a: b}\n  : c\n"}, `the plugin configuration "x" cannot be read: has it`},
		"Escape": {"escapes are read", "t.yaml",
			map[string]string{"app/t.yaml": strings.Replace(plugin, url, `"\x68`+url[1:]+`"`, 1)}, "names the URL"},
		"Tag": {"tags are read", "t.yaml",
			map[string]string{"app/t.yaml": strings.Replace(plugin, url, "!!binary "+base64.StdEncoding.EncodeToString([]byte(url)), 1)}, "names the URL"},
		"UTF16": {"other encodings are read", "t.yaml",
			map[string]string{"app/t.yaml": utf16Of(plugin)}, "names the URL"},
		"Version": {"the version decides, with an empty group before it", "t.yaml",
			map[string]string{"app/t.yaml": strings.Replace(plugin, "builtin", "/builtin", 1)}, "names the URL"},
		"List": {"lists are looked into", "t.yaml",
			map[string]string{"app/t.yaml": "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(plugin), "\n", "\n  ") + "\n"}, "names the URL"},
		"Inline": {"in the kustomization itself", "|\n  " + strings.ReplaceAll(strings.TrimSpace(plugin), "\n", "\n  "), nil, "names the URL"},
		"Changed": {"a configuration that is patched before it is used", "d", map[string]string{
			"app/d/kustomization.yaml": "resources: [t.yaml]\npatches:\n- path: p.yaml\n", "app/d/t.yaml": harmless,
		}, `its kustomization has "patches"`},
		"ChangedBelow": {"nor deeper down", "d", map[string]string{
			"app/d/kustomization.yaml": "resources: [../e]\n", "app/e/t.yaml": harmless,
			"app/e/kustomization.yaml": "resources: [t.yaml]\npatches:\n- target: {kind: PatchTransformer}\n  patch: |\n    - {op: replace, path: /path, value: \"" + url + "\"}\n",
		}, `app/d/kustomization.yaml:1: transformer "../e": its kustomization has "patches"`},
		"Circle": {"directories that contain each other end", "d", map[string]string{
			"app/d/kustomization.yaml": "resources: [../e]\n", "app/e/kustomization.yaml": "resources: [../d]\n",
		}, "cycle detected"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{
				"app/kustomization.yaml": "resources: [cm.yaml]\ntransformers:\n- " + tc.entry + "\n",
				"app/cm.yaml":            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {}\n",
			}
			maps.Copy(files, tc.files)
			_, err := Renderer{}.Render(t.Context(), request(files, "app", nil))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got error %v, want %s", tc.reason, err, tc.want)
			}
			if asked.Swap(0) > 0 {
				t.Errorf("%s: the network was asked", tc.reason)
			}
		})
	}
}

// What is no plugin's configuration may name URLs, in whatever form it is.
func TestURLsInOtherFiles(t *testing.T) {
	files := map[string]string{
		"app/kustomization.yaml":   "resources: [cm.yaml]\ntransformers: [d]\nconfigMapGenerator:\n- name: g\n  files: [README.md, logo.bin]\n",
		"app/cm.yaml":              "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {builtin: \"https://example.com/!\"}\n",
		"app/README.md":            "# The builtin page\n\t- see https://example.com/ & * !\n{{ not: yaml\n",
		"app/logo.bin":             "\x00\xff\xfebuiltin https://",
		"app/d/kustomization.yaml": "resources: [../e]\n", "app/e/kustomization.yaml": "resources: [t.yaml]\n",
		"app/e/t.yaml": "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: y}\nprefix: p-\nfieldSpecs: [{path: metadata/name}]\n",
	}
	b, err := Renderer{}.Render(t.Context(), request(files, "app", nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(b); len(got) != 2 || !strings.Contains(got[0], `"name":"p-c"`) {
		t.Errorf("got %q", got)
	}
}

func utf16Of(s string) string {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return string(out)
}
