package controller

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// TestOutputsAreRestored puts back the Secret of outputs that somebody has changed
// or removed.
func TestOutputsAreRestored(t *testing.T) {
	w := newWorld(t)
	key := engine.Key{Group: v1alpha1.GroupVersion.Group, Namespace: kubetest.Namespace(t), Name: "infra"}
	told := &sink{}
	v, err := NewValues(t.Context(), kubetest.Config(t), told.Enqueue)
	if err != nil {
		t.Fatal(err)
	}
	app := &v1alpha1.Application{}
	app.Name, app.UID = "infra", "1234"
	data := map[string][]byte{"name": []byte("x")}
	secrets := w.kube.CoreV1().Secrets(key.Namespace)
	holds := func() bool {
		s, err := secrets.Get(t.Context(), "outputs", metav1.GetOptions{})
		return err == nil && string(s.Data["name"]) == "x"
	}
	publish := func(what string) {
		t.Helper()
		eventually(t, what, func() bool { return v.Publish(t.Context(), app, key, "outputs", data) == nil && holds() })
	}
	publish("they are written")
	noticed := func(what string, change func() error) {
		t.Helper()
		eventually(t, "what was written is known", func() bool {
			before := told.count(key)
			return v.Publish(t.Context(), app, key, "outputs", data) == nil && told.count(key) == before
		})
		before := told.count(key)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		eventually(t, what, func() bool { return told.count(key) > before })
		publish(what + ", and put right")
	}
	noticed("a change is noticed", func() error {
		s, err := secrets.Get(t.Context(), "outputs", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Data["name"] = []byte("theirs")
		_, err = secrets.Update(t.Context(), s, metav1.UpdateOptions{})
		return err
	})
	noticed("a deletion is noticed", func() error { return secrets.Delete(t.Context(), "outputs", metav1.DeleteOptions{}) })
	if err := v.Publish(t.Context(), app, engine.Key{Group: key.Group, Namespace: key.Namespace, Name: "other"}, "outputs", data); err == nil {
		t.Error("another Application's Secret is taken")
	}
}
