package controller

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/source"
)

// pullRequestsKey of a repository Secret says that its credentials may be used to
// speak with the host as well: they were given for reading.
const pullRequestsKey = "pullRequests"

// Host is a Secret with which a host of repositories is spoken with: pull
// requests, comments, statuses of commits, webhooks. Never print it.
type Host struct {
	// Name is "namespace/name" of the Secret, and Version changes with it.
	Name, Version string
	// URL of the host, of a group, or of one repository.
	URL string
	// Type of software, and API, its address, where they are not the usual.
	Type, API string
	// Installation tells apart several of Plumb that look at one repository.
	Installation          string
	Token, User, Password string
	// AppID, AppInstallation and AppKey are those of a GitHub App.
	AppID, AppInstallation int64
	AppKey                 string
	WebhookSecret          []byte
	Proxy, CABundle        string
	Insecure               bool
	// Previews, Statuses: whether pull requests get previews, and commits statuses.
	// Modules, Diffs, Forks: what previews plan and show.
	Previews, Statuses, Modules, Diffs, Forks bool
}

// String hides everything.
func (Host) String() string { return "[host]" }

// GoString hides everything.
func (Host) GoString() string { return "[host]" }

// hosts are those Secrets, read.
type hosts struct {
	mu      sync.RWMutex
	secrets map[string]readHost
}

type readHost struct {
	Host
	wrong error
}

func newHosts() *hosts { return &hosts{secrets: map[string]readHost{}} }

// Hosts gives all of them, in order, with those that cannot be used left out.
func (c *Controller) Hosts() []Host {
	c.hosts.mu.RLock()
	defer c.hosts.mu.RUnlock()
	var out []Host
	for _, name := range slices.Sorted(maps.Keys(c.hosts.secrets)) {
		if h := c.hosts.secrets[name]; h.wrong == nil {
			out = append(out, h.Host)
		}
	}
	return out
}

// HostOf gives the Secret for a repository whose URL matches best, by how close
// says. It is false where there is none.
func (c *Controller) HostOf(repoURL string, under func(repoURL, above string) (closeness int, ok bool)) (Host, bool, error) {
	c.hosts.mu.RLock()
	var best readHost
	closest := 0
	for _, name := range slices.Sorted(maps.Keys(c.hosts.secrets)) {
		h := c.hosts.secrets[name]
		if n, ok := under(repoURL, h.URL); ok && n > closest {
			best, closest = h, n
		}
	}
	c.hosts.mu.RUnlock()
	if closest == 0 {
		return Host{}, false, nil
	}
	if best.wrong != nil {
		return Host{}, false, best.wrong
	}
	c.repos.mu.RLock()
	best.CABundle = c.repos.certs[hostOf(best.URL)]
	c.repos.mu.RUnlock()
	return best.Host, true, nil
}

// hostChanged takes over a Secret.
func (c *Controller) hostChanged(old, now *corev1.Secret) {
	c.hosts.mu.Lock()
	defer c.hosts.mu.Unlock()
	if old != nil {
		delete(c.hosts.secrets, old.Namespace+"/"+old.Name)
	}
	if now == nil {
		return
	}
	h, ok := readHostSecret(now)
	if !ok {
		return
	}
	if h.wrong != nil {
		c.log.Warn("a host of repositories cannot be used", "secret", h.Name, "error", h.wrong)
	}
	c.hosts.secrets[h.Name] = h
}

// readHostSecret reads a Secret: one that is there for it, or that of a repository
// which says that it may be used so.
func readHostSecret(s *corev1.Secret) (readHost, bool) {
	get := func(key string) string { return strings.TrimSpace(string(s.Data[key])) }
	kind, _ := v1alpha1.Lookup(s.Labels, v1alpha1.NameSecretType)
	own := kind == v1alpha1.SecretTypeSCMCreds
	if !own && get(pullRequestsKey) != "true" {
		return readHost{}, false
	}
	var wrong []error
	flag := func(key string, preset bool) bool {
		text := get(key)
		if text == "" {
			return preset
		}
		on, err := strconv.ParseBool(text)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("key %s is neither true nor false", key))
		}
		return on
	}
	number := func(key string) int64 {
		text := get(key)
		if text == "" {
			return 0
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("key %s is no number", key))
		}
		return n
	}
	h := readHost{Host: Host{
		Name: s.Namespace + "/" + s.Name, Version: string(s.UID) + "/" + s.ResourceVersion, URL: get("url"),
		API: get("api"), Installation: get("name"), Token: get("token"), User: get("username"), Password: get("password"),
		AppID: number("githubAppID"), AppInstallation: number("githubAppInstallationID"), AppKey: get("githubAppPrivateKey"),
		WebhookSecret: []byte(get("webhookSecret")), Proxy: get("proxy"), Insecure: flag("insecure", false),
		Previews: flag("previews", true), Statuses: flag("statuses", true), Modules: flag("modules", true),
		Diffs: flag("diffs", true), Forks: flag("forks", true),
	}}
	h.borrow(own, get)
	if h.URL == "" {
		wrong = append(wrong, errors.New("key url is missing"))
	}
	if h.Token == "" && h.Password == "" && h.AppKey == "" {
		wrong = append(wrong, errors.New("there is no token: neither token, password nor githubAppPrivateKey"))
	}
	if len(wrong) > 0 {
		h.wrong = fmt.Errorf("the Secret %s with which %s is spoken with cannot be used: %w", h.Name, source.MaskURL(h.URL), errors.Join(wrong...))
	}
	return h, true
}

// borrow takes what a repository's Secret calls by other names.
func (h *Host) borrow(own bool, get func(string) string) {
	if own {
		h.Type = get("type")
	} else { // there, type says git, helm or oci
		h.Type, h.Installation = get("host"), get("installation")
	}
	if h.API == "" {
		h.API = get("githubAppEnterpriseBaseUrl")
	}
	if h.Token == "" {
		h.Token = get("bearerToken")
	}
	if h.Token == "" && h.Type != "bitbucket" && h.Type != "bitbucket-server" {
		h.Token, h.User, h.Password = h.Password, "", "" // for most hosts the password of https is a token
	}
}
