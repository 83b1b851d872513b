package controller

import (
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

const (
	// projectKey of a Secret with keys names the project that may use them.
	projectKey = "project"
	// anyProject stands there for all of them.
	anyProject = "*"
)

// KeySecret is a Secret with what opens a project's secrets, unread.
type KeySecret struct {
	// Name is "namespace/name".
	Name string
	// Version changes with the content.
	Version string
	Data    map[string][]byte
}

// keySecrets are the Secrets with keys, by namespace/name.
type keySecrets struct {
	mu      sync.RWMutex
	secrets map[string]keySecret
}

type keySecret struct {
	KeySecret
	project string
}

// KeySecrets gives the Secrets whose keys a project may use, in order. One that
// names no project is the default project's: keys are for those that they are
// given to.
func (c *Controller) KeySecrets(project string) []KeySecret {
	c.keys.mu.RLock()
	defer c.keys.mu.RUnlock()
	var out []KeySecret
	for _, name := range slices.Sorted(maps.Keys(c.keys.secrets)) {
		if s := c.keys.secrets[name]; s.project == project || s.project == anyProject {
			out = append(out, s.KeySecret)
		}
	}
	return out
}

func readKeySecret(s *corev1.Secret) keySecret {
	project := strings.TrimSpace(string(s.Data[projectKey]))
	if project == "" {
		project = v1alpha1.DefaultProject
	}
	return keySecret{
		project:   project,
		KeySecret: KeySecret{Name: s.Namespace + "/" + s.Name, Version: string(s.UID) + "/" + s.ResourceVersion, Data: s.Data},
	}
}

// keySecretChanged takes over a Secret with keys, and has the Applications of
// its project looked at again.
func (c *Controller) keySecretChanged(old, now *corev1.Secret) {
	projects := map[string]bool{}
	c.keys.mu.Lock()
	if old != nil {
		s := readKeySecret(old)
		projects[s.project] = true
		delete(c.keys.secrets, s.Name)
	}
	if now != nil {
		s := readKeySecret(now)
		projects[s.project] = true
		c.keys.secrets[s.Name] = s
	}
	c.keys.mu.Unlock()
	if !c.live.Load() || old != nil && now != nil && maps.EqualFunc(old.Data, now.Data, slices.Equal[[]byte]) {
		return
	}
	c.EnqueueWhere(func(_ engine.Key, app *v1alpha1.Application) bool {
		return projects[anyProject] || projects[app.Spec.GetProject()]
	})
}
