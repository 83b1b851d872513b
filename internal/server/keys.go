package server

import (
	"strings"
	"sync"

	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/render/secrets"
)

// keyring makes keys of the Secrets that the controller sees. Keys live as long
// as their Secrets do not change, and with them their logins.
type keyring struct {
	secrets func(project string) []controller.KeySecret

	mu    sync.Mutex
	ready map[string]readyKeys
}

type readyKeys struct {
	version string
	keys    *secrets.Keys
}

func newKeyring(from func(project string) []controller.KeySecret) *keyring {
	return &keyring{secrets: from, ready: map[string]readyKeys{}}
}

// Keys gives the keys of a project.
func (k *keyring) Keys(project string) render.Keys {
	found := k.secrets(project)
	var versions strings.Builder
	material := make([]secrets.Material, len(found))
	for i, s := range found {
		versions.WriteString(s.Name + "@" + s.Version + "\n")
		material[i] = secrets.Material{Name: s.Name, Data: s.Data}
	}
	version := versions.String()
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.ready[project]; ok && r.version == version {
		return r.keys
	}
	r := readyKeys{version, secrets.New(project, material)}
	k.ready[project] = r
	return r.keys
}
