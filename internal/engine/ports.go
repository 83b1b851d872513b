// Package engine is the loop: fetch → render → compare → decide → apply →
// record. It holds the queue and the workers, and talks to the world through
// the ports in this file and the contracts source, render and driver. It knows
// no Kubernetes client: Applications come from and go to the controller.
package engine

import (
	"context"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/source"
)

// Key names an Application object: its API group, namespace and name.
type Key struct{ Group, Namespace, Name string }

// Owner is the key as it is written on the resources that the Application
// holds: "<namespace>/<name>", with "argoproj.io/" before it for that group.
func (k Key) Owner() driver.Owner {
	if k.Group == v1alpha1.GroupVersion.Group {
		return driver.Owner(k.Namespace + "/" + k.Name)
	}
	return driver.Owner(k.Group + "/" + k.Namespace + "/" + k.Name)
}

// String is the key as people write it.
func (k Key) String() string { return string(k.Owner()) }

// KeyOf is the inverse of Key.Owner.
func KeyOf(o driver.Owner) (Key, bool) {
	parts := strings.Split(string(o), "/")
	switch len(parts) {
	case 2:
		return Key{v1alpha1.GroupVersion.Group, parts[0], parts[1]}, true
	case 3:
		return Key{parts[0], parts[1], parts[2]}, true
	}
	return Key{}, false
}

// Applications is where Applications live. Objects that it hands out are
// shared: they must not be changed.
type Applications interface {
	// Get gives the latest known object, never older than what WriteStatus last
	// returned for it.
	Get(key Key) (*v1alpha1.Application, bool)
	// Keys of all Applications.
	Keys() []Key
	// WriteStatus makes an Application's status the given one. It writes only
	// what differs from app.Status, and nothing if nothing does.
	WriteStatus(ctx context.Context, app *v1alpha1.Application, key Key, status v1alpha1.ApplicationStatus) error
	// Settle takes back a request that has been heard, as heard has it: the
	// "operation" field (operation) or the refresh annotation (refresh). A request
	// that has taken its place meanwhile stays.
	Settle(ctx context.Context, key Key, heard *v1alpha1.Application, operation, refresh bool) error
	// Release removes the finalizers that held a deleted Application.
	Release(ctx context.Context, key Key) error
}

// Intents is where it is written down what is about to be made, before it is
// made and before it is in the Application's status. It may be nil: then each
// such note is a write of the status.
type Intents interface {
	// Intend returns once it would survive a crash that the Application is about
	// to make the resources.
	Intend(ctx context.Context, uid string, refs []plan.Ref) error
	// Fulfil lets go of an Application's notes: its status tells all of them, or
	// it is gone. It does not block.
	Fulfil(uid string)
	// Intended are the notes that an earlier process left of an Application.
	Intended(uid string) []plan.Ref
}

// Fence is an Application's project as far as it holds the Application in.
// Errors say which rule of which project refused what.
type Fence interface {
	AllowSource(repo string) error
	AllowDestination(server, name, namespace string) error
	AllowResource(ref plan.Ref, namespaced bool, server, name, namespace string) error
	// Modules is what the project lets modules do; nil for the defaults.
	Modules() *v1alpha1.ModulePolicy
	// Identity that changes to a destination are made as; empty where the
	// project names none. An error where it names some but none that fits.
	Identity(server, namespace string) (string, error)
}

// Projects gives the fence of an Application's project. An error is a refusal
// of the whole Application: the project does not exist, or does not accept
// Applications of that namespace.
type Projects interface {
	Fence(app *v1alpha1.Application, key Key) (Fence, error)
	// Unimplemented names the fields of its project that are not honoured yet.
	Unimplemented(app *v1alpha1.Application, key Key) []string
	// Shares tells whether an Application may use what another one gives: the
	// values of its outputs, which may be secret.
	Shares(app *v1alpha1.Application, key Key, other *v1alpha1.Application, of Key) bool
}

// Destinations resolves where an Application goes to.
type Destinations interface {
	// Server gives the API server's URL for a destination by server or name.
	Server(dest v1alpha1.ApplicationDestination) (server, name string, err error)
}

// Credentials finds what opens a repository.
type Credentials interface {
	For(repo, project string) (source.Credentials, error)
}

// Values is where an Application's Secrets and ConfigMaps are.
type Values interface {
	// Get gives the content of a Secret or ConfigMap of the Application's
	// namespace, and has the Application looked at again when that changes. An
	// error says, too, where the Application's project may not read it.
	Get(ctx context.Context, key Key, project string, secret bool, name string) (map[string][]byte, error)
	// Publish makes a Secret of the Application's namespace hold the given content,
	// and has the Application looked at again when somebody changes that. Where it
	// holds it already it costs nothing.
	Publish(ctx context.Context, app *v1alpha1.Application, key Key, name string, data map[string][]byte) error
}

// Secrets finds the keys of projects. What it gives for a project may change at
// any time; the Applications of the project are then enqueued.
type Secrets interface {
	Keys(project string) render.Keys
}

// Notices are what others than the engine have to tell the users of an Application.
type Notices interface {
	// Notices are conditions by type and message. It must not block, and says the
	// same as long as nothing has changed.
	Notices(app *v1alpha1.Application, key Key) []v1alpha1.ApplicationCondition
}

// Witnesses know who has changed what runs, where its destination says so.
type Witnesses interface {
	// Who names the user; nobody where that is not known, and later is true where it
	// may be in a moment. It does not block.
	Who(t Trace) (who Witnessed, later bool)
}

// Witnessed is who has changed something: the user, and who has acted as him, if
// somebody has.
type Witnessed struct{ User, Through string }

// Trace is what a change has left behind.
type Trace struct {
	// Server and Cluster are the destination's address and name.
	Server, Cluster string
	Ref             plan.Ref
	Deleted         bool
	// Manager of the fields and Written, when by the destination's clock, where it
	// tells; Found is when it was noticed.
	Manager        string
	Written, Found time.Time
}

// Event is something that happened to an Application.
type Event struct {
	Key     Key
	UID     string
	Warning bool
	// Reason is Argo CD's word: OperationStarted, OperationCompleted,
	// ResourceUpdated, StatusRefreshed.
	Reason, Message string
}

// Events takes what happened. It must not block.
type Events interface{ Record(Event) }
