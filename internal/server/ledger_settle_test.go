package server

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/report"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// TestDriftOverRestarts restarts a server while there is drift: what lasts is not told
// of again, what nobody has seen the end of has one, and the report counts each once.
func TestDriftOverRestarts(t *testing.T) {
	dir, began := t.TempDir(), time.Now()
	log := filepath.Join(dir, ledgerDir)
	r := runServer(t, dir, nil)
	eventually(t, "the server leads", r.leads)
	kube, ns := kubernetes.NewForConfigOrDie(kubetest.Config(t)), kubetest.Namespace(t)
	client := dynamic.NewForConfigOrDie(kubetest.Config(t)).Resource(applications).Namespace(ns)
	repo := newRepository(t, map[string]string{"app/one.yaml": configMap("one", "1"), "other/two.yaml": configMap("two", "1")})
	createApplication(t, ns, "app", repo.dir, "app")
	createApplication(t, ns, "other", repo.dir, "other")
	app := entry.Query{Application: entry.Application{Namespace: ns, Name: "app"}}
	other := entry.Query{Application: entry.Application{Namespace: ns, Name: "other"}}
	tells(t, log, app, "a sync", entry.SyncFinished, anyone)
	last := tells(t, log, other, "the other's sync", entry.SyncFinished, anyone)
	patch, _ := json.Marshal(map[string]any{"spec": map[string]any{"syncPolicy": map[string]any{"drift": map[string]any{"default": "report"}}}})
	if _, err := client.Patch(t.Context(), "app", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := kube.CoreV1().ConfigMaps(ns).Patch(t.Context(), "one", "application/merge-patch+json", []byte(`{"data":{"value":"mine"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	tells(t, log, app, "drift", entry.DriftFound, anyone)
	eventually(t, "the status has it", func() error {
		a, err := client.Get(t.Context(), "app", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if all, _, _ := unstructured.NestedSlice(a.Object, "status", "drift"); len(all) != 1 {
			return fmt.Errorf("%v", all)
		}
		return nil
	})
	r.stop()
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: log, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	last.Kind, last.Time, last.Operation, last.Result, last.Message = entry.DriftFound, time.Now(), "", "", "found by a server that was killed"
	if _, err := l.Append(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r = runServer(t, dir, nil)
		eventually(t, "the server leads again", r.leads)
		tells(t, log, other, "the end that nobody has seen", entry.DriftEnded, func(e entry.Entry) bool { return e.Details[entry.Unseen] != "" })
		r.stop()
	}
	r = runServer(t, dir, nil)
	repo.commit(map[string]string{"app/one.yaml": configMap("one", "mine")})
	tells(t, log, app, "the drift is over", entry.DriftEnded, anyone)
	r.stop()
	for q, want := range map[*entry.Query]map[entry.Kind]int{&app: {entry.DriftFound: 1, entry.DriftEnded: 1}, &other: {entry.DriftFound: 1, entry.DriftEnded: 1}} {
		for kind, n := range want {
			if got := entries(t, log, entry.Query{Application: q.Application, Kinds: []entry.Kind{kind}}); len(got) != n {
				t.Errorf("%s: %d entries of kind %s, not %d", q.Application, len(got), kind, n)
			}
		}
	}
	figures := report.Of(entries(t, log, entry.Query{}), began.Add(-time.Minute), time.Now().Add(time.Minute)).Total
	if figures.Drifts != 2 || figures.Drifting != 0 || figures.Failed != 0 {
		t.Errorf("%+v", figures)
	}
	verified(t, log)
}
