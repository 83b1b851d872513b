package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/demo"
	"github.com/plumb-dev/plumb/internal/localkube"
	"github.com/plumb-dev/plumb/internal/server"
)

// argoNamespace is where Argo CD's manifests expect to live.
const argoNamespace = "argocd"

// engineProcess is the name of the engine among the supervised processes.
const engineProcess = "plumb-server"

// upOptions say what plumb up starts.
type upOptions struct {
	dataDir         string
	demo            bool
	clusters, nodes int
	serverFlags     []string
	unsafeNoFsync   bool // for tests and the demo's scenario
}

// local is all that plumb up has started.
type local struct {
	main    *localkube.Cluster
	further []*localkube.Cluster
}

// stop stops everything; what was started last, first.
func (s *local) stop() {
	for i := len(s.further) - 1; i >= 0; i-- {
		s.further[i].Stop()
	}
	if s.main != nil {
		s.main.Stop()
	}
}

// startLocal starts the control plane, further clusters, the engine, and the
// demo. If it fails it leaves nothing running.
func (c commandline) startLocal(ctx context.Context, o upOptions, say func(string)) (_ *local, err error) {
	s := &local{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	options := localkube.Options{Binary: c.env.Program, DataDir: o.dataDir, Nodes: o.nodes, UnsafeNoFsync: o.unsafeNoFsync, Progress: say}
	if s.main, err = localkube.Start(ctx, options); err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(s.main.RESTConfig())
	if err != nil {
		return nil, err
	}
	if err := createNamespace(ctx, client, argoNamespace); err != nil {
		return nil, err
	}
	for i := range furtherClusters(o) {
		if err := s.startFurther(ctx, options, i, client); err != nil {
			return nil, err
		}
	}
	say("starting the engine")
	if err := s.startEngine(ctx, c.env.Program, o); err != nil {
		return nil, err
	}
	if o.demo {
		say("adding the demo")
		content := c.demo(o)
		if !content.Infrastructure {
			say("the demo goes without infrastructure: neither tofu (OpenTofu) nor terraform is on the PATH")
		}
		if err := addDemo(ctx, s.main.RESTConfig(), content); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// furtherClusters is how many clusters there are beside the control plane's
// own: as many as were asked for, or as there were last time.
func furtherClusters(o upOptions) int {
	if o.clusters > 0 {
		return o.clusters - 1
	}
	n := 0
	for exists(localkube.ClusterDir(o.dataDir, n+2)) {
		n++
	}
	return n
}

// furtherName is the name of the i-th further cluster as a destination.
func furtherName(i int) string { return fmt.Sprintf("local-%d", i+2) }

func (s *local) startFurther(ctx context.Context, options localkube.Options, i int, client kubernetes.Interface) error {
	say, name := options.Progress, furtherName(i)
	options.DataDir, options.Name = localkube.ClusterDir(options.DataDir, i+2), name
	options.Progress = func(message string) { say(name + ": " + message) }
	cluster, err := localkube.Start(ctx, options)
	if err != nil {
		return fmt.Errorf("start the cluster %s: %w", name, err)
	}
	s.further = append(s.further, cluster)
	config, err := cluster.EngineConfig()
	if err != nil {
		return fmt.Errorf("register the cluster %s: %w", name, err)
	}
	return registerCluster(ctx, client, name, config)
}

// registerCluster makes a cluster a destination, by Argo CD's cluster Secret.
func registerCluster(ctx context.Context, client kubernetes.Interface, name string, config *rest.Config) error {
	type tls struct {
		CAData   []byte `json:"caData"`
		CertData []byte `json:"certData"`
		KeyData  []byte `json:"keyData"`
	}
	text, err := json.Marshal(map[string]tls{"tlsClientConfig": {config.CAData, config.CertData, config.KeyData}})
	if err != nil {
		return fmt.Errorf("register the cluster %s: %w", name, err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: "cluster-" + name, Namespace: argoNamespace,
			Labels:      map[string]string{v1alpha1.LabelSecretType: v1alpha1.SecretTypeCluster},
			Annotations: map[string]string{"plumb.dev/description": "a local cluster that plumb up started"},
		},
		StringData: map[string]string{"name": name, "server": config.Host, "config": string(text)},
	}
	secrets := client.CoreV1().Secrets(argoNamespace)
	_, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("register the cluster %s: %w", name, err)
	}
	return nil
}

// startEngine runs plumb server as one more supervised process.
func (s *local) startEngine(ctx context.Context, program string, o upOptions) error {
	k := &connection{kubeconfig: s.main.Kubeconfig()}
	arguments := append([]string{"server", "--kubeconfig", s.main.EngineKubeconfig(), "--data-dir", filepath.Join(o.dataDir, "engine")}, s.demoFlags(o)...)
	arguments = append(arguments, "--audit-log", s.main.AuditLog())
	for i, cluster := range s.further {
		arguments = append(arguments, "--audit-log", furtherName(i)+"="+cluster.AuditLog())
	}
	arguments = append(arguments, o.serverFlags...)
	return s.main.Supervisor().Start(ctx, localkube.Process{
		Name: engineProcess, Path: program, Args: arguments,
		Ready: func(ctx context.Context) error {
			_, err := k.list(ctx, "", metav1.ListOptions{Limit: 1})
			return err
		},
	})
}

// demoFlags open the folder to which the demo's infrastructure writes files, also
// where the demo was added at an earlier time.
func (s *local) demoFlags(o upOptions) []string {
	files := demoFiles(o.dataDir)
	if _, err := os.Stat(files); err != nil && !o.demo {
		return nil
	}
	return []string{"--module-writable", files}
}

func demoFiles(dataDir string) string {
	if whole, err := filepath.Abs(dataDir); err == nil {
		dataDir = whole
	}
	return demo.Demo{Dir: filepath.Join(dataDir, "demo")}.Files()
}

// tools are what runs modules for commands, which open the demo's files as the
// engine does.
func (c commandline) tools() server.Tools {
	t := c.env.Tools
	if files := demoFiles(c.connection.dataDir); c.connection.dataDir != "" {
		if _, err := os.Stat(files); err == nil {
			t.Writable = append(slices.Clone(t.Writable), files)
		}
	}
	return t
}

func createNamespace(ctx context.Context, client kubernetes.Interface, name string) error {
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the namespace %s: %w", name, err)
	}
	return nil
}

// demo is what of the demo there can be on this machine.
func (c commandline) demo(o upOptions) demo.Demo {
	return demo.Demo{Dir: filepath.Join(o.dataDir, "demo"), Infrastructure: c.env.Tools.Found()}
}

// addDemo makes the demo's repositories and Applications, those that are not
// there yet.
func addDemo(ctx context.Context, config *rest.Config, content demo.Demo) error {
	if err := content.Prepare(ctx); err != nil {
		return err
	}
	applications, err := content.Applications()
	if err != nil {
		return err
	}
	k := &connection{}
	if err := k.use(config); err != nil {
		return err
	}
	bindings, err := content.Access()
	if err != nil {
		return err
	}
	for _, b := range bindings {
		_, err := k.dynamic.Resource(rbacv1.SchemeGroupVersion.WithResource("rolebindings")).Namespace(b.GetNamespace()).
			Create(ctx, b, metav1.CreateOptions{FieldManager: "plumb-cli"})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("say who may approve what in the demo: %w", err)
		}
	}
	for _, a := range applications {
		client := k.resource(a.GroupVersionKind().Group).Namespace(a.GetNamespace())
		err := retryBriefly(ctx, func() error {
			_, err := client.Create(ctx, a, metav1.CreateOptions{FieldManager: "plumb-cli"})
			return err
		})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create the demo's application %s: %w", a.GetName(), err)
		}
	}
	return nil
}

// retryBriefly tries again for a moment: definitions that were just installed
// are not served at once.
func retryBriefly(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil || !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// logFile is the log of a component that plumb up started.
func logFile(dataDir, component string) string {
	return filepath.Join(dataDir, "logs", component+".log")
}

// components lists the logs that there are.
func components(dataDir string) []string {
	entries, err := os.ReadDir(filepath.Join(dataDir, "logs"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok && !strings.Contains(name, "-2") {
			names = append(names, name)
		}
	}
	return names
}
