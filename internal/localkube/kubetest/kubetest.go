// Package kubetest gives tests a real Kubernetes API server: one control plane
// for each test binary, started when the first test asks for it, and stopped at
// the end. It is test support only.
//
//	func TestMain(m *testing.M) { kubetest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		config := kubetest.Config(t)
//		namespace := kubetest.Namespace(t)
//		…
//	}
package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/localkube"
)

// binaryVariable names a binary with the components (plumb itself, for one) to
// use instead of building one.
const binaryVariable = "PLUMB_TEST_BINARY"

const (
	directoryPrefix = "plumb-kubetest-"
	abandonedAfter  = time.Hour
)

// Option changes the control plane of a test binary.
type Option func(*localkube.Options)

// WithControllers adds the controllers, the scheduler and two simulated nodes
// to etcd and the API server: Deployments become available, Jobs complete,
// deleted namespaces go, owned objects are garbage collected.
func WithControllers() Option {
	return func(o *localkube.Options) { o.APIOnly = false }
}

// WithArguments adds arguments to a component ("kube-apiserver").
func WithArguments(component string, arguments ...string) Option {
	return func(o *localkube.Options) {
		if o.ExtraArguments == nil {
			o.ExtraArguments = map[string][]string{}
		}
		o.ExtraArguments[component] = append(o.ExtraArguments[component], arguments...)
	}
}

// shared is the control plane of this test binary. A test binary has one
// TestMain, so this is the one place where it can live.
var shared struct {
	mu      sync.Mutex
	main    bool
	options []Option
	dir     string
	cluster *localkube.Cluster
	err     error
}

// Main runs the tests of a package and then stops their control plane. It is
// the whole of TestMain, and it does not return.
func Main(m *testing.M, options ...Option) { os.Exit(Run(m, options...)) }

// Run is Main for a package with more to tidy up: it returns the exit code.
func Run(m *testing.M, options ...Option) int {
	shared.mu.Lock()
	shared.main, shared.options = true, options
	shared.mu.Unlock()
	defer stop()
	return m.Run()
}

func stop() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster != nil {
		shared.cluster.Stop()
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
}

// Config returns the configuration of an admin client of the control plane of
// this test binary, which is started if it does not run yet.
func Config(tb testing.TB) *rest.Config {
	tb.Helper()
	return Cluster(tb).RESTConfig()
}

// Kubeconfig returns the path of its kubeconfig.
func Kubeconfig(tb testing.TB) string {
	tb.Helper()
	return Cluster(tb).Kubeconfig()
}

// Cluster returns the control plane of this test binary.
func Cluster(tb testing.TB) *localkube.Cluster {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.main {
		tb.Fatal("kubetest: the package needs func TestMain(m *testing.M) { kubetest.Main(m) }")
	}
	if shared.cluster == nil && shared.err == nil {
		sweep()
		shared.dir, shared.err = os.MkdirTemp("", directoryPrefix)
		if shared.err == nil {
			shared.cluster, shared.err = start(shared.dir, shared.options)
		}
	}
	if shared.err != nil {
		tb.Fatalf("kubetest: %v", shared.err)
	}
	return shared.cluster
}

// sweep removes what test binaries left that were killed.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), directoryPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < abandonedAfter {
			continue
		}
		if held, err := localkube.Holder(dir); held == nil && err == nil {
			_ = os.RemoveAll(dir)
		}
	}
}

// Start starts a control plane of the test's own, which is stopped at its end.
func Start(tb testing.TB, options ...Option) *localkube.Cluster {
	tb.Helper()
	cluster, err := start(tb.TempDir(), options)
	if err != nil {
		tb.Fatalf("kubetest: %v", err)
	}
	tb.Cleanup(cluster.Stop)
	return cluster
}

func start(dir string, options []Option) (*localkube.Cluster, error) {
	binary, err := binary()
	if err != nil {
		return nil, err
	}
	o := localkube.Options{Binary: binary, DataDir: dir, APIOnly: true, UnsafeNoFsync: true}
	for _, option := range options {
		option(&o)
	}
	return localkube.Start(context.Background(), o)
}

// Namespace creates a namespace of the test's own and returns its name. It is
// asked to go at the end of the test, which without controllers it cannot.
func Namespace(tb testing.TB) string {
	tb.Helper()
	client, err := kubernetes.NewForConfig(Config(tb))
	if err != nil {
		tb.Fatalf("kubetest: create a client: %v", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	created, err := client.CoreV1().Namespaces().Create(context.Background(), namespace, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("kubetest: create a namespace: %v", err)
	}
	tb.Cleanup(func() {
		_ = client.CoreV1().Namespaces().Delete(context.Background(), created.Name, metav1.DeleteOptions{})
	})
	if _, err := client.CoreV1().Nodes().Get(context.Background(), "simulated-0", metav1.GetOptions{}); err == nil {
		awaitServiceAccount(tb, client, created.Name)
	}
	return created.Name
}

// awaitServiceAccount waits until pods can be created in a namespace.
func awaitServiceAccount(tb testing.TB, client kubernetes.Interface, namespace string) {
	tb.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(context.Background(), "default", metav1.GetOptions{})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("kubetest: wait for the service account of the namespace %s: %v", namespace, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Binary returns the path of a program that holds the components, which it
// builds if need be.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatalf("kubetest: %v", err)
	}
	return path
}

func binary() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		return filepath.Abs(path)
	}
	return build()
}

// build builds bin/controlplane at the root of the module. Test binaries of
// several packages run at the same time: the first builds, the others wait for
// it and find it up to date.
func build() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".build.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	path := filepath.Join(dir, "controlplane")
	cmd := exec.Command("go", "build", "-o", path, "./internal/localkube/kubetest/controlplane")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s (set %s to use another binary): %w\n%s", path, binaryVariable, err, out)
	}
	return path, nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	path := strings.TrimSpace(string(out))
	if path == "" || path == os.DevNull {
		return "", errors.New("find the module: the test does not run inside of it")
	}
	return filepath.Dir(path), nil
}
