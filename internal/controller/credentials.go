package controller

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/source"
)

var _ engine.Credentials = (*Controller)(nil)

const (
	// settingsLabel marks the ConfigMaps of Argo CD's settings.
	settingsLabel = "app.kubernetes.io/part-of"
	settingsPart  = "argocd"

	settingsMap   = "argocd-cm"
	knownHostsMap = "argocd-ssh-known-hosts-cm"
	knownHostsKey = "ssh_known_hosts"
	tlsCertsMap   = "argocd-tls-certs-cm"
)

// repositories are the repository Secrets, read.
type repositories struct {
	mu      sync.RWMutex
	secrets map[string]repository // by namespace/name
	// knownHosts and certs are Argo CD's ConfigMaps of that purpose.
	knownHosts string
	certs      map[string]string
}

// repository is one Secret: of a repository, or a template for all repositories
// whose URL begins as it says.
type repository struct {
	id       string
	url      string // normalised
	plain    string // as written
	project  string
	template bool
	cred     source.Credentials
	// broken is why the Secret cannot be used.
	broken error
}

func newRepositories() *repositories {
	return &repositories{secrets: map[string]repository{}, certs: map[string]string{}}
}

// For gives what opens a repository, by Argo CD's rules: the Secret of that
// repository and project, else the one of no project; where it holds no
// credentials or there is none, the template with the longest matching URL.
func (c *Controller) For(repo, project string) (source.Credentials, error) {
	return c.repos.find(repo, project)
}

func (r *repositories) find(repo, project string) (source.Credentials, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	url := normalRepo(repo)
	var own, template *repository
	for _, id := range r.ids() {
		s := r.secrets[id]
		switch {
		case s.template:
			if s.url != "" && strings.HasPrefix(url, s.url) && (template == nil || len(s.url) > len(template.url)) {
				template = &s
			}
		case url == "" || s.url != url:
		case s.project == project && (own == nil || own.project != project):
			own = &s
		case s.project == "" && own == nil:
			own = &s
		}
	}
	var cred source.Credentials
	if own != nil {
		if own.broken != nil {
			return cred, own.broken
		}
		cred = own.cred
	}
	if template != nil && !opens(cred) {
		if template.broken != nil {
			return source.Credentials{}, template.broken
		}
		cred = inherit(cred, template.cred)
	}
	cred.KnownHosts = r.knownHosts
	cred.CABundle = r.certs[hostOf(repo)]
	return cred, nil
}

// ids in order, so that the same Secret is found each time.
func (r *repositories) ids() []string {
	ids := make([]string, 0, len(r.secrets))
	for id := range r.secrets {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (r *repositories) ofProject(project string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var urls []string
	for _, s := range r.secrets {
		if !s.template && s.project == project && project != "" {
			urls = append(urls, s.plain)
		}
	}
	return urls
}

func opens(c source.Credentials) bool {
	return c.Username != "" || c.Password != "" || c.BearerToken != "" || c.SSHPrivateKey != "" || c.TLSClientCert != ""
}

// inherit fills what a repository leaves open from its template.
func inherit(c, t source.Credentials) source.Credentials {
	for _, f := range []struct{ to, from *string }{
		{&c.Username, &t.Username}, {&c.Password, &t.Password}, {&c.BearerToken, &t.BearerToken},
		{&c.SSHPrivateKey, &t.SSHPrivateKey}, {&c.TLSClientCert, &t.TLSClientCert},
		{&c.TLSClientKey, &t.TLSClientKey}, {&c.Proxy, &t.Proxy}, {&c.NoProxy, &t.NoProxy}, {&c.Type, &t.Type},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	c.ForceBasicAuth = c.ForceBasicAuth || t.ForceBasicAuth
	c.EnableOCI = c.EnableOCI || t.EnableOCI
	c.InsecureOCIForceHTTP = c.InsecureOCIForceHTTP || t.InsecureOCIForceHTTP
	return c
}

// unsupportedKeys are ways to authenticate that are not there yet. To use such a
// repository without them would end in a misleading error.
var unsupportedKeys = []string{
	"githubAppPrivateKey", "gcpServiceAccountKey",
	"azureServicePrincipalClientSecret", "useAzureWorkloadIdentity",
}

// readRepository reads a Secret. What is wrong with it is kept, and comes up
// where it is needed; the values never do.
func readRepository(s *corev1.Secret) repository {
	get := func(key string) string { return string(s.Data[key]) }
	kind, _ := v1alpha1.Lookup(s.Labels, v1alpha1.NameSecretType)
	r := repository{
		id: s.Namespace + "/" + s.Name, plain: get("url"), url: normalRepo(get("url")), project: get("project"),
		template: kind == v1alpha1.SecretTypeRepoCreds,
		cred: source.Credentials{
			Username: get("username"), Password: get("password"), BearerToken: get("bearerToken"),
			SSHPrivateKey: get("sshPrivateKey"), TLSClientCert: get("tlsClientCertData"), TLSClientKey: get("tlsClientCertKey"),
			Proxy: get("proxy"), NoProxy: get("noProxy"), Type: get("type"),
		},
	}
	var wrong []error
	flag := func(key string) bool {
		text := get(key)
		if text == "" {
			return false
		}
		on, err := strconv.ParseBool(text)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("key %s is neither true nor false", key))
		}
		return on
	}
	r.cred.Insecure = flag("insecure")
	if flag("insecureIgnoreHostKey") {
		r.cred.Insecure = true
	}
	r.cred.EnableLFS = flag("enableLfs")
	r.cred.EnableOCI = flag("enableOCI")
	r.cred.InsecureOCIForceHTTP = flag("insecureOCIForceHttp")
	r.cred.ForceBasicAuth = flag("forceHttpBasicAuth")
	for _, key := range unsupportedKeys {
		if text := get(key); text != "" && text != "false" {
			wrong = append(wrong, fmt.Errorf("key %s is not implemented yet: use a password, a token or an ssh key", key))
		}
	}
	if r.plain == "" {
		wrong = append(wrong, errors.New("key url is missing"))
	}
	if len(wrong) > 0 {
		r.broken = fmt.Errorf("the Secret %s with credentials for the repository cannot be used: %w", r.id, errors.Join(wrong...))
	}
	return r
}

// secretChanged takes over a repository Secret, and has the Applications looked
// at again whose repositories it opens.
func (c *Controller) secretChanged(old, now *corev1.Secret) {
	c.hostChanged(old, now)
	var touched []repository
	c.repos.mu.Lock()
	if old != nil {
		id := old.Namespace + "/" + old.Name
		if last, ok := c.repos.secrets[id]; ok {
			touched = append(touched, last)
			delete(c.repos.secrets, id)
		}
	}
	if now != nil {
		r := readRepository(now)
		c.repos.secrets[r.id] = r
		touched = append(touched, r)
	}
	c.repos.mu.Unlock()
	if !c.live.Load() || len(touched) == 2 && touched[0].same(touched[1]) {
		return
	}
	c.repositoriesChanged(func(url string) bool {
		return slices.ContainsFunc(touched, func(r repository) bool {
			return r.url != "" && (r.url == url || r.template && strings.HasPrefix(url, r.url))
		})
	})
}

func (r repository) same(other repository) bool {
	return r.url == other.url && r.project == other.project && r.template == other.template && r.cred == other.cred &&
		(r.broken == nil) == (other.broken == nil)
}

// settingsChanged takes over Argo CD's ConfigMaps of known hosts and of the
// certificates of Git servers.
func (c *Controller) settingsChanged(old, now *corev1.ConfigMap) {
	named := now
	if now == nil {
		named = old
	}
	if named.Namespace != ArgoNamespace && named.Namespace != SystemNamespace {
		return
	}
	var data map[string]string
	if now != nil {
		data = now.Data
	}
	if named.Name == settingsMap {
		c.settled(data)
		return
	}
	c.repos.mu.Lock()
	switch named.Name {
	case knownHostsMap:
		c.repos.knownHosts = data[knownHostsKey]
	case tlsCertsMap:
		c.repos.certs = data
	default:
		c.repos.mu.Unlock()
		return
	}
	c.repos.mu.Unlock()
	if c.live.Load() {
		c.repositoriesChanged(func(string) bool { return true })
	}
}

// repositoriesChanged makes known that repositories may open differently now.
func (c *Controller) repositoriesChanged(match func(normal string) bool) {
	told := map[string]bool{}
	c.EnqueueWhere(func(_ engine.Key, app *v1alpha1.Application) bool {
		hit := false
		for _, repo := range repositoriesOf(app) {
			if match(normalRepo(repo)) {
				hit = true
				if !told[repo] {
					told[repo] = true
					c.renewed(repo)
				}
			}
		}
		return hit
	})
}

func hostOf(repo string) string {
	normal := normalRepo(repo)
	if _, rest, ok := strings.Cut(normal, "://"); ok {
		normal = rest
	}
	host, _, _ := strings.Cut(normal, "/")
	if i := strings.LastIndex(host, "@"); i >= 0 {
		host = host[i+1:]
	}
	host, _, _ = strings.Cut(host, ":")
	return host
}
