package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/controller"
)

// installationSecret holds what makes this control plane's Plumb different from
// any other: an id, and a key that keeps remembered hashes from telling anything
// about what was hashed.
const (
	installationSecret = "plumb-installation"
	installationID     = "id"
	installationKey    = "key"
	keyBytes           = 32
	idBytes            = 8
)

type mark struct {
	id  string
	key []byte
}

// installation reads the control plane's mark, and makes it the first time.
func installation(ctx context.Context, config *rest.Config) (mark, error) {
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return mark{}, fmt.Errorf("make a client for Secrets: %w", err)
	}
	secrets := client.Secrets(controller.SystemNamespace)
	secret, err := secrets.Get(ctx, installationSecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		secret, err = secrets.Create(ctx, newInstallation(), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			secret, err = secrets.Get(ctx, installationSecret, metav1.GetOptions{})
		}
	}
	if err != nil {
		return mark{}, fmt.Errorf("read the Secret %s/%s: %w", controller.SystemNamespace, installationSecret, err)
	}
	m := mark{id: string(secret.Data[installationID]), key: secret.Data[installationKey]}
	if m.id == "" || len(m.key) < keyBytes {
		return mark{}, fmt.Errorf("the Secret %s/%s is damaged: restore it, or delete it to have all that is applied compared anew: %w",
			controller.SystemNamespace, installationSecret, errDamaged)
	}
	return m, nil
}

var errDamaged = errors.New("its id or key is missing")

func newInstallation() *corev1.Secret {
	id, key := make([]byte, idBytes), make([]byte, keyBytes)
	rand.Read(id) // never fails
	rand.Read(key)
	immutable := true
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: controller.SystemNamespace, Name: installationSecret},
		Immutable:  &immutable,
		Data: map[string][]byte{
			installationID:  []byte(hex.EncodeToString(id)),
			installationKey: key,
		},
	}
}
