// Package assess says how healthy a Kubernetes object is, in Argo CD's words
// and with Argo CD's messages. It only reads the object it is given: it does no
// I/O, asks no cluster, and never changes the object.
//
// The first of these that knows the object answers:
//
//  1. an object that is being deleted (and is no hook held by Argo CD's hook
//     finalizer) is Progressing, "Pending deletion", unless the script for its
//     kind speaks of deletion itself and so can say what it waits for;
//  2. the health script that the user gave for exactly this kind, then one whose
//     key matches it as a wildcard (argocd-cm);
//  3. Argo CD's own Lua check for exactly this kind, then one of its wildcard
//     directories;
//  4. Argo CD's rules for built-in kinds (workloads, Pods, Services, …);
//  5. an Application's own status.health, for applications of applications.
//     Argo CD leaves this to a script that users paste into argocd-cm;
//  6. kstatus, and only where the object itself says something by a condition
//     (Ready, Reconciling, Stalled) or by an observed generation. Argo CD says
//     nothing about such objects, which it counts as healthy;
//  7. anything else is Healthy: that is how Argo CD counts an object for whose
//     kind it has no check.
//
// A check that fails is Unknown, with the reason as its message.
package assess

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/internal/health"
)

// hookFinalizer holds a hook until its phase of the sync is over.
const hookFinalizer = "argocd.argoproj.io/hook-finalizer"

// Assessor assesses objects. It is safe for concurrent use. Scripts are
// compiled when an object first needs them, and kept.
type Assessor struct {
	overrides overrides
	builtin   *library
}

// Option configures an Assessor.
type Option func(*Assessor)

// WithOverrides gives the user's own checks: the data of Argo CD's ConfigMap
// argocd-cm. Of it, the keys resource.customizations.health.<group>_<Kind>,
// resource.customizations.useOpenLibs.<group>_<Kind> and the older
// resource.customizations are read. A health check always runs in a sandbox
// without files, processes and environment, also with useOpenLibs, which adds
// the rest of Lua's standard library (string, math, coroutine, os.time).
func WithOverrides(argocdCM map[string]string) Option {
	return func(a *Assessor) { a.overrides = parseOverrides(argocdCM) }
}

// New gives an Assessor with Argo CD's checks.
func New(options ...Option) *Assessor {
	a := &Assessor{builtin: newLibrary()}
	for _, o := range options {
		o(a)
	}
	return a
}

// Problems says what of the overrides could not be read and is not used.
func (a *Assessor) Problems() []error { return a.overrides.problems }

// Health assesses one live object. The object is not changed.
func (a *Assessor) Health(obj *unstructured.Unstructured) health.Health {
	h, _ := a.Check(obj)
	return h
}

// Check is Health that also tells whether anything knows how to assess the
// object. Where nothing does, the health is Healthy, as Argo CD counts it.
func (a *Assessor) Check(obj *unstructured.Unstructured) (h health.Health, known bool) {
	if obj == nil || len(obj.Object) == 0 {
		return health.Health{Status: health.Missing}, true
	}
	group, kind := groupKind(obj)
	s, err := a.script(group, kind)
	if err != nil {
		return unknown(err), true
	}
	deleting := obj.GetDeletionTimestamp() != nil && !hasHookFinalizer(obj)
	if deleting && (s == nil || !s.deletion) {
		return health.Health{Status: health.Progressing, Message: "Pending deletion"}, true
	}
	if s != nil {
		return s.run(obj), true
	}
	if rule := ruleFor(group, kind); rule != nil {
		h, err := rule(obj)
		if err != nil {
			return unknown(err), true
		}
		return h, true
	}
	if kind == "Application" && (group == "argoproj.io" || group == "plumb.dev") {
		return applicationHealth(obj), true
	}
	if h, ok := generic(obj); ok {
		return h, true
	}
	return health.Health{Status: health.Healthy}, false
}

// script gives the script for a kind, the user's before Argo CD's, or nil.
func (a *Assessor) script(group, kind string) (*script, error) {
	if s := a.overrides.find(group, kind); s != nil {
		return s, nil
	}
	return a.builtin.find(group, kind)
}

// unknown is the health of an object whose check failed.
func unknown(err error) health.Health {
	return health.Health{Status: health.Unknown, Message: err.Error()}
}

// groupKind splits an object's apiVersion without building a GVK.
func groupKind(obj *unstructured.Unstructured) (group, kind string) {
	group, _, found := strings.Cut(obj.GetAPIVersion(), "/")
	if !found {
		group = ""
	}
	return group, obj.GetKind()
}

// key is Argo CD's name of a kind: "group/Kind", or "Kind" in the core group.
func key(group, kind string) string {
	if group == "" {
		return kind
	}
	return group + "/" + kind
}

func hasHookFinalizer(obj *unstructured.Unstructured) bool {
	for _, f := range obj.GetFinalizers() {
		if f == hookFinalizer {
			return true
		}
	}
	return false
}

// applicationHealth is what an Application says of itself; one that nobody has
// looked at yet is on its way.
func applicationHealth(obj *unstructured.Unstructured) health.Health {
	own, _, _ := unstructured.NestedFieldNoCopy(obj.Object, "status", "health")
	m, _ := own.(map[string]any)
	status, _ := m["status"].(string)
	message, _ := m["message"].(string)
	if status == "" {
		return health.Health{Status: health.Progressing}
	}
	if !valid(status) {
		return health.Health{Status: health.Unknown, Message: message}
	}
	return health.Health{Status: health.Status(status), Message: message}
}

// valid tells whether a word is one of Argo CD's six.
func valid(status string) bool {
	switch health.Status(status) {
	case health.Healthy, health.Suspended, health.Progressing, health.Missing, health.Degraded, health.Unknown:
		return true
	}
	return false
}
