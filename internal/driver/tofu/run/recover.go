package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// rescue copies an errored.tfstate that a run has left in the module's
// directory to where the caller does not write, and only then removes it there.
// It is called when a run has ended and before that is noted, so that none is
// lost, and at no other time, so that one that is in the repository is not
// taken for a run's.
func (r *Runner) rescue() error {
	path := filepath.Join(r.folder.Module, erroredState)
	if err := r.contained(); err != nil {
		return err
	}
	b, err := ReadOwn(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", erroredState, err)
	}
	name := time.Now().UTC().Format("20060102T150405.000000000") + ".tfstate"
	if err := writeSecret(filepath.Join(r.folder.errored(), name), b); err != nil {
		return fmt.Errorf("save %s: %w", erroredState, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("save %s: %w", erroredState, err)
	}
	return nil
}

// Unrecovered lists the states that runs could not write to the backend, the
// oldest first.
func (r *Runner) Unrecovered() ([]string, error) {
	entries, err := os.ReadDir(r.folder.errored())
	if err != nil {
		return nil, fmt.Errorf("look for states to recover: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if !entry.IsDir() && strings.HasSuffix(entry.Name(), ".tfstate") {
			files = append(files, filepath.Join(r.folder.errored(), entry.Name()))
		}
	}
	slices.Sort(files)
	return files, nil
}

// Recover writes states that runs could not write (errored.tfstate) to the
// backend. Copies of them are kept. Plan, Apply and changes of the state do it
// first and fail where it fails: what they would do without is wrong.
func (r *Runner) Recover(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.prepare(ctx)
}

func (r *Runner) recover(ctx context.Context) error {
	files, err := r.Unrecovered()
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := r.recoverFile(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) recoverFile(ctx context.Context, file string) error {
	saved, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("recover %s: %w", erroredState, err)
	}
	e, err := r.execute(ctx, job{operation: "state push", args: []string{"state", "push", r.lockTimeout(), file}, env: r.workspaceEnv})
	if err != nil {
		return err
	}
	if err := r.verdict(ctx, "state push", e, 0); err != nil && !r.superseded(ctx, saved) {
		return r.unrecoverable(err, file)
	}
	kept := filepath.Join(r.folder.errored(), "recovered")
	if err := os.MkdirAll(kept, 0o700); err != nil {
		return fmt.Errorf("keep the recovered state: %w", err)
	}
	if err := os.Rename(file, filepath.Join(kept, filepath.Base(file))); err != nil {
		return fmt.Errorf("keep the recovered state: %w", err)
	}
	return syncDir(kept)
}

// superseded tells whether the backend has that very state already.
func (r *Runner) superseded(ctx context.Context, saved []byte) bool {
	current, err := r.pull(ctx)
	if err != nil {
		return false
	}
	var a, b map[string]json.RawMessage
	if json.Unmarshal(saved, &a) != nil || json.Unmarshal(current, &b) != nil {
		return false
	}
	for _, key := range []string{"lineage", "serial", "resources", "outputs"} {
		if !bytes.Equal(compact(a[key]), compact(b[key])) {
			return false
		}
	}
	return true
}

func compact(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

func (r *Runner) unrecoverable(err error, file string) error {
	var locked *LockedError
	var e *Error
	if errors.As(err, &locked) || !errors.As(err, &e) || e.Kind == KindCancelled || e.Kind == KindKilled {
		return err
	}
	return &Error{Kind: KindBackend, Operation: "recover", Diagnostics: append([]Diagnostic{{
		Severity: SeverityError, Summary: "A state could not be recovered",
		Detail: fmt.Sprintf("an earlier run could not write its state, which is kept as errored/%s in the working folder; until it is in the backend nothing else is done", filepath.Base(file)),
	}}, e.Diagnostics...), Cause: err}
}

func (f Folder) killed() string { return filepath.Join(f.Path, "killed.json") }

// maxKilled bounds how many killed runs are remembered.
const maxKilled = 20

// keepKilled remembers a run that died without a word: it may have left a lock.
func (r *Runner) keepKilled(rec Record) error {
	all := append(r.readKilled(), rec)
	all = all[max(0, len(all)-maxKilled):]
	b, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("note a killed run: %w", err)
	}
	return writeSecret(r.folder.killed(), b)
}

func (r *Runner) readKilled() []Record {
	var all []Record
	if b, err := os.ReadFile(r.folder.killed()); err == nil {
		_ = json.Unmarshal(b, &all) // without it a lock waits for a person
	}
	return all
}

func (r *Runner) forgetKilled() error {
	if err := os.Remove(r.folder.killed()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget killed runs: %w", err)
	}
	return nil
}

// OwnLock tells whether a lock was left by a killed run of this folder: it was
// taken in our name while that run lived, and nothing runs here any more.
// ForceUnlock then releases it.
func (r *Runner) OwnLock(l *LockedError) bool {
	if _, running := Running(r.folder); running || l.Created.IsZero() {
		return false
	}
	for _, rec := range r.readKilled() {
		if l.Who == rec.Who && l.Created.After(rec.Started.Add(-time.Second)) && l.Created.Before(rec.Ended.Add(time.Second)) {
			return true
		}
	}
	return false
}
