package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/mirror"
)

var _ engine.Values = (*Values)(nil)

// Values reads the Secrets and ConfigMaps that Applications name, and watches
// each of them as long as one does.
//
// Whoever may write an Application gets to see what it names. So a Secret beside
// the credentials of clusters and repositories, in a namespace of Plumb's own,
// has to say which project may use it (label plumb.dev/project); and what holds
// credentials of Plumb itself, or another module's state, is never read.
type Values struct {
	mirrored rest.Interface
	core     typedcorev1.CoreV1Interface
	changed  func(keys ...engine.Key)

	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // watches live as long as it, not as a call
	watchd map[valueID]*valueWatch
}

type valueID struct {
	namespace, name string
	secret          bool
}

// valueWatch is the watch of one object.
type valueWatch struct {
	stop  context.CancelFunc
	await func(context.Context) error
	get   func() metav1.Object
	users map[engine.Key]bool
	// restored is when outputs were last put back that somebody had changed.
	restored time.Time
}

// NewValues makes it. Changed is told of the Applications that use what has
// changed; nothing is watched any more once ctx is done.
func NewValues(ctx context.Context, config *rest.Config, changed func(...engine.Key)) (*Values, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the core types: %w", err)
	}
	mirrored, err := mirror.ClientFor(config, corev1.SchemeGroupVersion, scheme)
	if err != nil {
		return nil, err
	}
	core, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for Secrets: %w", err)
	}
	return &Values{mirrored: mirrored, core: core, changed: changed, ctx: ctx, watchd: map[valueID]*valueWatch{}}, nil
}

// Get gives the content of a Secret or ConfigMap.
func (v *Values) Get(ctx context.Context, key engine.Key, project string, secret bool, name string) (map[string][]byte, error) {
	id := valueID{key.Namespace, name, secret}
	w := v.watch(id, key)
	if err := w.await(ctx); err != nil {
		v.drop(id)
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	switch o := w.get().(type) {
	case *corev1.Secret:
		if err := readable(o, project); err != nil {
			return nil, err
		}
		return o.Data, nil
	case *corev1.ConfigMap:
		data := make(map[string][]byte, len(o.Data)+len(o.BinaryData))
		for k, text := range o.Data {
			data[k] = []byte(text)
		}
		maps.Copy(data, o.BinaryData)
		return data, nil
	}
	return nil, fmt.Errorf("%s does not exist: make it, or correct its name", id)
}

func (id valueID) String() string {
	kind := "ConfigMap"
	if id.secret {
		kind = "Secret"
	}
	return "the " + kind + " " + id.namespace + "/" + id.name
}

// readable says why a Secret may not be read.
func readable(s *corev1.Secret, project string) error {
	_, argo := s.Labels[v1alpha1.LabelSecretType]
	_, plumb := s.Labels[v1alpha1.PlumbLabelSecretType]
	if argo || plumb || s.Type == corev1.SecretTypeServiceAccountToken || s.Labels["tfstate"] == "true" || strings.HasPrefix(s.Name, "tfstate-") || s.Name == "plumb-installation" {
		return fmt.Errorf("the Secret %s/%s may not be used here: it holds credentials or a state that are not an Application's", s.Namespace, s.Name)
	}
	if s.Namespace != SystemNamespace && s.Namespace != ArgoNamespace {
		return nil
	}
	if of := s.Labels[v1alpha1.LabelProject]; of != project {
		return fmt.Errorf("the Secret %s/%s may not be used by the project %s: in this namespace, a Secret has to name its project (label it with %s=%s)", s.Namespace, s.Name, project, v1alpha1.LabelProject, project)
	}
	return nil
}

// watch gives the watch of an object, and notes who uses it.
func (v *Values) watch(id valueID, key engine.Key) *valueWatch {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.watchd[id]
	if w == nil {
		w = v.start(id)
		v.watchd[id] = w
	}
	w.users[key] = true
	return w
}

func (v *Values) start(id valueID) *valueWatch {
	ctx, stop := context.WithCancel(v.ctx)
	w := &valueWatch{stop: stop, users: map[engine.Key]bool{}}
	selector := fields.OneTermEqualSelector("metadata.name", id.name).String()
	if id.secret {
		m := mirror.New(mirror.Options[*corev1.Secret]{
			Client: v.mirrored, Resource: "secrets", Namespace: id.namespace, FieldSelector: selector, Example: &corev1.Secret{},
			Changed: func(old, now *corev1.Secret) {
				v.tell(id, old == nil || now == nil || !maps.EqualFunc(old.Data, now.Data, bytes.Equal) || !maps.Equal(old.Labels, now.Labels))
			},
		})
		go m.Run(ctx)
		w.await = m.Await
		w.get = func() metav1.Object {
			if s, ok := m.Get(id.namespace, id.name); ok {
				return s
			}
			return nil
		}
		return w
	}
	m := mirror.New(mirror.Options[*corev1.ConfigMap]{
		Client: v.mirrored, Resource: "configmaps", Namespace: id.namespace, FieldSelector: selector, Example: &corev1.ConfigMap{},
		Changed: func(old, now *corev1.ConfigMap) {
			v.tell(id, old == nil || now == nil || !maps.Equal(old.Data, now.Data) || !maps.EqualFunc(old.BinaryData, now.BinaryData, bytes.Equal))
		},
	})
	go m.Run(ctx)
	w.await = m.Await
	w.get = func() metav1.Object {
		if s, ok := m.Get(id.namespace, id.name); ok {
			return s
		}
		return nil
	}
	return w
}

func (v *Values) drop(id valueID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if w := v.watchd[id]; w != nil {
		w.stop()
		delete(v.watchd, id)
	}
}

// tell has those looked at again that use what has changed.
func (v *Values) tell(id valueID, changed bool) {
	if !changed {
		return
	}
	v.mu.Lock()
	var keys []engine.Key
	if w := v.watchd[id]; w != nil {
		keys = slices.Collect(maps.Keys(w.users))
	}
	v.mu.Unlock()
	if len(keys) > 0 {
		v.changed(keys...)
	}
}

// Retain ends the watches of what is used by Applications no longer.
func (v *Values) Retain(uses func(engine.Key) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, w := range v.watchd {
		maps.DeleteFunc(w.users, func(k engine.Key, _ bool) bool { return !uses(k) })
		if len(w.users) == 0 {
			w.stop()
			delete(v.watchd, id)
		}
	}
}

// outputsAnnotation names the Application whose outputs a Secret holds.
const outputsAnnotation = "plumb.dev/outputs-of"

var errForeignSecret = errors.New("it exists, and does not belong to the Application: choose another name")

// Publish makes a Secret hold an Application's outputs. The Secret goes with it.
func (v *Values) Publish(ctx context.Context, app *v1alpha1.Application, key engine.Key, name string, data map[string][]byte) error {
	id := valueID{key.Namespace, name, true}
	w := v.watch(id, key)
	if err := w.await(ctx); err != nil {
		v.drop(id)
		return err
	}
	if have, ok := w.get().(*corev1.Secret); ok && have.Annotations[outputsAnnotation] == key.String() && maps.EqualFunc(have.Data, data, bytes.Equal) {
		return nil
	}
	client := v.core.Secrets(key.Namespace)
	gv := v1alpha1.GroupVersion
	if key.Group == v1alpha1.ArgoGroupVersion.Group {
		gv = v1alpha1.ArgoGroupVersion
	}
	want := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: key.Namespace, Annotations: map[string]string{outputsAnnotation: key.String()},
			Labels:          map[string]string{"app.kubernetes.io/managed-by": "plumb"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: gv.String(), Kind: "Application", Name: app.Name, UID: app.UID}},
		},
		Data: data,
	}
	have, err := client.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if err := v.restoring(w); err != nil {
			return err
		}
		_, err = client.Create(ctx, want, metav1.CreateOptions{})
		return err
	case err != nil:
		return err
	case have.Annotations[outputsAnnotation] != key.String():
		return errForeignSecret
	case maps.EqualFunc(have.Data, data, bytes.Equal):
		return nil
	}
	if err := v.restoring(w); err != nil {
		return err
	}
	have.Data = data
	_, err = client.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

// restorePause is the shortest time between two writes of one Secret with outputs:
// what somebody else changes all the time is not fought for.
const restorePause = time.Second

var errContended = errors.New("something else has changed it just now: it is written again soon")

// restoring notes a write, unless the last was a moment ago.
func (v *Values) restoring(w *valueWatch) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if now.Sub(w.restored) < restorePause {
		return errContended
	}
	w.restored = now
	return nil
}
