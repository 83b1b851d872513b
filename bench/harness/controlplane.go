package harness

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumb-dev/plumb/internal/localkube"
)

const (
	subjectNamespace = "kube-system"
	subjectName      = "subject"
	tokenSeconds     = 24 * 60 * 60
)

// auditPolicy writes down what the subject asks, and nothing of anybody else.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["system:serviceaccount:` + subjectNamespace + ":" + subjectName + `"]
- level: None
`

// ControlPlane is a whole Kubernetes control plane with simulated nodes.
type ControlPlane struct {
	*localkube.Cluster
	// Admin is a client without limits of its own.
	Admin kubernetes.Interface
	// Audit is what the API server writes down about the subject.
	Audit *Audit
	// SubjectKubeconfig is the way in for what is measured.
	SubjectKubeconfig string
}

// ControlPlaneOptions say how a control plane is to run.
type ControlPlaneOptions struct {
	// Binary holds the components.
	Binary string
	// Dir is empty or does not exist.
	Dir string
	// Nodes is the number of simulated nodes.
	Nodes int
	// NoFsync makes etcd forget to write to the disk.
	NoFsync bool
	// Profiling lets the API server tell where its time goes.
	Profiling bool
	// Progress is told of children that die and start again.
	Progress func(string)
}

// StartControlPlane starts a control plane, and makes the subject: a service
// account that may do everything, as whom the engine or a bare loop runs.
func StartControlPlane(ctx context.Context, o ControlPlaneOptions) (*ControlPlane, error) {
	data := filepath.Join(o.Dir, "cluster")
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	policy, log := filepath.Join(o.Dir, "audit-policy.yaml"), filepath.Join(o.Dir, "audit.log")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	cluster, err := localkube.Start(ctx, localkube.Options{
		Binary: o.Binary, DataDir: data, Nodes: o.Nodes, UnsafeNoFsync: o.NoFsync, Progress: o.Progress,
		ExtraArguments: map[string][]string{"kube-apiserver": {
			"--audit-policy-file=" + policy, "--audit-log-path=" + log, "--audit-log-maxsize=2000",
			fmt.Sprintf("--profiling=%t", o.Profiling),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("start a control plane: %w", err)
	}
	c := &ControlPlane{Cluster: cluster, Audit: &Audit{path: log}}
	c.Admin, err = kubernetes.NewForConfig(c.Unlimited())
	if err == nil {
		c.SubjectKubeconfig = filepath.Join(o.Dir, "subject.kubeconfig")
		err = c.makeSubject(ctx)
	}
	if err != nil {
		cluster.Stop()
		return nil, fmt.Errorf("prepare a control plane: %w", err)
	}
	return c, nil
}

// Unlimited is the admin's configuration without client-side rate limits.
func (c *ControlPlane) Unlimited() *rest.Config {
	config := c.RESTConfig()
	config.QPS, config.Burst = -1, -1
	config.UserAgent = "observer"
	return config
}

// SubjectConfig is the subject's configuration without client-side rate limits.
func (c *ControlPlane) SubjectConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.SubjectKubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = -1, -1
	config.UserAgent = "bare"
	return config, nil
}

// Profile writes where the API server spends its CPU from now on, for whole
// seconds, to a file. The control plane must have been started with Profiling.
func (c *ControlPlane) Profile(ctx context.Context, seconds int, file string) error {
	profile, err := c.Admin.Discovery().RESTClient().Get().AbsPath("/debug/pprof/profile").
		Param("seconds", fmt.Sprint(seconds)).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("profile the API server: %w", err)
	}
	return os.WriteFile(file, profile, 0o600)
}

func (c *ControlPlane) makeSubject(ctx context.Context) error {
	accounts := c.Admin.CoreV1().ServiceAccounts(subjectNamespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: subjectName}}
	if _, err := accounts.Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the subject: %w", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: subjectName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: subjectNamespace, Name: subjectName}},
	}
	if _, err := c.Admin.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("give the subject its rights: %w", err)
	}
	seconds := int64(tokenSeconds)
	token, err := accounts.CreateToken(ctx, subjectName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make a token for the subject: %w", err)
	}
	return c.writeSubjectKubeconfig(token.Status.Token)
}

func (c *ControlPlane) writeSubjectKubeconfig(token string) error {
	admin := c.RESTConfig()
	authority := admin.CAData
	if len(authority) == 0 {
		var err error
		if authority, err = os.ReadFile(admin.CAFile); err != nil {
			return err
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["bench"] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: authority}
	config.AuthInfos["subject"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["bench"] = &clientcmdapi.Context{Cluster: "bench", AuthInfo: "subject"}
	config.CurrentContext = "bench"
	return clientcmd.WriteToFile(*config, c.SubjectKubeconfig)
}

// CreateNamespaces makes namespaces and waits until pods can be created there.
func (c *ControlPlane) CreateNamespaces(ctx context.Context, names ...string) error {
	for _, name := range names {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := c.Admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create the namespace %s: %w", name, err)
		}
	}
	for _, name := range names {
		err := Await(ctx, func() error {
			_, err := c.Admin.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
			return err
		})
		if err != nil {
			return fmt.Errorf("wait for the namespace %s: %w", name, err)
		}
	}
	return nil
}

// Base64 is how a Secret holds text.
func Base64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
