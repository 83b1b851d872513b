package run_test

import (
	"archive/zip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opentofu/tofudl"
	"github.com/opentofu/tofudl/mockmirror"

	"github.com/plumb-dev/plumb/internal/driver/tofu/planjson"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/test/tofutest"
)

func TestMasker(t *testing.T) {
	secret := "p<a\"ss\\wörd"
	pem := "-----BEGIN KEY-----\nMIIBVQIBADAN\n-----END KEY-----\n"
	m := run.NewMasker(secret, pem, "abc", "true")
	m.AddSensitive(map[string]any{"a": []any{"inner-secret", "seen"}, "n": json.Number("123456")}, map[string]any{"a": []any{true, false}, "n": true})
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"raw": secret, "JSON": string(quoted), "base64": base64.StdEncoding.EncodeToString([]byte(secret)),
		"quoted": fmt.Sprintf("%q", secret), "line": "MIIBVQIBADAN", "element": "inner-secret", "number": "123456", "whole": pem,
	} {
		got := m.Mask("<" + text + ">")
		if strings.Contains(got, strings.Trim(text, "\"")) || !strings.Contains(got, run.Masked) {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, text := range []string{"abc", "true", "seen", ""} {
		if got := m.Mask(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := (*run.Masker)(nil).Mask("x"); got != "x" {
		t.Errorf("nil masks: %q", got)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"a/tofu": 0o600, "b/terraform": 0o700, "c/tofu": 0o700} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	in := func(names ...string) (path []string) {
		for _, name := range names {
			path = append(path, filepath.Join(dir, name))
		}
		return path
	}
	cases := map[string]struct {
		reason, tool string
		path         []string
		want         string
		kind         error
	}{
		"First":     {"OpenTofu goes before Terraform, wherever it is", "auto", in("a", "b", "c"), "c/tofu", nil},
		"Second":    {"Terraform where there is no other", "", in("a", "b"), "b/terraform", nil},
		"Asked":     {"the one that is asked for", "terraform", in("c", "b"), "b/terraform", nil},
		"None":      {"none at all", "tofu", in("b"), "", run.ErrNotFound},
		"Relative":  {"a folder that depends on where we are is left out", "tofu", []string{"."}, "", run.ErrNotFound},
		"Something": {"no other program is run", "sh", []string{"/bin"}, "", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := run.Find(tc.tool, tc.path)
			if tc.want != "" && got != filepath.Join(dir, tc.want) || tc.want == "" && err == nil || tc.kind != nil && !errors.Is(err, tc.kind) {
				t.Errorf("%s: %q, %v", tc.reason, got, err)
			}
		})
	}
}

// TestDownload gets a signed release from a mirror, once.
func TestDownload(t *testing.T) {
	mirror := mockmirror.NewFromBinary(t, []byte("#!/bin/sh\necho hello\n"))
	d := run.Download{Dir: filepath.Join(t.TempDir(), "tools"), Options: []tofudl.ConfigOpt{
		tofudl.ConfigGPGKey(mirror.GPGKey()), tofudl.ConfigAPIURL(mirror.APIURL()), tofudl.ConfigDownloadMirrorURLTemplate(mirror.DownloadMirrorURLTemplate()),
	}}
	program, err := run.FindOrDownload(t.Context(), "auto", nil, d)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(program); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("%v, %v", info, err)
	}
	d.Options = []tofudl.ConfigOpt{tofudl.ConfigAPIURL("http://127.0.0.1:9")}
	if again, err := run.FindOrDownload(t.Context(), "tofu", nil, d); err != nil || again != program {
		t.Errorf("once more: %q, %v", again, err)
	}
	if _, err := run.FindOrDownload(t.Context(), "terraform", nil, d); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("Terraform: %v", err)
	}
	// Another's key: the release is not taken.
	other := mockmirror.NewFromBinary(t, []byte("other"))
	d.Dir, d.Options = t.TempDir(), []tofudl.ConfigOpt{
		tofudl.ConfigGPGKey(other.GPGKey()), tofudl.ConfigAPIURL(mirror.APIURL()), tofudl.ConfigDownloadMirrorURLTemplate(mirror.DownloadMirrorURLTemplate()),
	}
	if program, err := run.FindOrDownload(t.Context(), "tofu", nil, d); run.KindOf(err) != run.KindRegistry {
		t.Errorf("a release of somebody else's: %q, %v", program, err)
	}
}

// TestOpen refuses what would choose what is executed.
func TestOpen(t *testing.T) {
	folder := run.Folder{Path: filepath.Join(t.TempDir(), "work"), Module: t.TempDir()}
	for _, entry := range []string{"LD_PRELOAD=x", "TF_CLI_ARGS_apply=x", "TF_LOG=trace", "HOME=/root", "TF_REATTACH_PROVIDERS={}", "GIT_CONFIG_COUNT=1", "TF_ENCRYPTION=key_provider \"external\" {}", "nonsense",
		"GIT_ALLOW_PROTOCOL=ext", "GIT_PROTOCOL_FROM_USER=1", "GIT_EXEC_PATH=.", "GIT_TEMPLATE_DIR=.", "GIT_PROXY_COMMAND=/bin/sh", "GIT_TRACE=/tmp/x", "XDG_CONFIG_HOME=.",
		"TF_ENCRYPTION=key_provider \"extern\\u0061l\" \"x\" {}",
	} {
		if _, err := run.Open(folder, run.Config{Program: "/bin/true", Env: []string{entry}}); err == nil {
			t.Errorf("%s is allowed", entry)
		}
	}
	if _, err := run.Open(folder, run.Config{Program: "/bin/true", Env: []string{"AWS_REGION=x", "TF_TOKEN_example_com=x", "TF_ENCRYPTION=x", "GIT_TOKEN=x", "GIT_SSL_CAINFO=/x", "PATH=/bin"}}); err != nil {
		t.Error(err)
	}
	if _, err := run.Open(folder, run.Config{Program: "tofu"}); err == nil {
		t.Error("a program without a path is allowed")
	}
}

// TestCheckAfterInit lets nothing run that was refused.
func TestCheckAfterInit(t *testing.T) {
	b := newBench(t, map[string]string{"main.tf": "resource \"random_pet\" \"it\" {}\n"})
	refused := errors.New("refused")
	checks := 0
	b.config.Check = func() error { checks++; return refused }
	for range 2 { // an init that was refused is done again
		if _, err := b.open().Plan(t.Context(), run.PlanOptions{}); !errors.Is(err, refused) {
			t.Errorf("plan: %v", err)
		}
	}
	if checks != 2 {
		t.Errorf("%d checks", checks)
	}
}

// TestSharedCache initialises folders at once that share a cache of providers,
// from a mirror of folders and from one of archives, as registries have them.
func TestSharedCache(t *testing.T) {
	t.Run("folders", func(t *testing.T) { shareCache(t, newBench(t, nil)) })
	t.Run("archives", func(t *testing.T) {
		b := newBench(t, nil)
		mirror := t.TempDir()
		for _, name := range []string{"random", "null"} {
			pack(t, filepath.Join(b.tools.Mirror, "registry.opentofu.org", "hashicorp", name), filepath.Join(mirror, "registry.opentofu.org", "hashicorp", name))
		}
		b.config.CLIConfig = filepath.Join(t.TempDir(), "rc")
		text := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror)
		if err := os.WriteFile(b.config.CLIConfig, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.fence(mirror)
		data, cache := shareCache(t, b)
		links, err := filepath.Glob(filepath.Join(data, "providers", "*", "hashicorp", "*", "*", "*_*"))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, link := range links {
			if target, err := filepath.EvalSymlinks(link); err == nil && strings.HasPrefix(target, filepath.Join(cache, "store")) {
				found++
			}
		}
		if found != 2 {
			t.Errorf("%d of the providers are in the store: %q", found, links)
		}
	})
}

// pack puts the versions of a provider into archives.
func pack(t *testing.T, from, to string) {
	t.Helper()
	programs, err := filepath.Glob(filepath.Join(from, "*", "*", "terraform-provider-*"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("no provider in %s: %v", from, err)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		platform := filepath.Base(filepath.Dir(program))
		version := filepath.Base(filepath.Dir(filepath.Dir(program)))
		file, err := os.Create(filepath.Join(to, fmt.Sprintf("terraform-provider-%s_%s_%s.zip", filepath.Base(from), version, platform)))
		if err != nil {
			t.Fatal(err)
		}
		archive := zip.NewWriter(file)
		header := &zip.FileHeader{Name: filepath.Base(program)}
		header.SetMode(0o755)
		member, err := archive.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(program)
		if err == nil {
			_, err = member.Write(content)
		}
		if err := errors.Join(err, archive.Close(), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// shareCache plans and applies in several folders at once.
func shareCache(t *testing.T, b *bench) (data, cache string) {
	t.Helper()
	cache = filepath.Join(t.TempDir(), "cache")
	var all sync.WaitGroup
	for i := range 4 {
		one := *b
		one.folder = run.Folder{Path: filepath.Join(t.TempDir(), fmt.Sprint(i)), Module: tofutest.Write(t, map[string]string{"main.tf": "resource \"random_pet\" \"it\" {}\nresource \"null_resource\" \"it\" {}\n"})}
		one.config.PluginCache = cache
		r := one.open()
		data = one.folder.Data()
		all.Go(func() {
			p, err := r.Plan(t.Context(), run.PlanOptions{})
			if err != nil {
				t.Errorf("plan: %v", err)
				return
			}
			if err := r.Apply(t.Context(), p, nil); err != nil {
				t.Errorf("apply: %v", err)
			}
		})
	}
	all.Wait()
	used, err := filepath.Glob(filepath.Join(cache, "cache", "*", "hashicorp", "*"))
	if err != nil || len(used) != 2 {
		t.Errorf("the cache: %v, %v", used, err)
	}
	return data, cache
}

// TestSeed plans and applies an ordinary module, and reads its plans as Plumb's.
func TestSeed(t *testing.T) {
	b := newBench(t, nil)
	b.folder.Module = tofutest.Module(t, "seed")
	// The seed's own provider block has no such argument; an override merges it in.
	b.write("idempotent_override.tf", "provider \"cloud\" {\n  idempotent = true\n}\n")
	bucket, err := b.cloud.Create("bucket", "eu-west-1", map[string]any{"name": "old"})
	if err != nil {
		t.Fatal(err)
	}
	b.config.Variables = map[string]run.Value{
		"adopted_buckets": {Text: fmt.Sprintf("{ old = %q }", bucket.ID)}, "token": {Text: tofutest.Token},
	}
	r := b.open()
	p := b.plan(r, run.PlanOptions{})
	result := planjson.Convert(p.Plan, planjson.Options{})
	counts := result.Plan.Count()
	if counts.Create < 10 || counts.Update != 1 || counts.Delete+counts.Replace != 0 {
		t.Errorf("the first plan: %+v", counts)
	}
	b.apply(r, p, nil)

	// Somebody deletes one thing and changes another.
	var vpc, assets string
	for _, o := range b.cloud.Objects("vpc", "bucket") {
		switch {
		case o.Kind == "vpc":
			vpc = o.ID
		case strings.HasPrefix(fmt.Sprint(o.Body["name"]), "assets"):
			assets = o.ID
		}
	}
	if err := b.cloud.Change(vpc, func(body map[string]any) { body["tags"] = map[string]any{"Name": "other"} }); err != nil {
		t.Fatal(err)
	}
	if err := b.cloud.Delete(assets); err != nil {
		t.Fatal(err)
	}
	p = b.plan(r, run.PlanOptions{})
	result = planjson.Convert(p.Plan, planjson.Options{})
	drifted := false
	for _, s := range result.Plan.Steps {
		if u, ok := s.Change.(plan.Update); ok && strings.HasSuffix(u.Resource.Name, "cloud_vpc.main") {
			drifted = u.Drift
		}
	}
	if !drifted || len(result.Drift) < 2 {
		t.Errorf("the drift: %+v, %+v", result.Drift, result.Plan.Count())
	}
	noPassword(t, r, result)
	b.apply(r, p, nil)
	b.apply(r, b.plan(r, run.PlanOptions{Destroy: true}), nil)
	if left := b.cloud.Objects(); len(left) != 0 {
		t.Errorf("after the destroy: %v", left)
	}
}

// noPassword looks for the password in what may be shown.
func noPassword(t *testing.T, r *run.Runner, result planjson.Result) {
	t.Helper()
	state, err := r.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := r.Outputs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var password string
	if err := json.Unmarshal(outputs["database_password"].Value, &password); err != nil || len(password) != 24 {
		t.Fatalf("the password: %q, %v", password, err)
	}
	said, err := json.Marshal([]any{result, planjson.Resources(state, planjson.Options{}), planjson.Outputs(state, planjson.Options{})})
	if err != nil || strings.Contains(string(said), password) || strings.Contains(r.Masker().Mask(password), password) {
		t.Errorf("the password is shown: %v", err)
	}
}
