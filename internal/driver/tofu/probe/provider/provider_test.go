package provider_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/provider"
	"github.com/plumb-dev/plumb/test/fakecloud"
	"github.com/plumb-dev/plumb/test/tofutest"
)

// running is a provider that is configured, and the cloud that it knows.
type running struct {
	*provider.Process
	schema *provider.Schema
	cloud  tofutest.Server
}

// start starts a version of the fake cloud's provider, or of another one.
func start(t *testing.T, source, version string) *running {
	t.Helper()
	tools, cloud := tofutest.Get(t), tofutest.Cloud(t)
	name := source[strings.LastIndex(source, "/")+1:]
	path := filepath.Join(tools.Mirror, "registry.opentofu.org", source, version, runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-"+name+"_v"+version)
	spawner := provider.NewSpawner()
	t.Cleanup(spawner.Close)
	fence, err := isolate.New(isolate.Options{Mode: isolate.Required})
	if err != nil {
		t.Fatal(err)
	}
	command := provider.Command{Fence: fence, Path: path, Env: append(tools.Env(t), cloud.Env()...), Dir: t.TempDir(), TempDir: t.TempDir()}
	ctx := context.Background()
	schema, err := provider.NewSchemas().Get(ctx, spawner, "hash", command)
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider.Start(spawner, command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	if err := p.Configure(ctx, schema, schema.Provider.Empty(), "1.12.6"); err != nil {
		t.Fatal(err)
	}
	return &running{Process: p, schema: schema, cloud: cloud}
}

// TestConfined has a provider that can reach nothing of Plumb's.
func TestConfined(t *testing.T) {
	r := start(t, "plumb-dev/cloud", "2.0.0")
	status, err := os.ReadFile("/proc/" + r.Pid() + "/status")
	if err != nil || !strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Errorf("the provider is not confined: %v: %s", err, status)
	}
}

func (r *running) create(t *testing.T, kind string, body map[string]any) fakecloud.Object {
	t.Helper()
	o, err := r.cloud.Create(kind, "eu-west-1", body)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (r *running) upgrade(t *testing.T, typeName string, version int64, attributes map[string]any) (*provider.Known, error) {
	t.Helper()
	text, err := json.Marshal(attributes)
	if err != nil {
		t.Fatal(err)
	}
	return r.Upgrade(context.Background(), r.schema, provider.Object{Type: typeName, Version: version, JSON: text})
}

func (r *running) read(t *testing.T, k *provider.Known) *provider.Reading {
	t.Helper()
	reading, err := r.Read(context.Background(), k)
	if err != nil {
		t.Fatal(err)
	}
	return reading
}

func record(o fakecloud.Object) map[string]any {
	return map[string]any{"id": o.ID, "arn": o.Body["arn"], "fqdn": o.Body["fqdn"], "name": "www", "type": "A", "values": []string{"b", "a"}, "ttl": 300}
}

// Both protocols, from the start to a difference.
func TestProtocols(t *testing.T) {
	for source, protocol := range map[string]string{"plumb-dev/cloud": "6", "plumb-dev/cloud5": "5"} {
		t.Run(protocol, func(t *testing.T) {
			r := start(t, source, "2.0.0")
			o := r.create(t, "record", map[string]any{"name": "www", "type": "A", "values": []string{"a", "b"}, "ttl": 300})
			k, err := r.upgrade(t, "cloud_record", 2, record(o))
			if strings.HasSuffix(source, "5") && err != nil {
				k, err = r.upgrade(t, "cloud5_record", 2, record(o))
			}
			if err != nil {
				t.Fatal(err)
			}
			if reading := r.read(t, k); !reading.Same || reading.Gone {
				t.Errorf("got %+v", reading)
			}
			if err := r.cloud.Change(o.ID, func(body map[string]any) { body["ttl"] = 60 }); err != nil {
				t.Fatal(err)
			}
			reading := r.read(t, k)
			if reading.Same || !reading.After.GetAttr("ttl").RawEquals(cty.NumberIntVal(60)) || !reading.Before.GetAttr("ttl").RawEquals(cty.NumberIntVal(300)) {
				t.Errorf("got %+v", reading)
			}
			if err := r.cloud.Delete(o.ID); err != nil {
				t.Fatal(err)
			}
			if reading := r.read(t, k); !reading.Gone || reading.Same {
				t.Errorf("got %+v", reading)
			}
		})
	}
}

func TestUpgrade(t *testing.T) {
	r := start(t, "plumb-dev/cloud", "2.0.0")
	o := r.create(t, "record", map[string]any{"name": "www", "type": "A", "values": []string{"a", "b"}, "ttl": 300})
	for name, c := range map[string]struct {
		version    int64
		change     func(map[string]any)
		same       bool
		wrong      string
		reason     string
		attributes map[string]any
	}{
		"current":           {version: 2, change: func(map[string]any) {}, same: true, reason: "the same"},
		"version 1":         {version: 1, change: func(a map[string]any) { a["ttl"] = "300"; delete(a, "type") }, same: true, reason: "one step"},
		"version 0":         {version: 0, change: func(a map[string]any) { a["ttl"], a["value"] = "300", "b,a"; delete(a, "values"); delete(a, "type") }, same: true, reason: "two steps"},
		"older, and other":  {version: 1, change: func(a map[string]any) { a["ttl"] = "60" }, same: false, reason: "what the state says is compared, not what was read"},
		"newer":             {version: 3, change: func(map[string]any) {}, wrong: "newer", reason: "nobody knows what it means"},
		"removed attribute": {version: 2, change: func(a map[string]any) { a["gone"] = true }, same: true, reason: "OpenTofu strips it as well"},
		"other type":        {version: 2, change: func(a map[string]any) { a["values"] = map[string]any{"x": 1} }, wrong: "upgrade the state", reason: "it cannot be understood"},
	} {
		t.Run(name, func(t *testing.T) {
			attributes := record(o)
			c.change(attributes)
			k, err := r.upgrade(t, "cloud_record", c.version, attributes)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("got %v; want %q: %s", err, c.wrong, c.reason)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v: %s", err, c.reason)
			}
			if reading := r.read(t, k); reading.Same != c.same || reading.Gone {
				t.Errorf("got %+v: %s", reading, c.reason)
			}
		})
	}
	if _, err := r.upgrade(t, "cloud_nothing", 0, nil); err == nil || !strings.Contains(err.Error(), "cloud_nothing") {
		t.Errorf("a type that there is not: %v", err)
	}
}

func TestRealProvider(t *testing.T) {
	r := start(t, "hashicorp/random", "3.9.0")
	k, err := r.upgrade(t, "random_pet", 0, map[string]any{"id": "a-b", "length": 2, "separator": "-", "prefix": nil, "keepers": nil})
	if err != nil {
		t.Fatal(err)
	}
	if reading := r.read(t, k); !reading.Same {
		t.Errorf("got %+v", reading)
	}
}

func TestSensitive(t *testing.T) {
	r := start(t, "plumb-dev/cloud", "2.0.0")
	resource, err := r.schema.Resource("cloud_thing")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path cty.Path
		want bool
	}{
		"attribute":       {cty.GetAttrPath("secret"), true},
		"write-only":      {cty.GetAttrPath("write_only"), true},
		"other":           {cty.GetAttrPath("string"), false},
		"nested":          {cty.GetAttrPath("nested").GetAttr("secret"), true},
		"in a list":       {cty.GetAttrPath("nested_list").IndexInt(3).GetAttr("secret"), true},
		"in a map":        {cty.GetAttrPath("nested_map").IndexString("x").GetAttr("secret"), true},
		"beside it":       {cty.GetAttrPath("nested_list").IndexInt(3).GetAttr("key"), false},
		"in a block":      {cty.GetAttrPath("list_block").IndexInt(0).GetAttr("value"), false},
		"not in a schema": {cty.GetAttrPath("nothing"), false},
	} {
		if got := resource.Block.Sensitive(c.path); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestLate(t *testing.T) {
	r := start(t, "plumb-dev/cloud", "2.0.0")
	o := r.create(t, "record", map[string]any{"name": "www", "values": []string{"a"}})
	k, err := r.upgrade(t, "cloud_record", 2, record(o))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cloud.Inject(fakecloud.Fault{Op: "read", Action: fakecloud.Hang, Times: -1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.Read(ctx, k); !provider.Late(err) || provider.Lost(err) {
		t.Errorf("got %v", err)
	}
	r.cloud.Heal()
	if err := r.cloud.Inject(fakecloud.Fault{Op: "read", Action: fakecloud.Crash}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(context.Background(), k); !provider.Lost(err) || provider.Late(err) {
		t.Errorf("got %v", err)
	}
	if line := r.Panic(context.Background()); !strings.Contains(line, "told the provider to crash") {
		t.Errorf("it says %q", line)
	}
	r.Stop()
	r.Stop()
	if !r.Exited() || r.RSS() != 0 {
		t.Error("it still runs")
	}
}

func TestFind(t *testing.T) {
	const source = "registry.opentofu.org/acme/it"
	platform := runtime.GOOS + "_" + runtime.GOARCH
	install := func(t *testing.T, versions ...string) string {
		dir := t.TempDir()
		for _, version := range versions {
			at := filepath.Join(dir, "providers", source, version, platform)
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"LICENSE", "terraform-provider-item_v1", "terraform-provider-it_v" + version} {
				if err := os.WriteFile(filepath.Join(at, name), nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		return dir
	}
	lock := func(source, version string) string {
		return "# comment\nprovider \"example.com/a/b\" {\n  version = \"9.9.9\"\n}\n\nprovider \"" + source + "\" {\n  version     = \"" + version + "\"\n  constraints = \"1.0.0\"\n  hashes = [\n    \"h1:x\",\n  ]\n}\n"
	}
	for name, c := range map[string]struct {
		versions    []string
		lock, want  string
		wrong, from string
	}{
		"locked":         {versions: []string{"1.0.0", "2.0.0"}, lock: lock(source, "1.0.0"), want: "1.0.0"},
		"only one":       {versions: []string{"2.0.0"}, want: "2.0.0"},
		"not in lock":    {versions: []string{"2.0.0"}, lock: lock("example.com/c/d", "1.0.0"), want: "2.0.0"},
		"which":          {versions: []string{"1.0.0", "2.0.0"}, wrong: "no lock file"},
		"none":           {wrong: "run init"},
		"not that one":   {versions: []string{"2.0.0"}, lock: lock(source, "1.0.0"), wrong: "1.0.0 is not installed"},
		"no version":     {versions: []string{"2.0.0"}, lock: "provider \"" + source + "\" {\n}\n", wrong: "has no version"},
		"hostile lock":   {versions: []string{"2.0.0"}, lock: lock(source, "../../../../x"), wrong: "has no version"},
		"deep lock":      {versions: []string{"2.0.0"}, lock: strings.Repeat("a = [", 100000), want: "2.0.0"},
		"large lock":     {versions: []string{"2.0.0"}, lock: strings.Repeat("#", 2<<20), wrong: "larger"},
		"hostile source": {versions: []string{"2.0.0"}, from: "../../x", wrong: "no source"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), ".terraform.lock.hcl")
			if c.lock != "" {
				if err := os.WriteFile(file, []byte(c.lock), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.from == "" {
				c.from = source
			}
			got, err := provider.Find(install(t, c.versions...), file, c.from)
			switch {
			case c.wrong != "":
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("got %+v, %v; want %q", got, err, c.wrong)
				}
			case err != nil:
				t.Error(err)
			case got.Version != c.want || filepath.Base(got.Path) != "terraform-provider-it_v"+c.want:
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestHashes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "binary")
	h := provider.NewHashes()
	write := func(text string, at time.Time) string {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		hash, err := h.Of(path)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	now := time.Now()
	first := write("one", now)
	if again := write("one", now); again != first {
		t.Error("the same has another hash")
	}
	if other := write("two", now.Add(time.Second)); other == first {
		t.Error("another one has the same hash")
	}
}
