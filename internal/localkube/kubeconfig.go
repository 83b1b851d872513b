package localkube

import (
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a kubeconfig for one of the client certificates. What
// the user added to an existing file (contexts, a default namespace) stays.
func writeKubeconfig(path, name string, p pki, user string, port int) error {
	config, err := clientcmd.LoadFromFile(path)
	if err != nil { // none, or damaged: a new one
		config = clientcmdapi.NewConfig()
	}
	ca, err := os.ReadFile(p.cert("ca"))
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	cert, err := os.ReadFile(p.cert(user))
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	key, err := os.ReadFile(p.key(user))
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	config.Clusters[name] = &clientcmdapi.Cluster{Server: url(port), CertificateAuthorityData: ca}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	if config.Contexts[name] == nil {
		config.Contexts[name] = clientcmdapi.NewContext()
	}
	config.Contexts[name].Cluster, config.Contexts[name].AuthInfo = name, name
	if config.Contexts[config.CurrentContext] == nil {
		config.CurrentContext = name
	}
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return writeFile(path, content)
}

// restConfig returns the configuration of a client with one of the certificates.
func restConfig(p pki, user string, port int) (*rest.Config, error) {
	config := &rest.Config{
		Host: url(port),
		QPS:  -1, // the API server has its own priorities and fairness
	}
	for path, data := range map[string]*[]byte{
		p.cert("ca"): &config.CAData,
		p.cert(user): &config.CertData,
		p.key(user):  &config.KeyData,
	} {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the certificate of %s: %w", user, err)
		}
		*data = content
	}
	return config, nil
}
