package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe"
)

// five is a module of five resources.
const five = `terraform {
  required_providers {
    cloud = { source = "plumb-dev/cloud" }
  }
}

variable "name" { type = string }
variable "retries" { default = 3 }

provider "cloud" {
  max_retries = var.retries
}

locals { tags = { Application = var.name } }

resource "cloud_vpc" "main" {
  cidr_block = "10.0.0.0/16"
  tags       = local.tags
}

resource "cloud_subnet" "main" {
  vpc_id     = cloud_vpc.main.id
  cidr_block = "10.0.1.0/24"
  tags       = local.tags
}

resource "cloud_security_group" "main" {
  name   = var.name
  vpc_id = cloud_vpc.main.id

  ingress {
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "cloud_instance" "main" {
  ami                    = "ami-1"
  instance_type          = "small"
  subnet_id              = cloud_subnet.main.id
  vpc_security_group_ids = [cloud_security_group.main.id]
  tags                   = local.tags
}

resource "cloud_secret" "main" {
  name  = var.name
  value = "of ${var.name}"
}
`

// compareModules measures many small modules.
func (r *rig) compareModules(ctx context.Context, t *table) error {
	n := r.o.modules
	say("applying %d modules of 5 resources", n)
	dirs, err := r.applyModules(ctx, n)
	if err != nil {
		return err
	}
	say("checking them with the probe, %d times", r.o.rounds)
	m, err := r.probe(ctx, dirs, probe.Options{})
	if m != nil {
		defer m.prober.Close()
	}
	if err != nil {
		return err
	}
	say("planning them with OpenTofu")
	plans, err := r.planAll(ctx, r.tofu, dirs)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d modules × 5", n)
	t.add(row{what: what, tool: "probe, warm", cost: m.warm})
	t.add(row{what: what, tool: "probe, first check", cost: m.cold, beside: m.warm})
	t.add(row{what: what, tool: "tofu plan -refresh-only", cost: plans, beside: m.warm, cpu: 50, wall: 50})
	t.processes(what, m)
	if err := r.planModulesWithTerraform(ctx, dirs, what, m, t); err != nil {
		return err
	}
	if err := m.prober.Close(); err != nil {
		return err
	}
	return r.compareConfigurations(ctx, dirs, plans, t)
}

func (r *rig) planModulesWithTerraform(ctx context.Context, dirs []string, what string, m *probed, t *table) error {
	if r.terraform == "" || r.o.sample <= 0 {
		return nil
	}
	sample := dirs[:min(len(dirs), r.o.sample)]
	say("planning %d of them with Terraform %s", len(sample), r.version)
	copies, err := r.forTerraform(ctx, sample)
	if err != nil {
		return err
	}
	plans, err := r.planAll(ctx, r.terraform, copies)
	if err != nil {
		return err
	}
	plans.cpu, plans.wall = plans.cpu*time.Duration(len(dirs))/time.Duration(len(sample)), plans.wall*time.Duration(len(dirs))/time.Duration(len(sample))
	tool := "terraform plan -refresh-only"
	if len(sample) < len(dirs) {
		tool += fmt.Sprintf(" (%d, scaled)", len(sample))
	}
	t.add(row{what: what, tool: tool, cost: plans, beside: m.warm, cpu: 50, wall: 50})
	return nil
}

// compareConfigurations measures modules that cannot share processes, since
// each configures its provider differently: as many as there may be processes,
// and three times as many.
func (r *rig) compareConfigurations(ctx context.Context, dirs []string, plans cost, t *table) error {
	const most = 16
	for _, n := range []int{most, 3 * most} {
		if len(dirs) < n {
			return nil
		}
		for i, dir := range dirs[:n] {
			text := fmt.Sprintf("retries = %d\n", 3+i)
			if err := os.WriteFile(filepath.Join(dir, "retries.auto.tfvars"), []byte(text), 0o600); err != nil {
				return err
			}
		}
		say("checking %d modules with as many configurations of the provider", n)
		m, err := r.probe(ctx, dirs[:n], probe.Options{MaxProcesses: most})
		if m != nil {
			defer m.prober.Close()
		}
		if err != nil {
			return err
		}
		part := cost{plans.cpu * time.Duration(n) / time.Duration(len(dirs)), plans.wall * time.Duration(n) / time.Duration(len(dirs))}
		what := fmt.Sprintf("%d modules, each its own configuration", n)
		t.add(row{what: what, tool: fmt.Sprintf("probe, at most %d processes", most), cost: m.warm})
		t.add(row{what: what, tool: "tofu plan (part of the above)", cost: part, beside: m.warm})
		t.processes(what, m)
		if err := m.prober.Close(); err != nil {
			return err
		}
	}
	return nil
}

// applyModules applies the module n times, each with a name of its own.
func (r *rig) applyModules(ctx context.Context, n int) ([]string, error) {
	first, err := r.module("module-0", five, "name = \"app-0\"\n")
	if err != nil {
		return nil, err
	}
	if _, err := r.do(ctx, r.tofu, first, "init", "-no-color"); err != nil {
		return nil, err
	}
	dirs := []string{first}
	for i := 1; i < n; i++ {
		dir, err := r.module(fmt.Sprintf("module-%d", i), five, fmt.Sprintf("name = \"app-%d\"\n", i))
		if err != nil {
			return nil, err
		}
		if err := os.CopyFS(filepath.Join(dir, ".terraform"), os.DirFS(filepath.Join(first, ".terraform"))); err != nil {
			return nil, err
		}
		lock, err := os.ReadFile(filepath.Join(first, ".terraform.lock.hcl"))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, ".terraform.lock.hcl"), lock, 0o600); err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, r.each(dirs, func(dir string) error {
		_, err := r.do(ctx, r.tofu, dir, "apply", "-no-color", "-auto-approve")
		return err
	})
}

func (r *rig) module(name, text, variables string) (string, error) {
	dir := filepath.Join(r.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(text), 0o600); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "terraform.tfvars"), []byte(variables), 0o600)
}

// each does something in all folders, some at once.
func (r *rig) each(dirs []string, do func(dir string) error) error {
	next, errs := make(chan string), make(chan error, len(dirs))
	var workers sync.WaitGroup
	for range r.o.parallel {
		workers.Go(func() {
			for dir := range next {
				if err := do(dir); err != nil {
					errs <- err
				}
			}
		})
	}
	for _, dir := range dirs {
		next <- dir
	}
	close(next)
	workers.Wait()
	close(errs)
	return <-errs
}

// planAll looks for drift by plans; there must be none.
func (r *rig) planAll(ctx context.Context, program string, dirs []string) (cost, error) {
	var mu sync.Mutex
	var total cost
	began := time.Now()
	err := r.each(dirs, func(dir string) error {
		cmd := r.command(ctx, program, dir, "plan", "-refresh-only", "-detailed-exitcode", "-lock=false", "-no-color")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			return err
		}
		// Terraform says 2 where it would only write the state in its own way.
		if err != nil && !(program == r.terraform && bytes.Contains(out, []byte("No changes."))) {
			return fmt.Errorf("plan %s: %w\n%s", dir, err, out)
		}
		mu.Lock()
		total.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		mu.Unlock()
		return nil
	})
	total.wall = time.Since(began)
	return total, err
}

// forTerraform copies modules with states that Terraform understands.
func (r *rig) forTerraform(ctx context.Context, dirs []string) ([]string, error) {
	var copies []string
	for _, dir := range dirs {
		to := dir + "-terraform"
		if err := os.MkdirAll(to, 0o755); err != nil {
			return nil, err
		}
		for _, name := range []string{"main.tf", "terraform.tfvars", "terraform.tfstate"} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			if name == "terraform.tfstate" {
				text = bytes.ReplaceAll(text, []byte("registry.opentofu.org"), []byte("registry.terraform.io"))
				at := bytes.Index(text, []byte(`"terraform_version"`))
				line, rest, _ := strings.Cut(string(text[at:]), "\n")
				_ = line
				text = append(text[:at:at], []byte(fmt.Sprintf("%q: %q,\n%s", "terraform_version", r.version, rest))...)
			}
			if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
				return nil, err
			}
		}
		if _, err := r.do(ctx, r.terraform, to, "init", "-no-color"); err != nil {
			return nil, err
		}
		copies = append(copies, to)
	}
	return copies, nil
}
