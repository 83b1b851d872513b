package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"
)

// cluster is one cluster Secret, read.
type cluster struct {
	secret     string
	server     string
	name       string
	project    string
	namespaces []string
	config     *rest.Config
	// broken is why the cluster cannot be reached with this Secret.
	broken error
}

// clusterConfig is the JSON of the key "config" in a cluster Secret.
type clusterConfig struct {
	Username        string `json:"username"`
	Password        string `json:"password"`
	BearerToken     string `json:"bearerToken"`
	TLSClientConfig struct {
		Insecure   bool   `json:"insecure"`
		ServerName string `json:"serverName"`
		CertData   []byte `json:"certData"`
		KeyData    []byte `json:"keyData"`
		CAData     []byte `json:"caData"`
	} `json:"tlsClientConfig"`
	AWSAuthConfig      json.RawMessage `json:"awsAuthConfig"`
	ExecProviderConfig *execProvider   `json:"execProviderConfig"`
	DisableCompression bool            `json:"disableCompression"`
	ProxyURL           string          `json:"proxyUrl"`
}

type execProvider struct {
	Command            string            `json:"command"`
	Args               []string          `json:"args"`
	Env                map[string]string `json:"env"`
	APIVersion         string            `json:"apiVersion"`
	InstallHint        string            `json:"installHint"`
	ProvideClusterInfo bool              `json:"provideClusterInfo"`
	Config             json.RawMessage   `json:"config"`
}

// readCluster reads a cluster Secret. What is wrong with it is kept and comes up
// where the cluster is used; the values never do.
func readCluster(s *corev1.Secret, allowExec bool) cluster {
	c := cluster{
		secret:  s.Namespace + "/" + s.Name,
		server:  strings.TrimRight(string(s.Data["server"]), "/"),
		name:    string(s.Data["name"]),
		project: string(s.Data["project"]),
	}
	for ns := range strings.SplitSeq(string(s.Data["namespaces"]), ",") {
		if ns = strings.TrimSpace(ns); ns != "" {
			c.namespaces = append(c.namespaces, ns)
		}
	}
	var err error
	if c.config, err = c.restConfig(s.Data["config"], allowExec); err != nil {
		c.broken = fmt.Errorf("the cluster %s cannot be reached with the Secret %s: %w", c.server, c.secret, err)
	}
	return c
}

func (c cluster) restConfig(text []byte, allowExec bool) (*rest.Config, error) {
	if u, err := url.Parse(c.server); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("its key server is no http(s) URL")
	}
	var in clusterConfig
	if len(text) > 0 {
		if err := json.Unmarshal(text, &in); err != nil {
			return nil, errors.New("its key config is not the JSON it should be") // the error would quote it
		}
	}
	if len(in.AWSAuthConfig) > 0 && string(in.AWSAuthConfig) != "null" {
		return nil, errors.New("awsAuthConfig is not implemented yet: use a bearer token or a client certificate")
	}
	out := &rest.Config{
		Host: c.server, Username: in.Username, Password: in.Password, BearerToken: in.BearerToken,
		TLSClientConfig: rest.TLSClientConfig{
			Insecure: in.TLSClientConfig.Insecure, ServerName: in.TLSClientConfig.ServerName,
			CertData: in.TLSClientConfig.CertData, KeyData: in.TLSClientConfig.KeyData, CAData: in.TLSClientConfig.CAData,
		},
		DisableCompression: in.DisableCompression,
	}
	if out.Insecure && len(out.CAData) > 0 {
		return nil, errors.New("tlsClientConfig has both insecure and caData: remove one of them")
	}
	if in.ProxyURL != "" {
		proxy, err := url.Parse(in.ProxyURL)
		if err != nil || proxy.Host == "" {
			return nil, errors.New("proxyUrl is no URL")
		}
		out.Proxy = http.ProxyURL(proxy)
	}
	if in.ExecProviderConfig != nil {
		if !allowExec {
			return nil, errors.New("execProviderConfig names a program to run, which is not allowed: use a bearer token or a client certificate")
		}
		out.ExecProvider = in.ExecProviderConfig.config()
	}
	return out, nil
}

func (e *execProvider) config() *api.ExecConfig {
	out := &api.ExecConfig{
		Command: e.Command, Args: e.Args, APIVersion: e.APIVersion, InstallHint: e.InstallHint,
		ProvideClusterInfo: e.ProvideClusterInfo, InteractiveMode: api.NeverExecInteractiveMode,
	}
	for name, value := range e.Env {
		out.Env = append(out.Env, api.ExecEnvVar{Name: name, Value: value})
	}
	slices.SortFunc(out.Env, func(a, b api.ExecEnvVar) int { return strings.Compare(a.Name, b.Name) })
	if len(e.Config) > 0 {
		out.Config = &runtime.Unknown{Raw: e.Config, ContentType: runtime.ContentTypeJSON}
	}
	return out
}

// overLocal reaches the control plane with the Secret's credentials where it has
// some: its address is one that only the cluster's own pods can resolve.
func (c cluster) overLocal(local *rest.Config) *rest.Config {
	out := rest.CopyConfig(local)
	if c.config.Username == "" && c.config.Password == "" && c.config.BearerToken == "" && len(c.config.CertData) == 0 {
		return out
	}
	anonymous := rest.AnonymousClientConfig(local)
	anonymous.Username, anonymous.Password = c.config.Username, c.config.Password
	anonymous.BearerToken = c.config.BearerToken
	anonymous.CertData, anonymous.KeyData = c.config.CertData, c.config.KeyData
	anonymous.QPS, anonymous.Burst = local.QPS, local.Burst
	return anonymous
}
