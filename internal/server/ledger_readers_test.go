package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// asked is what is looked at of an answer, beside its text.
type asked struct {
	StatusCode int
	Header     http.Header
}

// ask asks for a place of the ledger with a token.
func (r *running) ask(t *testing.T, place, token string, headers ...string) (asked, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.address+"/api/ledger/"+place, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return asked{res.StatusCode, res.Header}, string(text)
}

// account makes a service account, gives it a role in the whole cluster if there is
// one to give, and gives its token.
func account(t *testing.T, kube kubernetes.Interface, ns, name, role string) string {
	t.Helper()
	if _, err := kube.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if role != "" {
		b := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: ns + "-" + name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: name}},
		}
		if _, err := kube.RbacV1().ClusterRoleBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = kube.RbacV1().ClusterRoleBindings().Delete(context.Background(), b.Name, metav1.DeleteOptions{})
		})
	}
	token, err := kube.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// TestLedgerIsReadElsewhere gives the ledger to those who may read it, and to nobody
// else.
func TestLedgerIsReadElsewhere(t *testing.T) {
	dir := t.TempDir()
	r := runServer(t, dir, nil)
	eventually(t, "the server leads", r.leads)
	kube, ns := kubernetes.NewForConfigOrDie(kubetest.Config(t)), kubetest.Namespace(t)
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1")})
	createApplication(t, ns, "app", repo.dir, "app")
	app := entry.Query{Application: entry.Application{Namespace: ns, Name: "app"}}
	tells(t, filepath.Join(dir, ledgerDir), app, "a sync", entry.SyncFinished, anyone)
	auditor, viewer := account(t, kube, ns, "auditor", "plumb-auditor"), account(t, kube, ns, "viewer", "plumb-viewer")
	eventually(t, "the auditor's role is in force", func() error {
		if res, text := r.ask(t, "checkpoint", auditor); res.StatusCode != http.StatusOK {
			return errors.New(text)
		}
		return nil
	})
	for name, c := range map[string]struct {
		place, token string
		code         int
		want         string
	}{
		"nobody":                  {"checkpoint", "", http.StatusUnauthorized, "send a token"},
		"a stranger":              {"checkpoint", "not-a-token", http.StatusUnauthorized, "does not accept this token"},
		"a viewer":                {"checkpoint", viewer, http.StatusForbidden, ":viewer may not read the ledger: it takes the verb get on ledgers.plumb.dev"},
		"the auditor":             {"keys", auditor, http.StatusOK, "plumb.dev/ledger/"},
		"no such tile":            {"tile/0/999", auditor, http.StatusNotFound, "nothing there"},
		"the key":                 {"key", auditor, http.StatusNotFound, "nothing there"},
		"a way out":               {"..%2f..%2fkey", auditor, http.StatusNotFound, "nothing there"},
		"the index":               {"index.db", auditor, http.StatusNotFound, "nothing there"},
		"the key, by who may not": {"key", viewer, http.StatusForbidden, "may not read"},
	} {
		if res, text := r.ask(t, c.place, c.token); res.StatusCode != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s", name, res.StatusCode, text)
		}
	}
	res, _ := r.ask(t, "checkpoint", auditor, "Range", "bytes=0-3")
	if tag := res.Header.Get("ETag"); res.StatusCode != http.StatusOK || tag == "" || !strings.Contains(res.Header.Get("Cache-Control"), "no-cache") {
		t.Errorf("the checkpoint: %d %v", res.StatusCode, res.Header)
	}
	keys, _ := r.ask(t, "keys", auditor)
	if res, text := r.ask(t, "keys", auditor, "If-None-Match", keys.Header.Get("ETag")); res.StatusCode != http.StatusNotModified || text != "" {
		t.Errorf("what the reader has is given again: %d %s", res.StatusCode, text)
	}
	copied := t.TempDir()
	m, err := ledger.Mirror(t.Context(), ledger.MirrorOptions{Dir: copied, Fetch: func(_ context.Context, place string) ([]byte, error) {
		res, text := r.ask(t, place, auditor)
		switch res.StatusCode {
		case http.StatusOK:
			return []byte(text), nil
		case http.StatusNotFound:
			return nil, fs.ErrNotExist
		}
		return nil, fmt.Errorf("%d %s", res.StatusCode, text)
	}})
	if err != nil || !m.First {
		t.Fatal(m, err)
	}
	tells(t, copied, app, "a sync, in the copy", entry.SyncFinished, anyone)
	verified(t, copied)

	standby := runServer(t, t.TempDir(), nil)
	eventually(t, "the one that stands by says who leads", func() error {
		if res, text := standby.ask(t, "checkpoint", auditor); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "leads, and has the ledger") {
			return fmt.Errorf("%d %s", res.StatusCode, text)
		}
		return nil
	})
}

// TestNoLedgerToRead says so.
func TestNoLedgerToRead(t *testing.T) {
	r := runServer(t, t.TempDir(), func(o *Options) { o.Ledger.Off = true })
	eventually(t, "the server leads", r.leads)
	kube, ns := kubernetes.NewForConfigOrDie(kubetest.Config(t)), kubetest.Namespace(t)
	auditor := account(t, kube, ns, "auditor", "plumb-auditor")
	eventually(t, "it says that there is none", func() error {
		if res, text := r.ask(t, "checkpoint", auditor); res.StatusCode != http.StatusNotFound || !strings.Contains(text, "--ledger=off") {
			return fmt.Errorf("%d %s", res.StatusCode, text)
		}
		return nil
	})
}
