package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// connection finds the control plane and talks to it, with the user's own
// credentials. It is opened when a command first needs it.
type connection struct {
	env                          environment
	kubeconfig, context, dataDir string

	config    *rest.Config
	namespace string // of the context
	source    string // where the credentials come from
	dynamic   dynamic.Interface
	served    map[schema.GroupVersionKind]schema.GroupVersionResource // see preferred
}

// bind adds the flags that say where the control plane is.
func (k *connection) bind(flags *pflag.FlagSet) {
	flags.StringVar(&k.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the control plane (default: KUBECONFIG or that of plumb up)")
	flags.StringVar(&k.context, "context", "", "`NAME` of the context in the kubeconfig")
	k.bindDataDir(flags)
}

func (k *connection) bindDataDir(flags *pflag.FlagSet) {
	flags.StringVar(&k.dataDir, "data-dir", k.env.DataDir, "`DIR` in which plumb up keeps its state")
}

// loader gives client-go's view of the kubeconfig files. An explicit file comes
// first, then that of a data directory that was named, then KUBECONFIG, then the
// default data directory's kubeconfig, then ~/.kube/config.
func (k *connection) loader() (clientcmd.ClientConfig, *clientcmd.ClientConfigLoadingRules) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = k.kubeconfig
	local, named := filepath.Join(k.dataDir, "kubeconfig"), k.dataDir != "" && k.dataDir != k.env.DataDir
	if rules.ExplicitPath == "" && (named || !fromVariable(rules) && hasContext(local, k.context)) {
		rules.ExplicitPath = local
	}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: k.context}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides), rules
}

// fromVariable tells whether the rules come from KUBECONFIG: only then they
// differ from the one file that they hold otherwise.
func fromVariable(rules *clientcmd.ClientConfigLoadingRules) bool {
	return len(rules.Precedence) != 1 || rules.Precedence[0] != clientcmd.RecommendedHomeFile
}

// hasContext tells whether a kubeconfig file exists and has the context.
func hasContext(path, context string) bool {
	config, err := clientcmd.LoadFromFile(path)
	return err == nil && (context == "" || config.Contexts[context] != nil)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (k *connection) open() error {
	if k.config != nil {
		return nil
	}
	loader, rules := k.loader()
	config, err := loader.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err) && k.context == "":
		return errors.New("there is no control plane to talk to: start one with `plumb up`, or name a kubeconfig with --kubeconfig")
	case err != nil:
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	if k.namespace, _, err = loader.Namespace(); err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	if err := k.use(config); err != nil {
		return err
	}
	switch {
	case rules.ExplicitPath != "":
		k.source = rules.ExplicitPath
	case fromVariable(rules):
		k.source = "the files in KUBECONFIG"
	case exists(clientcmd.RecommendedHomeFile):
		k.source = clientcmd.RecommendedHomeFile
	}
	return nil
}

// use makes this the configuration of the connection.
func (k *connection) use(config *rest.Config) error {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the API server has its own priorities and fairness
	config.UserAgent = "plumb-cli"
	config.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create a client: %w", err)
	}
	k.config, k.dynamic, k.source = config, client, "your kubeconfig"
	return nil
}

func (k *connection) host() string {
	if k.config == nil {
		return "?"
	}
	return k.config.Host
}

// origin says which credentials are in use, for messages.
func (k *connection) origin() string {
	if k.context != "" {
		return fmt.Sprintf("%s, context %q", k.source, k.context)
	}
	return k.source
}

func (k *connection) discovery() (discovery.DiscoveryInterface, error) {
	return discovery.NewDiscoveryClientForConfig(k.config)
}

func (k *connection) typed() (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(k.config)
}

func (k *connection) metadata() (metadata.Interface, error) {
	return metadata.NewForConfig(k.config)
}
