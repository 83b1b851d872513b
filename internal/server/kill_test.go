package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// The test binary is the server itself where these are set.
const (
	childKubeconfig = "PLUMB_TEST_SERVER_KUBECONFIG"
	childDataDir    = "PLUMB_TEST_SERVER_DATA_DIR"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(childKubeconfig); file != "" {
		os.Exit(serveAsChild(file, os.Getenv(childDataDir)))
	}
	kubetest.Main(m)
}

func serveAsChild(kubeconfig, dir string) int {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err == nil {
		err = Run(context.Background(), Options{
			RESTConfig: config, DataDir: dir, Listen: "127.0.0.1:0", LeaderElect: true,
			Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

// child starts a server in a process of its own.
func child(t *testing.T, dir string) (r *running, kill func()) {
	t.Helper()
	file := filepath.Join(dir, AddressFile)
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childKubeconfig+"="+kubetest.Kubeconfig(t), childDataDir+"="+dir)
	cmd.Stderr = testLog{t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	r = &running{}
	eventually(t, "the server says where it listens", func() error {
		text, err := os.ReadFile(file)
		if r.address = strings.TrimSpace(string(text)); err == nil && r.address == "" {
			err = errors.New("the file is being written")
		}
		return err
	})
	return r, kill
}

func TestAKilledServerGoesOnAtOnce(t *testing.T) {
	dir := t.TempDir()
	first, kill := child(t, dir)
	eventually(t, "the server leads", first.leads)
	ns := kubetest.Namespace(t)
	repo := newRepository(t, map[string]string{"one.yaml": configMap("one", "1")})
	createApplication(t, ns, "survivor", repo.dir, ".")
	holder := leaseHolder(t)
	kill()
	began := time.Now()
	second, _ := child(t, dir)
	eventually(t, "the next one leads", second.leads)
	t.Logf("led again after %v", time.Since(began))
	if next := leaseHolder(t); next != holder {
		t.Errorf("the next server is another one to the lease, and has to wait for it: %s after %s", next, holder)
	}
	eventually(t, "the Application is synced", func() error {
		if s, _ := status(t, ns, "survivor"); s != "Synced" {
			return errors.New("it is " + s)
		}
		return nil
	})
}

func leaseHolder(t *testing.T) string {
	t.Helper()
	leases := kubernetes.NewForConfigOrDie(kubetest.Config(t)).CoordinationV1().Leases(controller.SystemNamespace)
	lease, err := leases.Get(t.Context(), leaseName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *lease.Spec.HolderIdentity
}
