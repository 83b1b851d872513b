package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/demo"
)

// The demo's infrastructure, and what uses it.
const (
	infraName      = "default/infra"
	storefrontName = "storefront"
)

// infrastructureSteps are those of the demo that need OpenTofu or Terraform.
func (d *scenario) infrastructureSteps() []scenarioStep {
	if !d.c.demo(d.options).Infrastructure {
		return nil
	}
	return []scenarioStep{
		{"Infrastructure: what the module infra has made is used by the chart of storefront", d.infraMade},
		{"Commit a change to the module on a branch, look at its plan, merge it: storefront follows", d.infraChanged},
		{"Edit a file of the infrastructure behind Plumb's back, while self-healing is off: it is shown", d.infraEdited},
		{"Turn self-healing on: the file is put right", d.infraHealed},
		{"Delete the file: it is found and made again", d.infraDeleted},
	}
}

func (d *scenario) welcome() string {
	return filepath.Join(d.c.demo(d.options).Files(), "welcome.txt")
}

// infra gives the Application infra as it is.
func (d *scenario) infra(ctx context.Context) (application, error) {
	return d.k.find(ctx, infraName, selection{})
}

// shopName is what the module calls the shop.
func shopName(a application) (string, error) {
	for _, o := range a.Status.Outputs {
		if o.Name == "name" {
			return o.Value, nil
		}
	}
	return "", errors.New("the Application infra shows no output \"name\"")
}

// infraWell says why the Application infra is not well, or what the shop's name is.
func (d *scenario) infraWell(ctx context.Context) (application, string, error) {
	a, err := d.infra(ctx)
	if err != nil {
		return a, "", err
	}
	want := waiting{sync: true, health: true, operation: true}
	if why, _ := want.unmet(a, false); why != "" {
		return a, "", fmt.Errorf("application %s: %s%s", a.key, why, conditionHint(a))
	}
	name, err := shopName(a)
	return a, name, err
}

// storefrontCalled waits until the chart's ConfigMap has a name of the shop.
func (d *scenario) storefrontCalled(ctx context.Context, name string) error {
	return d.poll(ctx, func() error {
		settings, err := d.client.CoreV1().ConfigMaps(storefrontName).Get(ctx, storefrontName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if has := settings.Data["SHOP"]; has != name {
			return fmt.Errorf("the ConfigMap storefront says %q, not %q", has, name)
		}
		return nil
	})
}

// welcomes tells whether the file greets with a name.
func (d *scenario) welcomes(name string) error {
	text, err := os.ReadFile(d.welcome())
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(text), "Welcome to "+name+",") {
		return fmt.Errorf("the file says %q", strings.TrimSpace(string(text)))
	}
	return nil
}

func (d *scenario) infraMade(ctx context.Context) (string, error) {
	a, name, err := d.infraWell(ctx)
	if err != nil {
		return "", err
	}
	if err := errors.Join(d.welcomes(name), d.storefrontCalled(ctx, name)); err != nil {
		return "", err
	}
	tree, err := d.plumb(ctx, 0, "tree", infraName)
	if err != nil {
		return "", err
	}
	d.quote(tree, len(a.Status.Resources)+2)
	for _, resource := range []string{"local_file.welcome", "random_pet.shop", "time_static.opened", "tls_private_key.shop"} {
		if !strings.Contains(tree, resource) {
			return "", fmt.Errorf("plumb tree does not show %s", resource)
		}
	}
	return fmt.Sprintf("the shop is called %s, and the ConfigMap storefront says so", name), nil
}

func (d *scenario) infraChanged(ctx context.Context) (string, error) {
	_, before, err := d.infraWell(ctx)
	if err != nil {
		return "", err
	}
	repository := d.c.demo(d.options).Repository("infra")
	if err := changeFile(filepath.Join(repository, "variables.tf"), "= 2", "= 3"); err != nil {
		return "", err
	}
	if _, err := demo.Git(ctx, repository, "switch", "--quiet", "--create", "longer-name"); err != nil {
		return "", err
	}
	if err := demo.Commit(ctx, repository, "A longer name"); err != nil {
		return "", err
	}
	plan, err := d.plumb(ctx, 0, "plan", infraName, "--revision", "longer-name")
	if err != nil {
		return "", err
	}
	if at := strings.Index(plan, "Plan of"); at >= 0 {
		d.quote(plan[at:], 6)
	}
	if !strings.Contains(plan, "replace random_pet/random_pet.shop") {
		return "", errors.New("plumb plan does not show that random_pet.shop is to be replaced")
	}
	if _, now, err := d.infraWell(ctx); err != nil || now != before {
		return "", fmt.Errorf("the plan has changed something: the shop is called %q, not %q (%w)", now, before, err)
	}
	for _, args := range [][]string{{"switch", "--quiet", "main"}, {"merge", "--quiet", "--ff-only", "longer-name"}} {
		if _, err := demo.Git(ctx, repository, args...); err != nil {
			return "", err
		}
	}
	return d.infraMerged(ctx, repository, before)
}

// infraMerged waits until what was merged is true.
func (d *scenario) infraMerged(ctx context.Context, repository, before string) (string, error) {
	began := time.Now()
	head, err := demo.Git(ctx, repository, "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	name := ""
	err = d.poll(ctx, func() error {
		a, now, err := d.infraWell(ctx)
		switch {
		case err != nil:
			return err
		case a.Status.Sync.Revision != head:
			return fmt.Errorf("the Application is at %s, not at %s", shortRevision(a.Status.Sync.Revision), head[:7])
		case now == before:
			return fmt.Errorf("the shop is still called %s", now)
		}
		name = now
		return d.welcomes(now)
	})
	if err != nil {
		return "", err
	}
	applied := time.Since(began)
	if err := d.storefrontCalled(ctx, name); err != nil {
		return "", err
	}
	history, err := d.plumb(ctx, 0, "history", infraName)
	if err != nil {
		return "", err
	}
	if strings.Count(history, "infra@main") != 2 || !strings.Contains(history, head[:7]) {
		return "", fmt.Errorf("plumb history does not show two syncs:\n%s", history)
	}
	return fmt.Sprintf("merged and applied in %s: the shop is called %s, and the ConfigMap storefront says so after %s", short(applied), name, short(time.Since(began))), nil
}

func (d *scenario) infraEdited(ctx context.Context) (string, error) {
	if _, _, err := d.infraWell(ctx); err != nil {
		return "", err
	}
	if err := d.selfHeal(ctx, false); err != nil {
		return "", err
	}
	if err := os.WriteFile(d.welcome(), []byte("Closed.\n"), 0o644); err != nil {
		return "", err
	}
	found, err := d.infraFound(ctx)
	if err != nil {
		return "", err
	}
	shown, err := d.plumb(ctx, 0, "get", infraName)
	if err != nil {
		return "", err
	}
	d.quote(shown, 2)
	diff, err := d.plumb(ctx, 1, "diff", infraName)
	if err != nil {
		return "", err
	}
	d.quote(diff, 5)
	if !strings.Contains(shown, "OutOfSync") || !strings.Contains(diff, "local_file.welcome") {
		return "", errors.New("plumb get and plumb diff do not show the edited file")
	}
	text, err := os.ReadFile(d.welcome())
	if err != nil || string(text) != "Closed.\n" {
		return "", fmt.Errorf("the file was to be left alone, and is %q (%w)", text, err)
	}
	return "found after " + short(found) + ", and left as it is", nil
}

// infraFound waits until a drift of the infrastructure is shown.
func (d *scenario) infraFound(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := d.poll(ctx, func() error {
		a, err := d.infra(ctx)
		if err == nil && a.Status.Sync.Status != v1alpha1.SyncStatusCodeOutOfSync {
			err = fmt.Errorf("application %s is %s", a.key, a.Status.Sync.Status)
		}
		return err
	})
	return time.Since(began), err
}

func (d *scenario) infraHealed(ctx context.Context) (string, error) {
	began := time.Now()
	if err := d.selfHeal(ctx, true); err != nil {
		return "", err
	}
	err := d.poll(ctx, func() error {
		_, name, err := d.infraWell(ctx)
		if err != nil {
			return err
		}
		return d.welcomes(name)
	})
	if err != nil {
		return "", err
	}
	healed := time.Since(began)
	if _, err := d.plumb(ctx, 0, "diff", infraName); err != nil {
		return "", err
	}
	return "healed after " + short(healed) + ": nothing differs", nil
}

func (d *scenario) infraDeleted(ctx context.Context) (string, error) {
	_, name, err := d.infraWell(ctx)
	if err != nil {
		return "", err
	}
	if err := os.Remove(d.welcome()); err != nil {
		return "", err
	}
	began := time.Now()
	found, healed := time.Duration(0), time.Duration(0)
	err = d.poll(ctx, func() error {
		a, err := d.infra(ctx)
		if err != nil {
			return err
		}
		if found == 0 && a.Status.Sync.Status == v1alpha1.SyncStatusCodeOutOfSync {
			found = time.Since(began)
		}
		if err := d.welcomes(name); err != nil {
			return err
		}
		if healed == 0 {
			healed = time.Since(began)
		}
		_, _, err = d.infraWell(ctx)
		return err
	})
	if err != nil {
		return "", err
	}
	if found == 0 {
		return "", errors.New("the Application was never shown as OutOfSync")
	}
	return fmt.Sprintf("found after %s, there again after %s", short(found), short(healed)), nil
}

// selfHeal turns self-healing of the infrastructure on or off.
func (d *scenario) selfHeal(ctx context.Context, on bool) error {
	patch := fmt.Sprintf(`{"spec":{"syncPolicy":{"automated":{"selfHeal":%t}}}}`, on)
	namespace, name, _ := strings.Cut(infraName, "/")
	_, err := d.k.resource(v1alpha1.Group).Namespace(namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "plumb-cli"})
	if err != nil {
		return fmt.Errorf("turn self-healing %s: %w", map[bool]string{true: "on", false: "off"}[on], err)
	}
	return nil
}

// plumb runs a command as a user would, and gives what it prints.
func (d *scenario) plumb(ctx context.Context, code int, args ...string) (string, error) {
	var out, problem bytes.Buffer
	env := d.c.env
	env.NoColor, env.CacheDir = true, filepath.Join(d.options.dataDir, "cache") // nothing is left behind
	got := run(ctx, append(args, "--data-dir", d.options.dataDir, "--kubeconfig", d.local.main.Kubeconfig()), Streams{In: strings.NewReader(""), Out: &out, Err: &problem}, env)
	if got != code {
		return "", fmt.Errorf("plumb %s: exit code %d, not %d: %s", strings.Join(args, " "), got, code, strings.TrimSpace(problem.String()+out.String()))
	}
	return out.String(), nil
}

// quote shows the first lines of what a command has printed.
func (d *scenario) quote(text string, most int) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for _, line := range lines[:min(most, len(lines))] {
		fmt.Fprintf(d.c.streams.Out, "   %s %s\n", d.p.dim("│"), line)
	}
	if n := len(lines) - most; n > 0 {
		fmt.Fprintf(d.c.streams.Out, "   %s … %s\n", d.p.dim("│"), plural(n, "more line"))
	}
}

func short(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

// changeFile replaces a text in a file once.
func changeFile(path, from, to string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		return fmt.Errorf("%s has no %q", filepath.Base(path), from)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}
