package server

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/test/pgtest"
)

// TestLedgerIndexInPostgres has the index in a database that dies and comes back:
// nothing is changed meanwhile, what is changed elsewhere is noticed all the same, and
// all goes on by itself.
func TestLedgerIndexInPostgres(t *testing.T) {
	database, dir, said := pgtest.Start(t), t.TempDir(), &witness{}
	log := filepath.Join(dir, ledgerDir)
	database.Stop(t) // it is not there when the server starts
	r := runServer(t, dir, func(o *Options) {
		o.Ledger.Postgres = database.Address()
		o.Log = slog.New(slog.NewTextHandler(said, nil))
	})
	eventually(t, "the server leads", r.leads)
	kube, ns := kubernetes.NewForConfigOrDie(kubetest.Config(t)), kubetest.Namespace(t)
	apps := dynamic.NewForConfigOrDie(kubetest.Config(t)).Resource(applications).Namespace(ns)
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1"), "app/two.yaml": configMap("two", "1")})
	createApplication(t, ns, "app", repo.dir, "app")
	is := func(name, want string) func() error {
		return func() error {
			cm, err := kube.CoreV1().ConfigMaps(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && cm.Data["value"] != want {
				err = fmt.Errorf("it is %s", cm.Data["value"])
			}
			return err
		}
	}
	held := func(want bool) func() error {
		return func() error {
			app, err := apps.Get(t.Context(), "app", metav1.GetOptions{})
			if err != nil {
				return err
			}
			all, _, _ := unstructured.NestedSlice(app.Object, "status", "conditions")
			if has := strings.Contains(fmt.Sprint(all), v1alpha1.ConditionLedgerUnavailable); has != want {
				return fmt.Errorf("the conditions are %v", all)
			}
			return nil
		}
	}
	eventually(t, "without the database nothing is changed, and that is said", held(true))
	if is("one", "1")() == nil {
		t.Error("it was applied without an index")
	}
	database.Start(t)
	eventually(t, "it is applied once the database is there", is("two", "1"))
	eventually(t, "and nothing is said any more", held(false))

	database.Stop(t)
	next := 1
	eventually(t, "it stops when the database dies", func() error {
		err := held(true)()
		if err != nil && is("one", fmt.Sprint(next))() == nil { // what was begun before that was noticed
			next++
			repo.commit(map[string]string{"app/one.yaml": configMap("one", fmt.Sprint(next))})
		}
		return err
	})
	if _, err := kube.CoreV1().ConfigMaps(ns).Patch(t.Context(), "two", "application/merge-patch+json", []byte(`{"data":{"value":"mine"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "drift is noticed meanwhile", func() error {
		app, err := apps.Get(t.Context(), "app", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if drift, _, _ := unstructured.NestedSlice(app.Object, "status", "drift"); len(drift) == 0 {
			return fmt.Errorf("status: %v", app.Object["status"])
		}
		return nil
	})
	for name, want := range map[string]string{"one": fmt.Sprint(next - 1), "two": "mine"} {
		if err := is(name, want)(); err != nil {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	database.Start(t)
	eventually(t, "the commit is applied", is("one", fmt.Sprint(next)))
	eventually(t, "the drift is healed", is("two", "1"))
	eventually(t, "nothing is said any more, again", held(false))
	tells(t, log, entry.Query{Application: entry.Application{Namespace: ns, Name: "app"}}, "the drift", entry.DriftFound, anyone)
	eventually(t, "the index has all", func() error {
		v, err := ledger.Verify(t.Context(), ledger.VerifyOptions{Dir: log, Postgres: database.Address()})
		switch {
		case err != nil:
			return err
		case v.Err() != nil:
			return v.Err()
		case v.Indexed == nil || *v.Indexed != v.Checkpoint.Size:
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
	r.stop()
	if strings.Contains(said.String(), pgtest.Password) {
		t.Error("the log shows the database's password")
	}
	noneHas(t, log, pgtest.Password)
}
