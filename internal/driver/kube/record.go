package kube

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/health"
	"github.com/plumb-dev/plumb/internal/plan"
)

// name is a namespace and a name, or a name alone.
type name struct{ namespace, name string }

// record is all that is kept of a live object. It is never changed.
type record struct {
	uid, version string
	// content changes whenever what is declared in the object changes, by whomever:
	// its generation, or its version where the kind has none.
	content string
	owner   driver.Owner
	host    string
	// projection is the mark of what Plumb owns of it, made under the ruling
	// with that key.
	projection, ruling string
	health             health.Health
	created            time.Time
	deleting           bool
	// gone is set once a deletion has been answered as done, until it is seen.
	gone      bool
	operation string
	phase     plan.Phase
	// hook is set where the object was made as one.
	hook bool
	wave int
	// guards are the sync and compare options on the live object.
	guards string
	helm   bool
	images []string
}

// options of the live object over an Application's.
func (r *record) options(app syncOptions) syncOptions {
	if r.guards != "" {
		for _, part := range strings.Split(r.guards, ",") {
			if strings.TrimSpace(part) == "IgnoreExtraneous" {
				app.ignoreExtraneous = true
			}
		}
		app = app.with(strings.Split(r.guards, ","))
	}
	app.keepByHelm = r.helm
	return app
}

// recorder makes records of live objects.
type recorder struct {
	hash   hasher
	assess func(*unstructured.Unstructured) health.Health
	rules  func(driver.Owner) *ruleSet
}

func (c *recorder) record(ref plan.Ref, object map[string]any) *record {
	metadata, _ := object["metadata"].(map[string]any)
	annotations := texts(metadata["annotations"])
	r := &record{
		uid: text(metadata, "uid"), version: text(metadata, "resourceVersion"),
		owner: driver.Owner(annotations[AnnotationOwner]), host: annotations[AnnotationHost],
		operation: annotations[AnnotationOperation],
		deleting:  text(metadata, "deletionTimestamp") != "",
		wave:      waveOf(annotations),
		helm:      annotations["helm.sh/resource-policy"] == "keep",
		guards:    guards(annotations),
		images:    images(object, ref.Kind),
	}
	r.created, _ = time.Parse(time.RFC3339, text(metadata, "creationTimestamp"))
	if r.operation != "" {
		r.hook, r.phase = true, hookPhases[annotations[AnnotationPhase]]
	}
	r.content = r.version
	if g := (&unstructured.Unstructured{Object: object}).GetGeneration(); g > 0 {
		r.content = strconv.FormatInt(g, 10)
	}
	ruling := c.rules(r.owner).of(ref)
	r.ruling = ruling.key()
	r.projection = c.hash.projection(object, ruling.skip(object))
	r.health = c.healthOf(object)
	return r
}

// healthOf asks for an object's health. Records are made by watches: a check that
// breaks on one object must not end them all.
func (c *recorder) healthOf(object map[string]any) (h health.Health) {
	if c.assess == nil {
		return health.Health{Status: health.Healthy}
	}
	defer func() {
		if recover() != nil {
			h = health.Health{Status: health.Unknown, Message: "the health check of this kind broke on this object"}
		}
	}()
	return c.assess(&unstructured.Unstructured{Object: object})
}

// moved tells whether an owner has to look again, now that a record has taken
// the place of another.
func (r *record) moved(old *record) bool {
	return old == nil || old.gone || r.uid != old.uid || r.owner != old.owner || r.projection != old.projection ||
		r.health != old.health || r.deleting != old.deleting || r.operation != old.operation || r.guards != old.guards
}

// onlyProjection tells whether nothing but what Plumb owns has changed.
func (r *record) onlyProjection(old *record) bool {
	return old != nil && !old.gone && r.uid == old.uid && r.owner == old.owner && r.health == old.health &&
		r.deleting == old.deleting && r.operation == old.operation
}

// older tells whether a record is of an earlier state of the object than another.
func (r *record) older(than *record) bool {
	if than == nil || r.uid != than.uid {
		return false
	}
	c, err := resourceversion.CompareResourceVersion(r.version, than.version)
	return err == nil && c < 0
}

func guards(annotations map[string]string) string {
	a, b := annotation(annotations, v1alpha1.NameSyncOptions), annotation(annotations, v1alpha1.NameCompareOptions)
	if a == "" || b == "" {
		return a + b
	}
	return a + "," + b
}

func texts(v any) map[string]string {
	m, _ := v.(map[string]any)
	out := make(map[string]string, len(m))
	for k, x := range m {
		if s, ok := x.(string); ok {
			out[k] = s
		}
	}
	return out
}

// images that an object's pods run.
func images(object map[string]any, kind string) []string {
	var spec any
	switch kind {
	case "Pod":
		spec = object["spec"]
	case "CronJob":
		spec = at(object, "spec", "jobTemplate", "spec", "template", "spec")
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController", "Rollout":
		spec = at(object, "spec", "template", "spec")
	}
	m, _ := spec.(map[string]any)
	var out []string
	for _, field := range []string{"initContainers", "containers"} {
		containers, _ := m[field].([]any)
		for _, c := range containers {
			if image, _ := at(asMap(c), "image").(string); image != "" && !slices.Contains(out, image) {
				out = append(out, image)
			}
		}
	}
	return out
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
