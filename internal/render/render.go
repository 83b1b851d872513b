// Package render is the contract between trees and bundles: a renderer turns
// the content of a source and an Application's parameters into the desired
// resources of one driver. Rendering is a pure function of these; it runs in
// process, starts no program, and reads nothing but the trees it is given.
package render

import (
	"context"
	"encoding/json"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/source"
)

// Object is one desired Kubernetes object.
type Object struct {
	Ref plan.Ref
	// JSON is the object in canonical form: compact, keys sorted.
	JSON []byte
	// Hash is of JSON.
	Hash string
	// File and Line tell where the object was declared, as far as is known.
	File string
	Line int
}

// Bundle is the desired state of one Application for one driver.
type Bundle struct {
	// Driver that can make it true: "kube", "tofu".
	Driver string
	// Hash identifies the bundle's content: of all objects in order.
	Hash    string
	Objects []Object
	// SourceType is Argo CD's word: Helm, Kustomize, Directory, Plugin.
	SourceType string
	// Images that the objects run, for the status' summary.
	Images []string
	// Warnings do not stop a sync: they become conditions.
	Warnings []string
	// Module is set for the driver of modules, in place of objects.
	Module *Module
	// Secrets are the texts that were decrypted or looked up. Wherever something
	// of the bundle is shown they are masked, in whatever object they ended up.
	Secrets Texts
	// Expires is when the references in the bundle are to be looked up again;
	// zero where there are none.
	Expires time.Time
}

// Module is an OpenTofu or Terraform module, with all of the repository that it
// reads. It is shared, and must not be changed.
type Module struct {
	// Files by their path in the repository, and Dir, the module's folder.
	Files map[string][]byte
	Dir   string
	// VarFiles are paths of files of values in Files, the last counts most.
	VarFiles []string
	// Options of the source.
	Options v1alpha1.ApplicationSourceTofu
	// Variables are values of variables, and Env is the environment of the
	// providers, both beside what Options say: from Secrets and outputs of others.
	// Backend are settings of the backend that were looked up.
	Variables, Env, Backend map[string]Value
}

// Value is a value from elsewhere.
type Value struct {
	// JSON of the value.
	JSON json.RawMessage
	// Sensitive values must not be shown.
	Sensitive bool
	// Optional values are left out where nothing is declared that takes them.
	Optional bool
}

// MarshalJSON hides what is sensitive.
func (v Value) MarshalJSON() ([]byte, error) {
	if v.Sensitive {
		return []byte(`"(sensitive value)"`), nil
	}
	return v.JSON, nil
}

// String hides what is sensitive.
func (v Value) String() string {
	if v.Sensitive {
		return "(sensitive value)"
	}
	return string(v.JSON)
}

// Text is a string's content, and the JSON of everything else.
func (v Value) Text() string {
	var s string
	if json.Unmarshal(v.JSON, &s) == nil {
		return s
	}
	return string(v.JSON)
}

// Input is one of an Application's sources, fetched.
type Input struct {
	Source v1alpha1.ApplicationSource
	Tree   source.Tree
	// Path inside the tree ("." for a chart).
	Path string
}

// Request is everything a bundle depends on.
type Request struct {
	// Name, Namespace and Project of the Application; Namespace is that of its
	// destination.
	AppName, Namespace, Project string
	Input                       Input
	// Refs are the trees of the sources with a "ref", by that name.
	Refs map[string]Input
	// KubeVersion ("v1.36.3") and APIVersions ("apps/v1", "apps/v1/Deployment")
	// of the destination.
	KubeVersion string
	APIVersions []string
	// Inputs are values from other Applications by name, which a kustomization
	// finds in the ConfigMap "plumb-inputs". For others they are in the source.
	Inputs map[string]Value
	// Limits bound what one Application may cost.
	Limits Limits
	// Charts fetches a chart's dependencies, which only Helm needs. May be nil.
	Charts ChartFetcher
	// Remotes fetches what a kustomization or a chart's values name by a URL.
	// Nil means that such references are refused.
	Remotes RemoteFetcher
	// Keys are those of the Application's project. Nil means that nothing is
	// decrypted or looked up.
	Keys Keys
	// At is when it is, for how long looked up references hold.
	At time.Time
	// Fresh asks for references to be looked up now, whatever is known of them.
	Fresh bool
	// Uncached asks for all of it to be rendered now, and what it refers to in other
	// places to be fetched, whatever is known; the result is not kept.
	Uncached bool

	opened *Opened
}

// RemoteFetcher gets content that a repository refers to by URL. It decides
// which hosts it talks to, and with which credentials.
type RemoteFetcher interface {
	// FetchRepo gives a Git repository's content at a revision (empty is HEAD).
	FetchRepo(ctx context.Context, repo, revision string) (source.Tree, error)
	// FetchFile gives the content of an http or https URL.
	FetchFile(ctx context.Context, url string) ([]byte, error)
}

// ChartFetcher gets the content of a chart that a chart depends on.
type ChartFetcher interface {
	FetchChart(ctx context.Context, repo, name, version string) (source.Tree, error)
}

// Limits bound what rendering one Application may cost. Zero means the default.
type Limits struct {
	FileBytes    int64 // largest single file, default 10 MiB
	TotalBytes   int64 // all that is rendered, default 100 MiB
	Objects      int   // default 8,000: what fits into an inventory
	RenderMillis int   // default 90,000
}

// Default limits.
const (
	DefaultFileBytes    = 10 << 20
	DefaultTotalBytes   = 100 << 20
	DefaultObjects      = 8_000
	DefaultRenderMillis = 90_000
)

// OrDefault gives the limits with the defaults in place of zeros.
func (l Limits) OrDefault() Limits {
	if l.FileBytes <= 0 {
		l.FileBytes = DefaultFileBytes
	}
	if l.TotalBytes <= 0 {
		l.TotalBytes = DefaultTotalBytes
	}
	if l.Objects <= 0 {
		l.Objects = DefaultObjects
	}
	if l.RenderMillis <= 0 {
		l.RenderMillis = DefaultRenderMillis
	}
	return l
}

// Renderer renders what one tool understands.
type Renderer interface {
	// Render gives the bundle. Its errors name file and line where there is one.
	Render(ctx context.Context, req Request) (Bundle, error)
}
