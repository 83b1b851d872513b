package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

var day = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// sample is the nth entry of a made-up history.
func sample(n int) Entry {
	kinds := []entry.Kind{entry.SyncStarted, entry.SyncFinished, entry.DriftFound, entry.Approved}
	return Entry{
		Time: day.Add(time.Duration(n) * time.Minute), Kind: kinds[n%len(kinds)], Project: fmt.Sprintf("team-%d", n%3),
		Application: entry.Application{Group: "plumb.dev", Namespace: "shop", Name: fmt.Sprintf("app-%d", n%5)},
		Actor:       entry.Actor{User: fmt.Sprintf("user-%d@example.org", n%4), Via: "kubectl"},
		Operation:   fmt.Sprintf("op-%d", n/2), Message: fmt.Sprintf("this is number %d", n),
		Revisions: []entry.Revision{{Repo: "https://git.example.org/shop.git", Revision: fmt.Sprintf("%040x", n), Author: "Ada", CommittedAt: day}},
	}
}

func open(t *testing.T, o Options) *Ledger {
	t.Helper()
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = 100 * time.Millisecond
	}
	o.Reserve = 1
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLedger(t, l) })
	return l
}

func closeLedger(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// fill appends samples from many at once.
func fill(t *testing.T, l *Ledger, from, to int) {
	t.Helper()
	var wait sync.WaitGroup
	todo := make(chan int)
	for range 16 {
		wait.Go(func() {
			for n := range todo {
				if _, err := l.Append(t.Context(), sample(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := from; n < to; n++ {
		todo <- n
	}
	close(todo)
	wait.Wait()
}

// eventually polls until there is no error.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func indexed(l *Ledger, want uint64) func() error {
	return func() error {
		x := l.currentIndex()
		if x == nil {
			return errors.New("there is no index")
		}
		n, err := x.Size(context.Background())
		if err == nil && n < want {
			err = fmt.Errorf("the index has %d entries, not %d", n, want)
		}
		return err
	}
}

func TestAppendAndQuery(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	for n := range 300 {
		if n >= 20 { // the first one by one, to see their order
			break
		}
		i, err := l.Append(t.Context(), sample(n))
		if err != nil || i != uint64(n+1) {
			t.Fatalf("entry %d: index %d, %v", n, i, err)
		}
	}
	fill(t, l, 20, 600)
	if err := l.Health(); err != nil {
		t.Error(err)
	}
	check := func(t *testing.T) {
		page, err := l.Query(t.Context(), entry.Query{Limit: 5, Oldest: true})
		if err != nil {
			t.Fatal(err)
		}
		for n, e := range page.Entries {
			if n == 0 {
				continue // the ledger begins
			}
			want := sample(n - 1)
			want.V, want.Index = 1, uint64(n)
			if diff := cmp.Diff(want, e); diff != "" {
				t.Error(diff)
			}
		}
		seen := map[uint64]bool{}
		q := entry.Query{Kinds: []entry.Kind{entry.Approved}, Limit: 7}
		for last := uint64(601); ; {
			page, err := l.Query(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				if e.Index >= last || e.Kind != entry.Approved || seen[e.Index] {
					t.Fatalf("entry %d %s after %d", e.Index, e.Kind, last)
				}
				last, seen[e.Index] = e.Index, true
			}
			if page.Next == nil {
				break
			}
			q.After = page.Next
		}
		if len(seen) != 150 {
			t.Errorf("%d approvals, not 150", len(seen))
		}
	}
	t.Run("while the index follows", check)
	eventually(t, indexed(l, 601))
	t.Run("from the index", check)
	closeLedger(t, l)

	again := open(t, Options{Dir: dir})
	if i, err := again.Append(t.Context(), sample(1000)); err != nil || i != 601 {
		t.Errorf("after opening again: index %d, %v", i, err)
	}
	l = again
	t.Run("after opening again", check)
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", info.Mode(), err)
	}
}

func TestOneProcessHoldsIt(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrHeld) {
		t.Errorf("opened twice: %v", err)
	}
	closeLedger(t, l)
	if _, err := l.Append(t.Context(), sample(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("appended to a closed ledger: %v", err)
	}
}
