// Command ledger measures how fast entries are recorded, beside bare files on
// the same disk, in the same run, with the same bytes: a file that is synced
// after each entry, and one that is synced once for all who wait. It prints a
// table, and exits with 1 if a target is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// target is how many entries a second have to be recorded.
const target = 1000

func main() {
	entries := flag.Int("entries", 10_000, "entries to record")
	writers := flag.Int("writers", 16, "writers at once")
	dir := flag.String("dir", "", "folder on the disk to measure (default: a temporary one)")
	flag.Parse()
	if err := run(*entries, *writers, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(count, writers int, dir string) error {
	dir, err := os.MkdirTemp(dir, "bench-ledger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	each, err := bare(filepath.Join(dir, "each"), min(count, 2000), writers, false)
	if err != nil {
		return err
	}
	grouped, err := bare(filepath.Join(dir, "grouped"), count, writers, true)
	if err != nil {
		return err
	}
	recorded, l, err := record(filepath.Join(dir, "ledger"), count, writers)
	if err != nil {
		return err
	}
	verified, err := closeAndVerify(l, filepath.Join(dir, "ledger"), count)
	if err != nil {
		return err
	}
	fmt.Printf("%d entries, %d writers\n\n", count, writers)
	fmt.Println("| what | entries/s | p50 | p99 | times the ledger's rate |")
	fmt.Println("| --- | ---: | ---: | ---: | ---: |")
	for _, r := range []result{recorded, each, grouped} {
		fmt.Printf("| %s | %.0f | %s | %s | %.2f |\n", r.name, r.rate, r.at(50), r.at(99), r.rate/recorded.rate)
	}
	fmt.Printf("\nverified %d entries, the tree, the checkpoints and the index in %s\n", count, verified.Round(time.Millisecond))
	if recorded.rate < target {
		return fmt.Errorf("%.0f entries a second: the target is %d", recorded.rate, target)
	}
	return nil
}

// result is how long each entry took.
type result struct {
	name string
	rate float64
	took []time.Duration // sorted
}

func (r result) at(percent int) time.Duration {
	return r.took[(len(r.took)-1)*percent/100].Round(10 * time.Microsecond)
}

// measure calls do for each number, from several at once.
func measure(name string, count, writers int, do func(n int) error) (result, error) {
	took := make([]time.Duration, count)
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, writers)
	began := time.Now()
	for w := range writers {
		wait.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= count {
					return
				}
				start := time.Now()
				if err := do(n); err != nil {
					errs[w] = err
					return
				}
				took[n] = time.Since(start)
			}
		})
	}
	wait.Wait()
	rate := float64(count) / time.Since(began).Seconds()
	slices.Sort(took)
	return result{name, rate, took}, errors.Join(errs...)
}

func sample(n int) entry.Entry {
	return entry.Entry{
		Time: time.Now(), Kind: entry.SyncFinished, Result: entry.Succeeded, Project: "shop", Operation: fmt.Sprintf("operation-%d", n),
		Application: entry.Application{Group: "plumb.dev", Namespace: "shop", Name: fmt.Sprintf("app-%d", n%200), UID: "0b4d9a4e-7a38-4f0e-9f61-0d8b8f6b7c11"},
		Actor:       entry.Actor{User: "ada@example.org", Groups: []string{"developers", "on-call"}, Via: "webhook"},
		Revisions: []entry.Revision{{
			Repo: "https://git.example.org/shop/deploy.git", Revision: fmt.Sprintf("%040x", n), Author: "Ada Lovelace", AuthorEmail: "ada@example.org",
			CommittedAt: time.Now(), Signature: entry.Signature{Status: "good", Key: "SHA256:47DEQpj8HBSa", Signer: "ada@example.org"},
		}},
		Plan:    entry.Plan{Name: fmt.Sprintf("app-%d-7f9c", n%200), Digest: fmt.Sprintf("sha256:%064x", n), Counts: entry.Counts{Create: 1, Update: 3}, Risk: "none"},
		Message: "4 objects were applied and are healthy",
	}
}

// bare appends the same bytes to a file. Grouped, one sync is for all entries
// that were written before it began.
func bare(path string, count, writers int, grouped bool) (result, error) {
	file, err := os.Create(path)
	if err != nil {
		return result{}, err
	}
	defer file.Close()
	g := group{file: file}
	g.synced.L = &g.mu
	name, do := "a file, synced after each entry", g.one
	if grouped {
		name, do = "a file, synced once for all who wait", g.together
	}
	return measure(name, count, writers, func(n int) error {
		raw, err := entry.Encode(sample(n))
		if err != nil {
			return err
		}
		return do(append(raw, '\n'))
	})
}

type group struct {
	mu      sync.Mutex
	file    *os.File
	synced  sync.Cond
	written int
	safe    int
	syncing bool
	err     error
}

func (g *group) one(raw []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := g.file.Write(raw); err != nil {
		return err
	}
	return g.file.Sync()
}

func (g *group) together(raw []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := g.file.Write(raw); err != nil {
		return err
	}
	g.written++
	mine := g.written
	for g.safe < mine && g.err == nil {
		if g.syncing {
			g.synced.Wait()
			continue
		}
		g.syncing = true
		upTo := g.written
		g.mu.Unlock()
		err := g.file.Sync()
		g.mu.Lock()
		g.syncing, g.safe, g.err = false, upTo, err
		g.synced.Broadcast()
	}
	return g.err
}

func record(dir string, count, writers int) (result, *ledger.Ledger, error) {
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Options{Dir: dir})
	if err != nil {
		return result{}, nil, err
	}
	r, err := measure("the ledger", count, writers, func(n int) error {
		_, err := l.Append(ctx, sample(n))
		return err
	})
	return r, l, err
}

func closeAndVerify(l *ledger.Ledger, dir string, count int) (time.Duration, error) {
	if err := l.Close(context.Background()); err != nil {
		return 0, err
	}
	began := time.Now()
	v, err := ledger.Verify(context.Background(), ledger.VerifyOptions{Dir: dir})
	if err == nil {
		err = v.Err()
	}
	if err == nil && (v.Checkpoint.Size != uint64(count+1) || v.Indexed == nil || *v.Indexed != uint64(count+1)) {
		err = fmt.Errorf("%d entries were recorded, %d are signed", count+1, v.Checkpoint.Size)
	}
	return time.Since(began), err
}
