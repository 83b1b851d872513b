package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/bench/harness"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// shared is the engine that all tests look at. A test binary has one TestMain,
// so this is the one place where it can live.
var shared world

// world is a running Plumb and the ways to it.
type world struct {
	dir    string
	binary string
	engine *harness.Engine
	err    error

	starting sync.Mutex
	mu       sync.Mutex
	kube     kubernetes.Interface
}

const (
	patience = 60 * time.Second
	interval = 100 * time.Millisecond
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "plumb-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shared.dir = dir
	shared.binary, shared.err = plumbBinary()
	defer func() {
		if shared.engine != nil {
			_ = shared.engine.Stop()
		}
	}()
	return kubetest.Run(m, kubetest.WithControllers())
}

// plumbBinary is the whole program: what the other tests take for a control
// plane, or what "make build" makes.
func plumbBinary() (string, error) {
	binary := os.Getenv("PLUMB_TEST_BINARY")
	if filepath.Base(binary) != "plumb" {
		binary = filepath.Join("..", "..", "bin", "plumb")
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("these tests look at the built program: run \"make build\" first: %w", err)
	}
	return binary, nil
}

// plumb starts the engine, if it does not run yet.
func plumb(t *testing.T) *world {
	t.Helper()
	shared.starting.Lock()
	defer shared.starting.Unlock()
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if shared.engine == nil {
		shared.start(t)
	}
	return &shared
}

func (w *world) start(t *testing.T) {
	t.Helper()
	var err error
	w.engine, err = harness.StartEngine(harness.EngineOptions{
		Binary: w.binary, Dir: w.dir, Kubeconfig: kubetest.Kubeconfig(t),
		Args: []string{"--poll-interval", "2s", "--log-level", "debug"},
		Env:  append(w.toolFiles(t), "GIT_CONFIG_GLOBAL="+w.gitConfig()),
	})
	if err != nil {
		w.err = err
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.engine.AwaitReady(ctx); err != nil {
		t.Fatalf("%v\n%s", err, harness.Tail(w.engine.Log, 20))
	}
}

// gitConfig is the engine's user's own Git configuration.
func (w *world) gitConfig() string { return filepath.Join(w.dir, "gitconfig") }

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("exit code %d\n--- stdout\n%s--- stderr\n%s", o.code, o.stdout, o.stderr)
}

// command runs a program against the control plane.
func (w *world) command(t *testing.T, stdin, program string, args ...string) outcome {
	t.Helper()
	// Not the test's own context: it is done when the test tidies up.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(harness.GitEnvironment(w.dir), "KUBECONFIG="+kubetest.Kubeconfig(t))
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %s: %v", filepath.Base(program), strings.Join(args, " "), err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// plumb runs a command of plumb, whatever comes of it.
func (w *world) plumb(t *testing.T, args ...string) outcome {
	t.Helper()
	return w.command(t, "", w.binary, args...)
}

// kubectl runs a command that must succeed.
func (w *world) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	o := w.command(t, stdin, "kubectl", args...)
	if o.code != 0 {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), o)
	}
	return o.stdout
}

// exists tells whether kubectl finds an object.
func (w *world) exists(t *testing.T, args ...string) bool {
	t.Helper()
	o := w.command(t, "", "kubectl", append([]string{"get", "--ignore-not-found", "-o", "name"}, args...)...)
	return o.code == 0 && strings.TrimSpace(o.stdout) != ""
}

// value is a field of an object, or empty.
func (w *world) value(t *testing.T, path string, args ...string) string {
	t.Helper()
	return w.command(t, "", "kubectl", append([]string{"get", "--ignore-not-found", "-o", "jsonpath={" + path + "}"}, args...)...).stdout
}

// eventually waits for something that must come.
func eventually(t *testing.T, what string, ok func() (done bool, now string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		done, now := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s; it is\n%s\nthe engine's log ends with\n%s", what, patience, now, harness.Tail(shared.engine.Log, 15))
		}
		time.Sleep(interval)
	}
}

// app is the part of an Application that the tests look at.
type app struct {
	Metadata struct {
		Name, Namespace   string
		DeletionTimestamp *string
	}
	Status struct {
		Sync   struct{ Status, Revision string }
		Health struct {
			Status string
		}
		Conditions     []struct{ Type, Message string }
		OperationState *struct{ Phase, Message string }
		History        []struct{ Revision string }
		Resources      []struct{ Kind, Name, Status string }
	}
}

func (a app) String() string {
	text, _ := json.MarshalIndent(a.Status, "", "  ")
	return string(text)
}

// condition is the message of a condition, and whether there is one.
func (a app) condition(kind string) (string, bool) {
	for _, c := range a.Status.Conditions {
		if c.Type == kind {
			return c.Message, true
		}
	}
	return "", false
}

func (a app) is(sync, health string) bool {
	return a.Status.Sync.Status == sync && a.Status.Health.Status == health
}

// app reads an Application of plumb.dev, or of the group given with its name.
func (w *world) app(t *testing.T, namespace, name string) app {
	t.Helper()
	group := "plumb.dev"
	if g, rest, ok := strings.Cut(name, "/"); ok {
		group, name = g, rest
	}
	var a app
	path := fmt.Sprintf("/apis/%s/v1alpha1/namespaces/%s/applications/%s", group, namespace, name)
	text, err := w.client(t).Discovery().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
	if apierrors.IsNotFound(err) {
		return a
	}
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// client is for what is asked again and again; kubectl takes too long for that.
func (w *world) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kube == nil {
		config := kubetest.Config(t)
		config.QPS, config.Burst = -1, -1
		var err error
		if w.kube, err = kubernetes.NewForConfig(config); err != nil {
			t.Fatal(err)
		}
	}
	return w.kube
}

// await waits until an Application is as told.
func (w *world) await(t *testing.T, namespace, name, sync, health string) app {
	t.Helper()
	var a app
	eventually(t, name+" is "+sync+" and "+health, func() (bool, string) {
		a = w.app(t, namespace, name)
		return a.is(sync, health), a.String()
	})
	return a
}

// declare makes Applications and other objects exist.
func (w *world) declare(t *testing.T, namespace string, manifests ...string) {
	t.Helper()
	w.kubectl(t, strings.Join(manifests, "\n---\n"), "apply", "-n", namespace, "-f", "-")
}

// application is a manifest of plumb.dev that syncs, prunes and heals by itself.
// change may be nil.
func application(name, repo, path, destination string, change func(spec map[string]any)) string {
	spec := map[string]any{
		"source":      map[string]any{"repoURL": repo, "path": path, "targetRevision": "main"},
		"destination": map[string]any{"name": "in-cluster", "namespace": destination},
		"syncPolicy":  map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}},
	}
	if change != nil {
		change(spec)
	}
	return manifest("plumb.dev/v1alpha1", "Application", name, map[string]any{"spec": spec})
}

// manifest is an object in YAML. fields may hold "metadata".
func manifest(apiVersion, kind, name string, fields map[string]any) string {
	meta := map[string]any{"name": name}
	obj := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": meta}
	for k, v := range fields {
		if more, ok := v.(map[string]any); ok && k == "metadata" {
			for field, value := range more {
				meta[field] = value
			}
			continue
		}
		obj[k] = v
	}
	text, err := yaml.Marshal(obj)
	if err != nil {
		panic(err) // a programming error of the test
	}
	return string(text)
}

// configMap is a manifest with one value.
func configMap(name, value string) string {
	return manifest("v1", "ConfigMap", name, map[string]any{"data": map[string]any{"value": value}})
}

// deployment is a manifest of one replica.
func deployment(name, image string, annotations map[string]any) string {
	labels := map[string]any{"app": name}
	return manifest("apps/v1", "Deployment", name, map[string]any{
		"metadata": map[string]any{"annotations": annotations},
		"spec": map[string]any{
			"replicas": 1, "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "main", "image": image}}},
			},
		},
	})
}

// repository is a Git repository with a work tree.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T, files map[string]string) *repository {
	t.Helper()
	r := &repository{t: t, dir: filepath.Join(t.TempDir(), "repo")}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "-q", "-b", "main")
	r.commit(files)
	return r
}

func (r *repository) url() string { return "file://" + r.dir }

func (r *repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{
		"-C", r.dir, "-c", "user.name=Dev", "-c", "user.email=dev@plumb.dev", "-c", "core.compression=1",
	}, args...)...)
	cmd.Env = harness.GitEnvironment(r.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files (empty content removes one, "-> PATH" makes a symbolic
// link) and gives the new commit.
func (r *repository) commit(files map[string]string) string {
	r.t.Helper()
	for _, name := range slices.Sorted(keys(files)) {
		path, content := filepath.Join(r.dir, name), files[name]
		if err := os.RemoveAll(path); err != nil {
			r.t.Fatal(err)
		}
		if content == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", "Change")
	return r.git("rev-parse", "HEAD")
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
