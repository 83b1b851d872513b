package controller

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/internal/plan"
)

// journals opens journals on a fresh ConfigMap of a real API server.
func journals(t *testing.T) (open func() (*Journal, context.CancelFunc), maps typedcorev1.ConfigMapInterface) {
	t.Helper()
	config := kubetest.Config(t)
	if err := EnsureNamespaces(t.Context(), config, SystemNamespace); err != nil {
		t.Fatal(err)
	}
	maps = kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps(SystemNamespace)
	forget(t, maps)
	return func() (*Journal, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		j, err := OpenJournal(ctx, config, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return j, cancel
	}, maps
}

func forget(t *testing.T, maps typedcorev1.ConfigMapInterface) {
	t.Helper()
	for i := range journalPages {
		err := maps.Delete(t.Context(), fmt.Sprint(journalPrefix, i), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
}

func ref(name string) plan.Ref {
	return plan.Ref{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: name}
}

func TestJournalOutlivesItsProcess(t *testing.T) {
	open, _ := journals(t)
	first, kill := open()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := first.Intend(t.Context(), fmt.Sprint("uid-", i), []plan.Ref{ref(fmt.Sprint("web-", i))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	kill()
	second, _ := open()
	for i := range 50 {
		if diff := cmp.Diff([]plan.Ref{ref(fmt.Sprint("web-", i))}, second.Intended(fmt.Sprint("uid-", i))); diff != "" {
			t.Errorf("intents of Application %d after a crash (-want +got):\n%s", i, diff)
		}
	}
	// What is fulfilled or abandoned is forgotten, and goes with the next write of
	// its page.
	for i := 1; i < 50; i += 2 {
		second.Fulfil(fmt.Sprint("uid-", i))
	}
	second.Retain(func(uid string) bool { return uid != "uid-0" })
	if got := append(second.Intended("uid-0"), second.Intended("uid-1")...); len(got) != 0 {
		t.Errorf("fulfilled and abandoned intents are still there: %v", got)
	}
	if err := second.Intend(t.Context(), "uid-2", []plan.Ref{ref("more")}); err != nil {
		t.Fatal(err)
	}
	third, _ := open()
	if diff := cmp.Diff([]plan.Ref{ref("web-2"), ref("more")}, third.Intended("uid-2")); diff != "" {
		t.Errorf("intents of an Application that noted twice (-want +got):\n%s", diff)
	}
}

func TestJournalSurvivesOthers(t *testing.T) {
	open, maps := journals(t)
	j, _ := open()
	if err := j.Intend(t.Context(), "mine", []plan.Ref{ref("web")}); err != nil {
		t.Fatal(err)
	}
	// Another process that believes to lead writes in between, and once more
	// somebody deletes it all.
	other, _ := open()
	if err := other.Intend(t.Context(), "theirs", []plan.Ref{ref("api")}); err != nil {
		t.Fatal(err)
	}
	if err := j.Intend(t.Context(), "mine", []plan.Ref{ref("db")}); err != nil {
		t.Fatal(err)
	}
	third, _ := open()
	if diff := cmp.Diff([][]plan.Ref{{ref("web"), ref("db")}, {ref("api")}}, [][]plan.Ref{third.Intended("mine"), third.Intended("theirs")}); diff != "" {
		t.Errorf("after two writers (-want +got):\n%s", diff)
	}
	forget(t, maps)
	if err := j.Intend(t.Context(), "again", []plan.Ref{ref("x")}); err != nil {
		t.Errorf("after the ConfigMap was deleted: %v", err)
	}
}

func TestDamagedJournalStopsNobody(t *testing.T) {
	open, maps := journals(t)
	j, kill := open()
	if err := j.Intend(t.Context(), "uid", []plan.Ref{ref("web")}); err != nil {
		t.Fatal(err)
	}
	kill()
	cm, err := maps.Get(t.Context(), journalPrefix+"0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cm.Data[journalKey] = "{half"
	if _, err := maps.Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	again, _ := open()
	if err := again.Intend(t.Context(), "uid", []plan.Ref{ref("web")}); err != nil {
		t.Errorf("after the journal was damaged: %v", err)
	}
}
