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

// many is a module of one resource, many times.
const many = `terraform {
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
`

// compareLarge measures one large state.
func (r *rig) compareLarge(ctx context.Context, n int, t *table) error {
	say("making a state of %d resources", n)
	dir, err := r.largeModule(ctx, n)
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
	what := fmt.Sprintf("1 module × %d", n)
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
func (r *rig) largeModule(ctx context.Context, n int) (string, error) {
	dir, err := r.module(fmt.Sprintf("large-%d", n), many, "n = 1\n")
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
	if err := r.fill(ctx, instances, first); err != nil {
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
func (r *rig) fill(ctx context.Context, instances []any, first map[string]any) error {
	next, errs := make(chan int), make(chan error, len(instances))
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for i := range next {
				instance, err := r.instance(ctx, i, first)
				if err != nil {
					errs <- err
				}
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

// instance creates an object as the provider would, and writes its state.
func (r *rig) instance(ctx context.Context, i int, first map[string]any) (map[string]any, error) {
	attributes := first["attributes"].(map[string]any)
	body := maps.Clone(attributes)
	for _, computed := range []string{"id", "arn", "fqdn"} {
		delete(body, computed)
	}
	body["name"] = fmt.Sprintf("record-%d", i)
	var made map[string]any
	if err := r.cloud.call(ctx, http.MethodPost, "/v1/eu-west-1/record", body, &made); err != nil {
		return nil, err
	}
	instance, own := maps.Clone(first), maps.Clone(attributes)
	for name := range own {
		if value, ok := made[name]; ok {
			own[name] = value
		}
	}
	instance["attributes"], instance["index_key"] = own, i
	return instance, nil
}
