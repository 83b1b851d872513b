package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/config"
	sopsyaml "github.com/getsops/sops/v3/stores/yaml"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// sealed encrypts a YAML text with SOPS for an age identity.
func sealed(t *testing.T, id *age.X25519Identity, plain string) string {
	t.Helper()
	store := sopsyaml.NewStore(&config.NewStoresConfig().YAML)
	branches, err := store.LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	dataKey := bytes.Repeat([]byte{7}, 32)
	var enc bytes.Buffer
	a := armor.NewWriter(&enc)
	w, err := age.Encrypt(a, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(dataKey)
	_, _ = w.Close(), a.Close()
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{
		Version: "3.13.3", EncryptedRegex: "^(data|stringData|spec)$", LastModified: time.Now().UTC(),
		KeyGroups: []sops.KeyGroup{{&sopsage.MasterKey{Recipient: id.Recipient().String(), EncryptedKey: enc.String()}}},
	}}
	mac, err := tree.Encrypt(dataKey, aes.NewCipher())
	if err != nil {
		t.Fatal(err)
	}
	tree.Metadata.MessageAuthenticationCode, err = aes.NewCipher().Encrypt(mac, dataKey, tree.Metadata.LastModified.Format(time.RFC3339))
	if err != nil {
		t.Fatal(err)
	}
	out, err := store.EmitEncryptedFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// secretStore answers as Vault does to a read of a secret.
type secretStore struct {
	mu    sync.Mutex
	value string
}

func (s *secretStore) put(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value = v
}

func (s *secretStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Header.Get("X-Vault-Token") != "vault-"+planted:
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"errors": ["permission denied"]}`))
	case strings.HasPrefix(r.URL.Path, "/v1/sys/internal/ui/mounts/"):
		_, _ = w.Write([]byte(`{"data": {"path": "kv/", "options": {"version": "2"}}}`))
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": map[string]any{"password": s.value}}})
	}
}

// planted is in every secret of this test: nothing but the objects may have it.
const planted = "c4n4ry-pl4nted"

// witness keeps all that a server says.
type witness struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *witness) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *witness) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// TestSecrets takes secrets through everything: a missing key, a key that
// comes, a value that rotates, an object that is refused; and looks for them in
// everything that is said on the way.
func TestSecrets(t *testing.T) {
	said := &witness{}
	r := runServer(t, t.TempDir(), func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	eventually(t, "the server leads", r.leads)
	ns := kubetest.Namespace(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	store := &secretStore{value: "first-" + planted}
	vault := httptest.NewServer(store)
	defer vault.Close()

	secret := func(value string) string {
		return sealed(t, id, "apiVersion: v1\nkind: Secret\nmetadata:\n    name: sealed\nstringData:\n    password: "+value+"\n")
	}
	inConfigMap := func(value string) string {
		return sealed(t, id, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: leaky\ndata:\n    url: "+value+"\n    other: plain-text\n")
	}
	repo := newRepository(t, map[string]string{
		"app/secret.yaml": secret("one-" + planted), "app/leaky.yaml": inConfigMap("two-" + planted),
		"app/looked-up.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: looked-up}\ndata: {url: 'db://ref+vault://kv/db#/password+@host'}\n",
		"app/refused.yaml":   sealed(t, id, "apiVersion: v1\nkind: Service\nmetadata:\n    name: refused\nspec:\n    type: Type-"+planted+"\n    ports:\n        - port: 80\n"),
	})
	createApplication(t, ns, "sealed", repo.dir, "app")
	kube := kubernetes.NewForConfigOrDie(kubetest.Config(t))
	apps := dynamic.NewForConfigOrDie(kubetest.Config(t)).Resource(applications).Namespace(ns)
	// HEAD of this repository moves with what is checked out.
	patch := func(text string) {
		t.Helper()
		if _, err := apps.Patch(t.Context(), "sealed", "application/merge-patch+json", []byte(text), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch(`{"spec":{"source":{"targetRevision":"main"}}}`)
	statusText := func() string {
		app, err := apps.Get(t.Context(), "sealed", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		text, _ := json.Marshal(app.Object)
		return string(text)
	}
	says := func(want string) func() error {
		return func() error {
			if text := statusText(); !strings.Contains(text, want) {
				return fmt.Errorf("no %q in %s", want, text)
			}
			return nil
		}
	}
	eventually(t, "a missing key is told of", says("project default has no key for it"))

	name := "keys-" + ns
	_, err = kube.CoreV1().Secrets(controller.SystemNamespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.PlumbLabelSecretType: v1alpha1.SecretTypeDecryption}},
		StringData: map[string]string{"age.agekey": id.String(), "vault-address": vault.URL, "vault-token": "vault-" + planted},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = kube.CoreV1().Secrets(controller.SystemNamespace).Delete(t.Context(), name, metav1.DeleteOptions{})
	})
	data := func(object, want string) func() error {
		return func() error {
			m, err := kube.CoreV1().ConfigMaps(ns).Get(t.Context(), object, metav1.GetOptions{})
			if err == nil && m.Data["url"] != want {
				err = fmt.Errorf("url is %q", m.Data["url"])
			}
			return err
		}
	}
	eventually(t, "what is sealed is opened and applied", data("leaky", "two-"+planted))
	eventually(t, "what is referred to is looked up and applied", data("looked-up", "db://first-"+planted+"@host"))
	eventually(t, "the Secret is there", func() error {
		s, err := kube.CoreV1().Secrets(ns).Get(t.Context(), "sealed", metav1.GetOptions{})
		if err == nil && string(s.Data["password"]) != "one-"+planted {
			err = fmt.Errorf("the password is %q", s.Data["password"])
		}
		return err
	})
	eventually(t, "the refused object is told of", says("service/refused"))

	store.put("second-" + planted)
	patch(`{"metadata":{"annotations":{"plumb.dev/refresh":"normal"}}}`)
	eventually(t, "a rotated value arrives with a refresh", data("looked-up", "db://second-"+planted+"@host"))

	repo.git("checkout", "-q", "-b", "next")
	repo.commit(map[string]string{"app/secret.yaml": secret("three-" + planted), "app/leaky.yaml": inConfigMap("four-" + planted), "app/new.yaml": configMap("new", "in-the-open")})
	seen := previewText(t, ns)
	repo.git("checkout", "-q", "main")
	repo.git("merge", "-q", "next")
	eventually(t, "a commit is applied", data("leaky", "four-"+planted))

	events, err := kube.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventText, _ := json.Marshal(events)
	_, metrics, err := r.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"the preview": seen, "the Application": statusText(), "an event": string(eventText), "a metric": metrics, "the log": said.String(),
	} {
		for _, hidden := range []string{planted, base64.StdEncoding.EncodeToString([]byte("one-" + planted)), id.String()} {
			if at := strings.Index(text, hidden); at >= 0 {
				t.Errorf("%s shows a secret: %s", what, text[max(0, at-300):min(len(text), at+100)])
			}
		}
	}
	if !strings.Contains(seen, "++++++++") || !strings.Contains(seen, "in-the-open") {
		t.Errorf("the preview masks nothing, or all: %s", seen)
	}
}

// previewText is all that a preview holds, as programs and people get it.
func previewText(t *testing.T, ns string) string {
	t.Helper()
	p, end, err := NewPreviewer(t.Context(), kubetest.Config(t), t.TempDir(), Tools{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	key := engine.Key{Group: v1alpha1.Group, Namespace: ns, Name: "sealed"}
	app, ok := p.Applications.Get(key)
	if !ok {
		t.Fatal("the Application is not known")
	}
	preview, err := p.Preview(t.Context(), app, key, engine.PreviewOptions{Revisions: []string{"next"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(preview.Comparison)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
