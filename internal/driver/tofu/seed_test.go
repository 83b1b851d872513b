package tofu_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	rendertofu "github.com/plumb-dev/plumb/internal/render/tofu"
	"github.com/plumb-dev/plumb/internal/source/memtree"
	"github.com/plumb-dev/plumb/test/tofutest"
)

// seeded is the module of an ordinary shape, as it comes from a repository.
func seeded(t *testing.T, vars map[string]string) driver.Desired {
	t.Helper()
	dir := tofutest.Module(t, "seed")
	files := map[string]string{"README.md": "# Infrastructure\n"}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		files["live/production/"+filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := rendertofu.Renderer{}.Render(t.Context(), render.Request{AppName: "infra", Input: render.Input{
		Tree: memtree.New(files), Path: "live/production",
		Source: v1alpha1.ApplicationSource{Path: "live/production", Tofu: &v1alpha1.ApplicationSourceTofu{Vars: vars}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return driver.Desired{Target: target(owner), Bundle: b, Drift: &v1alpha1.DriftPolicy{Interval: "200ms"}}
}

// count puts a program between that counts what the program is told to do.
func (s *stage) count() func(operation string) int {
	s.t.Helper()
	s.driver.Close()
	dir := s.t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho \"$1\" >>%s/log\nexec %s \"$@\"\n", dir, s.tools.Tofu)
	if err := os.WriteFile(filepath.Join(dir, "tofu"), []byte(script), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.path, s.writable = dir, dir
	s.start()
	return func(operation string) int {
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return strings.Count("\n"+string(text), "\n"+operation+"\n")
	}
}

// TestSeed holds a module of an ordinary shape true: networks, machines, modules,
// for_each, dynamic blocks, data sources, moved, import.
func TestSeed(t *testing.T) {
	s := calm(t)
	ran := s.count()
	d := seeded(t, nil)
	c := s.compare(d)
	got := steps(c)
	for _, name := range []string{
		"module.network.cloud_vpc.main", `module.network.cloud_subnet.public["eu-west-1a"]`, "module.network.cloud_subnet.private[2]",
		`module.service["web"].cloud_security_group.this`, `module.service["api"].cloud_instance.this[1]`, "cloud_bucket.assets",
		"random_password.database", "cloud_secret.database", `cloud_record.service["web"]`,
	} {
		if !slices.Contains(got, "create "+name) {
			t.Errorf("the plan lacks %s: %q", name, got)
		}
	}
	if len(got) != 16+2 {
		t.Errorf("the plan has %d steps: %q", len(got), got)
	}
	s.good(s.apply(d, c, false))
	s.inSync(d)
	s.accounted()
	if o := s.compare(d).Outputs; !o["database_password"].Sensitive || len(o["addresses"].JSON) < 10 {
		t.Errorf("the outputs are %v", o)
	}
	s.probed(d, ran)
	s.seedDrifts(d)
	s.seedMoves()
	d.Deleting = true
	s.good(s.apply(d, s.compare(d), true))
	s.inSync(d)
	s.accounted()
}

// probed sees that providers look at everything, and the program at nothing.
func (s *stage) probed(d driver.Desired, ran func(string) int) {
	s.t.Helper()
	s.eventually("providers look", func() bool {
		s.compare(d)
		return len(s.driver.Processes()) > 0
	})
	// After an apply a plan looks whether it stays, and another one judges what the
	// providers tell of it otherwise than they did.
	plans, reads := ran("plan"), s.cloud.Stats()["read/vpc"]
	s.eventually("everything is looked at again and again without a plan", func() bool {
		s.inSync(d)
		if n := ran("plan"); n != plans {
			plans, reads = n, s.cloud.Stats()["read/vpc"]
		}
		return s.cloud.Stats()["read/vpc"] >= reads+3
	})
}

func (s *stage) named(kind, name string) string {
	s.t.Helper()
	for _, o := range s.cloud.Objects(kind) {
		tags, _ := o.Body["tags"].(map[string]any)
		if o.Body["name"] == name || tags["Name"] == name {
			return o.ID
		}
	}
	s.t.Fatalf("there is no %s %s", kind, name)
	return ""
}

func (s *stage) edit(id string, change func(map[string]any)) {
	s.t.Helper()
	if err := s.cloud.Change(id, change); err != nil {
		s.t.Fatal(err)
	}
}

// seedDrifts changes things out of band; what the module ignores is no change.
func (s *stage) seedDrifts(d driver.Desired) {
	s.t.Helper()
	s.edit(s.named("security_group", "api-sg"), func(b map[string]any) { b["ingress"] = []any{} })
	s.edit(s.named("instance", "api-0"), func(b map[string]any) { b["instance_type"] = "t3.large" })
	if err := s.cloud.Delete(s.named("instance", "api-1")); err != nil {
		s.t.Fatal(err)
	}
	bucket := s.cloud.Objects("bucket")[0]
	s.edit(bucket.ID, func(b map[string]any) { b["labels"].(map[string]any)["Owner"] = "somebody" })
	want := map[string]driver.Cause{
		`module.service["api"].cloud_security_group.this`: driver.CauseDrift,
		`module.service["api"].cloud_instance.this[0]`:    driver.CauseDrift,
		`module.service["api"].cloud_instance.this[1]`:    driver.CauseDeleted,
	}
	var c driver.Comparison
	s.eventually("the drift is found", func() bool {
		c = s.compare(d)
		return len(c.Plan.Steps) >= len(want)
	})
	for _, r := range c.Resources {
		if cause, ok := want[r.Ref.Name]; ok && r.Cause != cause {
			s.t.Errorf("%s differs for %q, not %q", r.Ref.Name, r.Cause, cause)
		}
		if r.Ref.Name == "cloud_bucket.assets" && r.Sync != driver.Synced {
			s.t.Error("what the module ignores is a change")
		}
	}
	s.good(s.apply(d, c, true))
	s.inSync(d)
	s.accounted()
}

// seedMoves has the state know two resources by the names that they once had, and
// adopts a bucket.
func (s *stage) seedMoves() {
	s.t.Helper()
	s.rename("module.network", "cloud_vpc", "main", "")
	bucket, err := s.cloud.Create("bucket", "eu-west-1", map[string]any{"name": "old-one", "versioning": false, "storage_class": "cold"})
	if err != nil {
		s.t.Fatal(err)
	}
	d := seeded(s.t.(*testing.T), map[string]string{"adopted_buckets": fmt.Sprintf(`{ old-one = %q }`, bucket.ID)})
	c := s.planned(d, "update module.network.cloud_vpc.main", `update cloud_bucket.adopted["old-one"]`)
	for _, st := range c.Plan.Steps {
		u := st.Change.(plan.Update)
		if u.From == "" && u.Import != bucket.ID {
			s.t.Errorf("%s: neither moved nor imported: %+v", u.Resource.Name, u)
		}
	}
	for _, r := range c.Resources {
		if r.Ref.Name == "cloud_vpc.main" {
			s.t.Errorf("what is moved is shown twice: %+v", r)
		}
	}
	s.good(s.apply(d, c, false))
	s.inSync(d)
	s.good(s.apply(seeded(s.t.(*testing.T), nil), s.compare(seeded(s.t.(*testing.T), nil)), true)) // the bucket is destroyed
}

// rename gives a resource of the state another module.
func (s *stage) rename(module, kind, name, to string) {
	s.t.Helper()
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	var doc map[string]any
	err := json.Unmarshal(s.states.states[theState], &doc)
	found := false
	resources, _ := doc["resources"].([]any)
	for _, r := range resources {
		r := r.(map[string]any)
		if r["module"] == module && r["type"] == kind && r["name"] == name {
			found = true
			if delete(r, "module"); to != "" {
				r["module"] = to
			}
		}
	}
	doc["serial"] = doc["serial"].(float64) + 1
	text, marshal := json.Marshal(doc)
	if err = errors.Join(err, marshal); err != nil || !found {
		s.t.Fatalf("the state has no such resource: %v", err)
	}
	s.states.states[theState] = text
}
