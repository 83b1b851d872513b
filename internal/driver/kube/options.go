package kube

import (
	"log/slog"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
)

// What Plumb writes on the objects that it manages.
const (
	// LabelManaged marks every managed object; watches select by it.
	LabelManaged = "plumb.dev/managed"
	// AnnotationOwner names the Application that holds an object.
	AnnotationOwner = "plumb.dev/tracking-id"
	// AnnotationHost names the installation of Plumb that applied an object.
	AnnotationHost = "plumb.dev/installation-id"
	// AnnotationOperation and AnnotationPhase tell for which sync, and which
	// phase of it, a hook was made.
	AnnotationOperation = "plumb.dev/operation"
	AnnotationPhase     = "plumb.dev/hook-phase"
)

// Clusters knows how to reach destinations.
type Clusters interface {
	// Config gives the client configuration of a destination by its server URL.
	Config(server string) (*rest.Config, error)
}

// Options of a Driver.
type Options struct {
	Clusters Clusters
	// OwnerExists tells whether an Application exists, to know whether its mark
	// on an object still counts. Nil: every owner exists.
	OwnerExists func(driver.Owner) bool
	// Assess gives the health of an object. Nil: everything is healthy.
	Assess func(*unstructured.Unstructured) health.Health
	// Key, where it is set, keeps what is remembered of objects from telling
	// anything about their content (HMAC). It must stay the same over restarts.
	Key []byte
	// Installation identifies this Plumb. Where it is set, objects that this
	// installation applied but did not live to record are found and pruned.
	Installation string
	// Log is for what nobody asked for: watches lost and found. Nil: nothing.
	Log *slog.Logger
	// Requests, where it is set, is told of every request sent to a destination:
	// "watch", "list", "get", "patch", "dry-run", "create", "put", "delete",
	// "discover".
	Requests func(server, verb string)
	// UserAgent of all requests. Default: "plumb".
	UserAgent string
}
