package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
)

// large is a module of one resource, many times.
type large struct {
	name, module string
	// more is the state of one more like the first, which is made in the cloud
	// without OpenTofu.
	more func(ctx context.Context, r *rig, i int, first map[string]any) (map[string]any, error)
}

// larges are a resource that is read from the cloud, and one whose provider
// only says what it is told, which shows what asking itself takes.
var larges = []large{
	{"cloud_record", `terraform {
  required_providers {
    cloud = { source = "plumb-dev/cloud" }
  }
}

variable "n" { type = number }

resource "cloud_record" "all" {
  count  = var.n
  name   = "record-${count.index}"
  values = ["10.0.0.1", "10.0.0.2"]
  ttl    = 300
}
`, moreRecord},
	{"random_id", `terraform {
  required_providers {
    random = { source = "hashicorp/random" }
  }
}

variable "n" { type = number }

resource "random_id" "all" {
  count       = var.n
  byte_length = 8
}
`, func(_ context.Context, _ *rig, _ int, first map[string]any) (map[string]any, error) {
		return first, nil
	}},
}

// compareLarge measures large states of one size.
func (r *rig) compareLarge(ctx context.Context, n int, t *table) error {
	for _, l := range larges {
		if err := r.compareOne(ctx, l, n, t); err != nil {
			return fmt.Errorf("%d × %s: %w", n, l.name, err)
		}
	}
	return nil
}

func (r *rig) compareOne(ctx context.Context, l large, n int, t *table) error {
	say("making a state of %d %s", n, l.name)
	dir, err := r.largeModule(ctx, l, n)
	if err != nil {
		return err
	}
	say("checking it with the probe, %d times", r.o.rounds)
	m, err := r.probe(ctx, []string{dir}, probe.Options{})
	if m != nil {
		defer m.prober.Close()
	}
	if err != nil {
		return err
	}
	say("planning it with OpenTofu")
	plans, err := r.planAll(ctx, r.tofu, []string{dir})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("1 module × %d %s", n, l.name)
	t.add(row{what: what, tool: "probe, warm", cost: m.warm})
	t.add(row{what: what, tool: "probe, first check", cost: m.cold, beside: m.warm})
	t.add(row{what: what, tool: "tofu plan -refresh-only", cost: plans, beside: m.warm, cpu: 10})
	if err := r.planLargeWithTerraform(ctx, dir, what, m, t); err != nil {
		return err
	}
	t.processes(what, m)
	return m.prober.Close()
}

func (r *rig) planLargeWithTerraform(ctx context.Context, dir, what string, m *probed, t *table) error {
	if r.terraform == "" {
		return nil
	}
	say("planning it with Terraform %s", r.version)
	copies, err := r.forTerraform(ctx, []string{dir})
	if err != nil {
		return err
	}
	plans, err := r.planAll(ctx, r.terraform, copies)
	if err != nil {
		return err
	}
	t.add(row{what: what, tool: "terraform plan -refresh-only", cost: plans, beside: m.warm, cpu: 10})
	return nil
}

// largeModule applies one resource, and writes a state with many like it, which
// are made in the cloud without OpenTofu.
func (r *rig) largeModule(ctx context.Context, l large, n int) (string, error) {
	dir, err := r.module(fmt.Sprintf("large-%s-%d", l.name, n), l.module, "n = 1\n")
	if err != nil {
		return "", err
	}
	for _, args := range [][]string{{"init", "-no-color"}, {"apply", "-no-color", "-auto-approve"}} {
		if _, err := r.do(ctx, r.tofu, dir, args...); err != nil {
			return "", err
		}
	}
	path := filepath.Join(dir, "terraform.tfstate")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var state map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&state); err != nil {
		return "", err
	}
	resource := state["resources"].([]any)[0].(map[string]any)
	first := resource["instances"].([]any)[0].(map[string]any)
	instances := make([]any, n)
	instances[0] = first
	if err := r.fill(ctx, l, instances, first); err != nil {
		return "", err
	}
	resource["instances"] = instances
	if text, err = json.MarshalIndent(state, "", "  "); err != nil {
		return "", err
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "terraform.tfvars"), []byte(fmt.Sprintf("n = %d\n", n)), 0o600)
}

// fill makes all instances but the first.
func (r *rig) fill(ctx context.Context, l large, instances []any, first map[string]any) error {
	next, errs := make(chan int), make(chan error, len(instances))
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for i := range next {
				attributes, err := l.more(ctx, r, i, first["attributes"].(map[string]any))
				if err != nil {
					errs <- err
				}
				instance := maps.Clone(first)
				instance["attributes"], instance["index_key"] = attributes, i
				instances[i] = instance
			}
		})
	}
	for i := 1; i < len(instances); i++ {
		next <- i
	}
	close(next)
	workers.Wait()
	close(errs)
	return <-errs
}

func moreRecord(ctx context.Context, r *rig, i int, first map[string]any) (map[string]any, error) {
	body := maps.Clone(first)
	for _, computed := range []string{"id", "arn", "fqdn"} {
		delete(body, computed)
	}
	body["name"] = fmt.Sprintf("record-%d", i)
	var made map[string]any
	if err := r.cloud.call(ctx, http.MethodPost, "/v1/eu-west-1/record", body, &made); err != nil {
		return nil, err
	}
	own := maps.Clone(first)
	for name := range own {
		if value, ok := made[name]; ok {
			own[name] = value
		}
	}
	return own, nil
}
