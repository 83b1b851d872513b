package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("never came true: %s: %v", what, err)
}

// testLog writes a server's log to the test's.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// running is a server in this process.
type running struct {
	address string
	stop    func()
}

func runServer(t *testing.T, dir string, change func(*Options)) *running {
	t.Helper()
	o := Options{
		RESTConfig: kubetest.Config(t), DataDir: dir, Listen: "127.0.0.1:0", LeaderElect: true,
		Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}
	if change != nil {
		change(&o)
	}
	_ = os.Remove(filepath.Join(dir, AddressFile))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	r := &running{}
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		ended <- nil
	}
	t.Cleanup(r.stop)
	eventually(t, "the server says where it listens", func() error {
		text, err := os.ReadFile(filepath.Join(dir, AddressFile))
		if r.address = strings.TrimSpace(string(text)); err == nil && r.address == "" {
			err = errors.New("the file is being written")
		}
		return err
	})
	return r
}

func (r *running) get(path string) (int, string, error) {
	res, err := http.Get("http://" + r.address + path)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

func (r *running) leads() error {
	code, text, err := r.get("/readyz?leading=1")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%d %s", code, text)
	}
	return err
}

// metric sums the samples of a metric whose labels match.
func (r *running) metric(t *testing.T, name, labels string) float64 {
	t.Helper()
	_, text, err := r.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{([^}]*)\})? (\S+)$`).FindAllStringSubmatch(text, -1) {
		if ok, _ := regexp.MatchString(labels, m[1]); ok {
			var v float64
			_, _ = fmt.Sscan(m[2], &v)
			sum += v
		}
	}
	return sum
}

// repository is a Git repository on this machine.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T, files map[string]string) repository {
	r := repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	r.commit(files)
	return r
}

func (r repository) git(args ...string) {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (r repository) commit(files map[string]string) {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "change")
}

func (r repository) head() string {
	r.t.Helper()
	out, err := exec.Command("git", "-C", r.dir, "rev-parse", "HEAD").Output()
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

var applications = schema.GroupVersionResource{Group: v1alpha1.Group, Version: v1alpha1.Version, Resource: v1alpha1.ApplicationResource}

func createApplication(t *testing.T, namespace, name, repo, path string) {
	t.Helper()
	client := dynamic.NewForConfigOrDie(kubetest.Config(t))
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "plumb.dev/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{
			"source":     map[string]any{"repoURL": repo, "path": path},
			"syncPolicy": map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}},
		},
	}}
	eventually(t, "the Application is created", func() error {
		_, err := client.Resource(applications).Namespace(namespace).Create(t.Context(), app, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

func status(t *testing.T, namespace, name string) (sync, health string) {
	t.Helper()
	client := dynamic.NewForConfigOrDie(kubetest.Config(t))
	app, err := client.Resource(applications).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sync, _, _ = unstructured.NestedString(app.Object, "status", "sync", "status")
	health, _, _ = unstructured.NestedString(app.Object, "status", "health", "status")
	return sync, health
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %q\n", name, value)
}

func TestHoldsAnApplicationTrue(t *testing.T) {
	r := runServer(t, t.TempDir(), nil)
	eventually(t, "the server leads", r.leads)
	ns := kubetest.Namespace(t)
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1"), "app/two.yaml": configMap("two", "1")})
	createApplication(t, ns, "app", repo.dir, "app")
	kube := kubernetes.NewForConfigOrDie(kubetest.Config(t))
	value := func(name, want string) func() error {
		return func() error {
			cm, err := kube.CoreV1().ConfigMaps(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && cm.Data["value"] != want {
				err = fmt.Errorf("value is %q", cm.Data["value"])
			}
			return err
		}
	}
	synced := func() error {
		if s, h := status(t, ns, "app"); s != "Synced" || h != "Healthy" {
			return fmt.Errorf("it is %q and %q", s, h)
		}
		return nil
	}
	eventually(t, "the objects are there", value("one", "1"))
	eventually(t, "the Application is synced and healthy", synced)

	repo.commit(map[string]string{"app/one.yaml": configMap("one", "2")})
	eventually(t, "a commit is applied", value("one", "2"))

	if _, err := kube.CoreV1().ConfigMaps(ns).Patch(t.Context(), "one", "application/merge-patch+json", []byte(`{"data":{"value":"edited"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an edit is reverted", value("one", "2"))
	if err := kube.CoreV1().ConfigMaps(ns).Delete(t.Context(), "two", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a deleted object comes back", value("two", "1"))

	repo.git("rm", "-q", "app/two.yaml")
	repo.commit(nil)
	eventually(t, "what is no longer declared is pruned", func() error {
		_, err := kube.CoreV1().ConfigMaps(ns).Get(t.Context(), "two", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is still there: %v", err) //nolint:errorlint // it may be nil
	})
	eventually(t, "the Application is synced and healthy", synced)
	if n := r.metric(t, "plumb_application_info", `name="app",.*namespace="`+ns+`".*sync_status="Synced"`); n != 1 {
		t.Errorf("plumb_application_info counts %v", n)
	}
	t.Run("previews", func(t *testing.T) { previews(t, ns, repo) })
	t.Run("rests", func(t *testing.T) { rests(t, r) })
}

// rests checks that nothing is asked of the API server where nothing happens.
func rests(t *testing.T, r *running) {
	count := func() float64 {
		return r.metric(t, "plumb_api_requests_total", `verb="(get|list|create|update|patch|delete|apply|dry-run|put|discover)"`)
	}
	quiet, last, since := 3*time.Second, count(), time.Now()
	eventually(t, "no requests for a while", func() error {
		if now := count(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return fmt.Errorf("the last one was %v ago", time.Since(since))
		}
		return nil
	})
}

func previews(t *testing.T, ns string, repo repository) {
	repo.commit(map[string]string{"elsewhere/three.yaml": configMap("three", "1")})
	p, end, err := NewPreviewer(t.Context(), kubetest.Config(t), t.TempDir(), Tools{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	key := engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "app"}
	app, ok := p.Applications.Get(key)
	if !ok {
		t.Fatal("the Application is not known")
	}
	preview, err := p.Preview(t.Context(), app, key, engine.PreviewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(preview.Comparison.Plan.Steps); n != 0 {
		t.Errorf("a preview of what is in sync has %d steps", n)
	}
	app = app.DeepCopy()
	app.Spec.Source.Path = "elsewhere"
	if preview, err = p.Preview(t.Context(), app, key, engine.PreviewOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := len(preview.Comparison.Plan.Steps); n != 2 {
		t.Errorf("a preview of one creation and one deletion has %d steps", n)
	}
}

func TestLeadership(t *testing.T) {
	first := runServer(t, t.TempDir(), nil)
	eventually(t, "the first leads", first.leads)
	second := runServer(t, t.TempDir(), nil)
	if code, text, err := second.get("/readyz"); err != nil || code != http.StatusOK || !strings.Contains(text, "standing by") {
		t.Errorf("the second is not ready to stand by: %d %s %v", code, text, err)
	}
	if second.leads() == nil {
		t.Fatal("two servers lead")
	}
	stopped := time.Now()
	first.stop()
	eventually(t, "the second leads after the first has stopped", second.leads)
	t.Logf("taken over after %v", time.Since(stopped))
}

func TestWebhook(t *testing.T) {
	secret := []byte("c4n4ry-s3cr3t")
	r := runServer(t, t.TempDir(), func(o *Options) { o.WebhookSecret = secret; o.PollInterval = -1 })
	eventually(t, "the server leads", r.leads)
	post := func(body, token string) (int, string) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodPost, "http://"+r.address+"/api/webhook", bytes.NewReader([]byte(body)))
		req.Header.Set("X-Gitlab-Token", token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}
	if code, _ := post(`{"repo":"https://x"}`, "wrong"); code != http.StatusUnauthorized {
		t.Errorf("a wrong token is answered with %d", code)
	}
	if code, text := post(`{"repo":"https://x"}`, string(secret)); code != http.StatusOK || !strings.Contains(text, "no Application uses") {
		t.Errorf("an unknown repository is answered with %d %s", code, text)
	}
	if code, _ := post("{", string(secret)); code != http.StatusBadRequest {
		t.Errorf("broken JSON is answered with %d", code)
	}
	if code, _ := post(`{"repo":"`+strings.Repeat("x", webhookBytes)+`"}`, string(secret)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge payload is answered with %d", code)
	}
	ns := kubetest.Namespace(t)
	repo := newRepository(t, map[string]string{"one.yaml": configMap("one", "1")})
	createApplication(t, ns, "hooked", repo.dir, ".")
	eventually(t, "the repository is looked at again", func() error {
		code, text := post(`{"repo":"`+repo.dir+`"}`, string(secret))
		if code != http.StatusOK || !strings.Contains(text, "1 repositories") {
			return fmt.Errorf("%d %s", code, text)
		}
		return nil
	})
}
