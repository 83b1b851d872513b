package localkube_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumb-dev/plumb/internal/localkube"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == holdCommand {
		hold(os.Args[2])
		return
	}
	kubetest.Main(m, kubetest.WithControllers())
}

func TestSecondStartSaysWhoHoldsTheDirectory(t *testing.T) {
	cluster := kubetest.Cluster(t)
	_, err := localkube.Start(t.Context(), localkube.Options{Binary: kubetest.Binary(t), DataDir: cluster.DataDir()})
	var held *localkube.HeldError
	if !errors.As(err, &held) {
		t.Fatalf("Start: %v, want a HeldError", err)
	}
	if held.Pid != os.Getpid() || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("the holder is said to be process %d, want %d: %v", held.Pid, os.Getpid(), err)
	}
	if err := localkube.Reset(cluster.DataDir()); !errors.As(err, &held) {
		t.Errorf("Reset of a running cluster: %v, want a HeldError", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := kubetest.Cluster(t).DataDir()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // etcd's files come and go
			return nil
		}
		if err != nil || strings.HasPrefix(path, filepath.Join(dir, "etcd")+"/") {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others may read it", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A client certificate of the API must not open etcd: etcd knows no RBAC.
func TestEtcdRefusesClientsOfTheAPI(t *testing.T) {
	cluster := kubetest.Cluster(t)
	pki := func(name string) string { return filepath.Join(cluster.DataDir(), "pki", name) }
	admin, err := tls.LoadX509KeyPair(pki("admin.crt"), pki("admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	apiserver, err := tls.LoadX509KeyPair(pki("etcd-client.crt"), pki("etcd-client.key"))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		reason string
		certs  []tls.Certificate
		admits bool
	}{
		"NoCertificate":    {reason: "other users of the machine have none"},
		"AdminOfTheAPI":    {reason: "its authority is another one", certs: []tls.Certificate{admin}},
		"TheAPIServersOwn": {reason: "it is the one client", certs: []tls.Certificate{apiserver}, admits: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{InsecureSkipVerify: true, Certificates: tc.certs}
			err := askTLS(etcdAddress(t, cluster), config)
			if (err == nil) != tc.admits {
				t.Errorf("etcd answered with %v, want to be admitted: %v (%s)", err, tc.admits, tc.reason)
			}
		})
	}
}

// askTLS makes a request. With TLS 1.3 a refusal only shows in the answer.
func askTLS(address string, config *tls.Config) error {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /health HTTP/1.0\r\n\r\n")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

func TestDeadComponentsAreStartedAgain(t *testing.T) {
	cluster := kubetest.Start(t)
	client := clientFor(t, cluster.RESTConfig())
	createMarker(t, client)
	for _, component := range []string{"etcd", "kube-apiserver"} {
		before := cluster.Supervisor().Pid(component)
		if before == 0 {
			t.Fatalf("%s does not run", component)
		}
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, component+" is another process", func() bool {
			pid := cluster.Supervisor().Pid(component)
			return pid != 0 && pid != before
		})
		eventually(t, "the object is read again", func() bool { return hasMarker(client) == nil })
	}
}

func TestStateSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	options := localkube.Options{Binary: kubetest.Binary(t), DataDir: dir, APIOnly: true, UnsafeNoFsync: true}
	ctx, cancel := context.WithCancel(t.Context())
	first, err := localkube.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	createMarker(t, clientFor(t, first.RESTConfig()))
	setNamespace(t, first.Kubeconfig(), "mine")
	before := readFile(t, first.Kubeconfig())
	cancel() // as good as Stop
	<-first.Done()

	second, err := localkube.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	if after := readFile(t, second.Kubeconfig()); after != before {
		t.Error("the kubeconfig is another one after a restart: what uses it breaks, or the user's default namespace is lost")
	}
	if err := hasMarker(clientFor(t, second.RESTConfig())); err != nil {
		t.Errorf("the object did not survive the restart: %v", err)
	}
}

func TestTakenPortIsReplaced(t *testing.T) {
	dir := t.TempDir()
	options := localkube.Options{Binary: kubetest.Binary(t), DataDir: dir, APIOnly: true, UnsafeNoFsync: true}
	first, err := localkube.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	createMarker(t, clientFor(t, first.RESTConfig()))
	first.Stop()
	taken, err := net.Listen("tcp", strings.TrimPrefix(first.RESTConfig().Host, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	second, err := localkube.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	if second.RESTConfig().Host == first.RESTConfig().Host {
		t.Errorf("both listen on %s", second.RESTConfig().Host)
	}
	config, err := clientcmd.BuildConfigFromFlags("", second.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := hasMarker(clientFor(t, config)); err != nil {
		t.Errorf("the kubeconfig does not lead to the cluster: %v", err)
	}
}

func TestFailingComponentIsExplained(t *testing.T) {
	dir := t.TempDir()
	options := localkube.Options{
		Binary: kubetest.Binary(t), DataDir: dir, APIOnly: true, UnsafeNoFsync: true,
		ExtraArguments: map[string][]string{"kube-apiserver": {"--no-such-flag"}},
	}
	_, err := localkube.Start(t.Context(), options)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"kube-apiserver did not start", "unknown flag: --no-such-flag", filepath.Join(dir, "logs", "kube-apiserver.log")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if held, err := localkube.Holder(dir); held != nil || err != nil {
		t.Errorf("the directory is held after a failed start: %v, %v", held, err)
	}
}

func clientFor(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func createMarker(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	marker := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "marker"}, Data: map[string]string{"here": "yes"}}
	_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), marker, metav1.CreateOptions{})
	for apierrors.IsNotFound(err) { // the namespace "default" is made just after the API server is ready
		time.Sleep(20 * time.Millisecond)
		_, err = client.CoreV1().ConfigMaps("default").Create(t.Context(), marker, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func hasMarker(client kubernetes.Interface) error {
	_, err := client.CoreV1().ConfigMaps("default").Get(context.Background(), "marker", metav1.GetOptions{})
	return err
}

func setNamespace(t *testing.T, kubeconfig, namespace string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts[config.CurrentContext].Namespace = namespace
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
