// Package kubestate keeps the states of modules in Secrets, with Leases for locks,
// in the form of OpenTofu's and Terraform's own backend "kubernetes": whoever has
// the right can work on them with these programs, too. It knows nothing of
// modules or Applications.
package kubestate

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	typedcoordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/driver/tofu"
)

const (
	// What OpenTofu's backend "kubernetes" calls these (client.go of it).
	stateKey       = "tfstate"
	suffixLabel    = "tfstateSecretSuffix"
	workspaceLabel = "tfstateWorkspace"
	managedLabel   = "app.kubernetes.io/managed-by"
	lockAnnotation = "app.terraform.io/lock-info"
	encoding       = "encoding"

	// partsAnnotation names the Secrets that hold the rest of a large state, and
	// instanceAnnotation who of Plumb holds a lock.
	partsAnnotation    = "plumb.dev/parts"
	instanceAnnotation = "plumb.dev/instance"

	// partBytes is what one Secret holds of a state: the API server takes 1 MiB of
	// an object, the rest is for its metadata.
	partBytes = 1_000_000
	// maxState bounds what is unpacked.
	maxState = 1 << 30

	renewEvery = 15 * time.Second
	// abandonedAfter is how long a lock of another instance of Plumb must not be
	// renewed while we look on to be taken from it.
	abandonedAfter = 4 * renewEvery
)

// Store keeps states on an API server.
type Store struct {
	secrets  typedcorev1.CoreV1Interface
	leases   typedcoordinationv1.CoordinationV1Interface
	instance string

	mu       sync.Mutex
	renewals map[string]context.CancelFunc // by the lock's id
	held     map[tofu.StateID]string       // the ids of the locks that we took
	seen     map[string]renewal            // of locks of others, by their place
	tidy     map[tofu.StateID]bool         // states without parts that nobody names
	now      func() time.Time
	wait     sync.WaitGroup
}

var _ tofu.States = (*Store)(nil)

// New gives a store. The instance tells Plumb's own locks from those of others.
func New(config *rest.Config, instance string) (*Store, error) {
	secrets, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for states: %w", err)
	}
	leases, err := typedcoordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for locks: %w", err)
	}
	return &Store{
		secrets: secrets, leases: leases, instance: instance, renewals: map[string]context.CancelFunc{},
		held: map[tofu.StateID]string{}, seen: map[string]renewal{}, tidy: map[tofu.StateID]bool{}, now: time.Now,
	}, nil
}

// Close ends the renewal of locks. It releases none.
func (s *Store) Close() {
	s.mu.Lock()
	for _, end := range s.renewals {
		end()
	}
	s.mu.Unlock()
	s.wait.Wait()
}

// secretName is the name that the backend gives to the state's Secret.
func secretName(id tofu.StateID) (string, error) {
	name := strings.Join([]string{stateKey, id.Workspace, id.Name}, "-")
	if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
		return "", fmt.Errorf("the state can't be kept in a Secret named %q: %s", name, strings.Join(faults, ", "))
	}
	return name, nil
}

func labels(id tofu.StateID) map[string]string {
	suffix := id.Name
	if len(suffix) > validation.LabelValueMaxLength {
		sum := sha256.Sum256([]byte(suffix))
		suffix = suffix[:40] + "-" + hex.EncodeToString(sum[:8])
	}
	return map[string]string{stateKey: "true", suffixLabel: suffix, workspaceLabel: id.Workspace, managedLabel: "plumb"}
}

// Load gives a state, or nil where there is none.
func (s *Store) Load(ctx context.Context, id tofu.StateID) ([]byte, error) {
	name, err := secretName(id)
	if err != nil {
		return nil, err
	}
	// A large state whose parts are just being replaced is read again.
	for range 5 {
		secret, err := s.secrets.Secrets(id.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the state: %w", err)
		}
		if err := foreign(secret.Labels, id, name); err != nil {
			return nil, fmt.Errorf("read the state: %w", err)
		}
		packed := secret.Data[stateKey]
		if len(packed) == 0 {
			return nil, nil
		}
		rest, err := s.parts(ctx, secret)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the state: %w", err)
		}
		return unpack(append(bytes.Clone(packed), rest...), id)
	}
	return nil, fmt.Errorf("read the state: the Secret %s/%s names parts that do not exist", id.Namespace, name)
}

func (s *Store) parts(ctx context.Context, secret *corev1.Secret) ([]byte, error) {
	var rest []byte
	for _, part := range partsOf(secret) {
		p, err := s.secrets.Secrets(secret.Namespace).Get(ctx, part, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		rest = append(rest, p.Data[stateKey]...)
	}
	return rest, nil
}

func partsOf(secret *corev1.Secret) []string {
	text := secret.Annotations[partsAnnotation]
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func unpack(packed []byte, id tofu.StateID) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("the state %s/%s is damaged: %w", id.Namespace, id.Name, err)
	}
	state, err := io.ReadAll(io.LimitReader(r, maxState))
	if err != nil {
		return nil, fmt.Errorf("the state %s/%s is damaged: %w", id.Namespace, id.Name, err)
	}
	return state, nil
}

func pack(state []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed) // it is packed again every other second of an apply
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(state); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Save replaces a state. The parts of a large one are written before the Secret
// that names them, so that there is a whole state at any instant.
func (s *Store) Save(ctx context.Context, id tofu.StateID, state []byte) error {
	err := s.save(ctx, id, state)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tidy[id] = err == nil
	return err
}

func (s *Store) save(ctx context.Context, id tofu.StateID, state []byte) error {
	name, err := secretName(id)
	if err != nil {
		return err
	}
	packed, err := pack(state)
	if err != nil {
		return fmt.Errorf("pack the state: %w", err)
	}
	client := s.secrets.Secrets(id.Namespace)
	old, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write the state: %w", err)
	}
	exists := err == nil
	if exists {
		err = foreign(old.Labels, id, name)
	}
	if exists && err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	if err := s.stillHeld(ctx, id, name); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	first := packed[:min(len(packed), partBytes)]
	parts, err := s.saveParts(ctx, id, name, packed[len(first):])
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: id.Namespace, Labels: labels(id)}}
	var obsolete []string
	if exists {
		secret, obsolete = old, partsOf(old)
	}
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	secret.Annotations[encoding] = "gzip"
	delete(secret.Annotations, partsAnnotation)
	if len(parts) > 0 {
		secret.Annotations[partsAnnotation] = strings.Join(parts, ",")
	}
	secret.Data = map[string][]byte{stateKey: first}
	if exists {
		_, err = client.Update(ctx, secret, metav1.UpdateOptions{})
	} else {
		_, err = client.Create(ctx, secret, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	s.mu.Lock()
	tidy := s.tidy[id]
	s.mu.Unlock()
	if !tidy { // an update may have been broken off before
		if obsolete, err = s.allParts(ctx, id, name); err != nil {
			return fmt.Errorf("look for old parts of the state: %w", err)
		}
	}
	return s.deleteParts(ctx, id.Namespace, obsolete, parts)
}

// allParts are those that there are of a state, named by it or not.
func (s *Store) allParts(ctx context.Context, id tofu.StateID, name string) ([]string, error) {
	list, err := s.secrets.Secrets(id.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: managedLabel + "=plumb," + suffixLabel + "=" + labels(id)[suffixLabel] + ",!" + stateKey,
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range list.Items {
		if strings.HasPrefix(list.Items[i].Name, name+"-part-") { // of this workspace
			names = append(names, list.Items[i].Name)
		}
	}
	return names, nil
}

func (s *Store) saveParts(ctx context.Context, id tofu.StateID, name string, rest []byte) ([]string, error) {
	var names []string
	for len(rest) > 0 {
		part := rest[:min(len(rest), partBytes)]
		rest = rest[len(part):]
		sum := sha256.Sum256(part)
		p := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name: fmt.Sprintf("%s-part-%d-%s", name, len(names)+2, hex.EncodeToString(sum[:4])), Namespace: id.Namespace,
				Labels: map[string]string{managedLabel: "plumb", suffixLabel: labels(id)[suffixLabel]},
			},
			Data: map[string][]byte{stateKey: part},
		}
		names = append(names, p.Name)
		if _, err := s.secrets.Secrets(id.Namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, err
		}
	}
	return names, nil
}

func (s *Store) deleteParts(ctx context.Context, namespace string, obsolete, kept []string) error {
	for _, name := range obsolete {
		used := false
		for _, k := range kept {
			used = used || k == name
		}
		if used {
			continue
		}
		if err := s.secrets.Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove an old part of the state: %w", err)
		}
	}
	return nil
}

// Delete removes a state and its lock.
func (s *Store) Delete(ctx context.Context, id tofu.StateID) error {
	name, err := secretName(id)
	if err != nil {
		return err
	}
	client := s.secrets.Secrets(id.Namespace)
	secret, err := client.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		if err := foreign(secret.Labels, id, name); err != nil {
			return fmt.Errorf("remove the state: %w", err)
		}
		if secret.Labels[stateKey] != "true" {
			return fmt.Errorf("remove the state: the Secret %s/%s holds none", id.Namespace, name)
		}
		err = client.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &secret.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the state: %w", err)
	}
	parts, err := s.allParts(ctx, id, name)
	if err != nil {
		return fmt.Errorf("look for parts of the state: %w", err)
	}
	if err := s.deleteParts(ctx, id.Namespace, parts, nil); err != nil {
		return err
	}
	err = s.leases.Leases(id.Namespace).Delete(ctx, "lock-"+name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the lock of the state: %w", err)
	}
	return nil
}

// foreign says why a Secret or Lease is another state's: a name and a workspace
// together do not make a name that no others make, their labels do.
func foreign(have map[string]string, id tofu.StateID, name string) error {
	want := labels(id)
	for _, label := range []string{suffixLabel, workspaceLabel} {
		if v := have[label]; v != "" && v != want[label] {
			return fmt.Errorf("%s/%s is of the state %q in the workspace %q: give this Application another name, or another workspace", id.Namespace, name, have[suffixLabel], have[workspaceLabel])
		}
	}
	return nil
}
