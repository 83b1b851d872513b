package server

import (
	"fmt"
	"sync"

	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/scm"
	"github.com/plumb-dev/plumb/internal/scm/connect"
)

// hosts makes hosts of repositories of the Secrets that the controller sees. They
// live as long as their Secrets do not change, and with them their connections.
type hosts struct {
	from *controller.Controller

	mu    sync.Mutex
	ready map[string]readyHost
}

type readyHost struct {
	version, bundle string
	host            scm.Host
}

func newHosts(from *controller.Controller) *hosts {
	return &hosts{from: from, ready: map[string]readyHost{}}
}

// of gives what speaks with a repository's host, and what was said about it. It is
// false where nothing was.
func (h *hosts) of(repoURL string) (scm.Host, scm.Repo, controller.Host, bool, error) {
	_, repo, ok := scm.Locate(repoURL)
	if !ok {
		return scm.Host{}, scm.Repo{}, controller.Host{}, false, nil
	}
	said, ok, err := h.from.HostOf(repoURL, scm.Under)
	if err != nil || !ok {
		return scm.Host{}, scm.Repo{}, controller.Host{}, false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r, ok := h.ready[said.Name]; ok && r.version == said.Version && r.bundle == said.CABundle {
		return r.host, repo, said, true, nil
	}
	kind := scm.Kind(said.Type)
	if kind == "forgejo" {
		kind = scm.Gitea
	}
	host, err := connect.Host(connect.Config{
		Kind: kind, Address: said.URL, API: said.API, Token: said.Token, User: said.User, Password: said.Password,
		App:      connect.App{ID: said.AppID, Installation: said.AppInstallation, PrivateKey: said.AppKey},
		CABundle: said.CABundle, Insecure: said.Insecure, Proxy: said.Proxy,
	})
	if err != nil {
		return scm.Host{}, scm.Repo{}, controller.Host{}, false, fmt.Errorf("the Secret %s: %w", said.Name, err)
	}
	h.ready[said.Name] = readyHost{said.Version, said.CABundle, host}
	return host, repo, said, true, nil
}
