package tofu_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/driver/drivertest"
	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/test/tofutest"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{New: func(t *testing.T) drivertest.Setup {
		s := newStage(t)
		return drivertest.Setup{
			Driver: bundled{s.driver, s},
			Target: func(o driver.Owner) driver.Target { return target(o) },
			Object: network,
			World:  world{s.cloud},
			Secret: func(name, value string) render.Object {
				return object("cloud_secret", name, fmt.Sprintf("name = %q\nvalue = %q", name, value))
			},
			Invalid:   func(name string) render.Object { return object("cloud_vpc", name, `cidr_block = "300.0.0.0/99"`) },
			Whole:     true,
			Unclaimed: true,
		}
	}, Patience: time.Minute})
}

// stage is a driver with a cloud.
type stage struct {
	t      testing.TB
	tools  tofutest.Tools
	cloud  tofutest.Server
	states *memoryStates
	dir    string
	driver *tofu.Driver
	// patience of the driver at its end, and its log.
	patience time.Duration
	log      *slog.Logger
	// path is where the program is; that of the tools if empty.
	path string
	// writable is a folder that all modules may write.
	writable string
}

func newStage(t testing.TB) *stage {
	t.Helper()
	s := &stage{t: t, tools: tofutest.Get(t), cloud: tofutest.Cloud(t), states: newStates(), dir: t.TempDir()}
	s.start()
	t.Cleanup(func() { s.driver.Close() })
	return s
}

// start starts a driver that remembers nothing but what is in the folder.
func (s *stage) start() {
	s.t.Helper()
	s.states.mu.Lock()
	s.states.process++
	s.states.mu.Unlock()
	d, err := tofu.New(s.options())
	if err != nil {
		s.t.Fatal(err)
	}
	s.driver = d
}

func (s *stage) options() tofu.Options {
	return tofu.Options{
		Dir: s.dir, States: s.states, Path: []string{cmp.Or(s.path, strings.TrimSuffix(s.tools.Tofu, "/tofu"))},
		Env:       append([]string{"PATH=" + os.Getenv("PATH")}, s.cloud.Env()...),
		Isolation: s.isolation(), CLIConfig: s.tools.CLIConfig(s.t), Interval: 200 * time.Millisecond, Patience: cmp.Or(s.patience, 3*time.Second), Log: s.log,
	}
}

func (s *stage) isolation() isolate.Options {
	o := isolate.Options{Mode: isolate.Required, Readable: []string{s.tools.Tofu}}
	if s.writable != "" {
		o.Writable = []string{s.writable}
	}
	return o
}

func target(o driver.Owner) driver.Target {
	return driver.Target{Owner: o, Server: v1alpha1.InClusterServer, Namespace: "shop"}
}

func network(name, value string) render.Object {
	return object("cloud_vpc", name, fmt.Sprintf("cidr_block = \"10.0.0.0/16\"\ntags = { Name = %q, value = %q }", name, value))
}

// object is a resource of a module, as the suite's bundles have it.
func object(kind, name, body string) render.Object {
	text := fmt.Sprintf("resource %q %q {\n%s\n}\n", kind, name, body)
	sum := sha256.Sum256([]byte(text))
	return render.Object{Ref: plan.Ref{Kind: kind, Name: kind + "." + name}, JSON: []byte(text), Hash: hex.EncodeToString(sum[:])}
}

const providers = `
terraform {
  required_providers {
    cloud = { source = "plumb-dev/cloud" }
  }
}
`

// bundled makes modules of the suite's bundles of objects.
type bundled struct {
	*tofu.Driver
	stage *stage
}

func (b bundled) desired(d driver.Desired) driver.Desired {
	if d.Deleting && len(d.Bundle.Objects) == 0 {
		return d // what was kept has to do
	}
	text := providers
	for _, o := range d.Bundle.Objects {
		text += string(o.JSON)
	}
	d.Bundle = module(map[string]string{"main.tf": text})
	d.Drift = drift(d.Drift)
	return d
}

func drift(p *v1alpha1.DriftPolicy) *v1alpha1.DriftPolicy {
	if p == nil {
		p = &v1alpha1.DriftPolicy{}
	}
	p = p.DeepCopy()
	p.Interval = "200ms"
	return p
}

func (b bundled) Compare(ctx context.Context, d driver.Desired) (driver.Comparison, error) {
	return b.Driver.Compare(ctx, b.desired(d))
}

func (b bundled) Apply(ctx context.Context, a driver.Apply, report func(driver.Result)) {
	a.Desired = b.desired(a.Desired)
	b.Driver.Apply(ctx, a, report)
}

// module is the bundle of some files.
func module(files map[string]string) render.Bundle {
	m := &render.Module{Files: map[string][]byte{}, Dir: "."}
	sum := sha256.New()
	for name, text := range files {
		m.Files[name] = []byte(text)
	}
	fmt.Fprint(sum, files) // fmt sorts the keys
	return render.Bundle{Driver: render.TofuDriver, Module: m, Hash: hex.EncodeToString(sum.Sum(nil))}
}

// world is the fake cloud as the suite sees it.
type world struct{ cloud tofutest.Server }

func (w world) find(ref plan.Ref) (id, value string, ok bool) {
	name := strings.TrimPrefix(ref.Name, ref.Kind+".")
	for _, o := range w.cloud.Objects() {
		tags, _ := o.Body["tags"].(map[string]any)
		if o.Body["name"] == name {
			return o.ID, fmt.Sprint(o.Body["value"]), true
		}
		if tags["Name"] == name {
			return o.ID, fmt.Sprint(tags["value"]), true
		}
	}
	return "", "", false
}

func (w world) Edit(t *testing.T, ref plan.Ref, value string) {
	t.Helper()
	id, _, ok := w.find(ref)
	if !ok {
		t.Fatalf("%s does not exist", ref.Name)
	}
	if err := w.cloud.Change(id, func(body map[string]any) {
		if tags, ok := body["tags"].(map[string]any); ok {
			tags["value"] = value
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func (w world) Delete(t *testing.T, ref plan.Ref) {
	t.Helper()
	id, _, ok := w.find(ref)
	if !ok {
		t.Fatalf("%s does not exist", ref.Name)
	}
	if err := w.cloud.Delete(id); err != nil {
		t.Fatal(err)
	}
}

func (w world) Value(t *testing.T, ref plan.Ref) (string, bool) {
	t.Helper()
	_, value, ok := w.find(ref)
	return value, ok
}
