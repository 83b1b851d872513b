package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/bench/harness"
)

// signing is how long after its start an engine has signed what an earlier one has
// left in the ledger's journal.
const signing = 3 * time.Second

// entry is what matters here of an entry of the ledger.
type entry struct {
	Kind        string
	Application struct{ UID string }
	Operation   string
	Revisions   []struct{ Revision string }
}

// checkLedger tells with an error if, after all kills, the ledger is not whole, or
// something was changed that it does not know of.
func (s *soak) checkLedger(ctx context.Context) error {
	s.engine.Kill()
	s.kills++
	if err := s.startEngine(); err != nil {
		return err
	}
	if err := errors.Join(s.engine.AwaitReady(ctx), harness.Sleep(ctx, signing)); err != nil {
		return err
	}
	if _, err := s.audit(ctx, "verify"); err != nil {
		return fmt.Errorf("VIOLATION: the ledger was not found whole: %w", err)
	}
	raw, err := s.audit(ctx, "export")
	if err != nil {
		return err
	}
	var entries []entry
	for line := range bytes.Lines(raw) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("an entry of the ledger: %w", err)
		}
		entries = append(entries, e)
	}
	live, err := s.applications(ctx)
	if err != nil {
		return err
	}
	if wrong := append(ends(entries), unrecorded(entries, live)...); len(wrong) > 0 {
		return fmt.Errorf("VIOLATION: the ledger of %d entries:\n  %s", len(entries), strings.Join(wrong, "\n  "))
	}
	s.entries = len(entries)
	return nil
}

func (s *soak) audit(ctx context.Context, command string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.options.plumb, "audit", command, "--dir", filepath.Join(s.dir, "engine", "ledger"))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("plumb audit %s: %w: %s%s", command, err, out, said.Bytes())
	}
	return out, nil
}

// ends tells of operations that have begun more than once, or not ended once.
func ends(entries []entry) (wrong []string) {
	begun, ended := map[string]int{}, map[string]int{}
	for _, e := range entries {
		switch e.Kind {
		case "SyncStarted":
			if begun[e.Operation]++; begun[e.Operation] == 2 {
				wrong = append(wrong, "operation "+e.Operation+" begins twice")
			}
		case "SyncFinished":
			if ended[e.Operation]++; ended[e.Operation] == 2 {
				wrong = append(wrong, "operation "+e.Operation+" ends twice")
			}
		}
	}
	for operation := range begun {
		if ended[operation] == 0 {
			wrong = append(wrong, "operation "+operation+" does not end")
		}
	}
	return wrong
}

// unrecorded tells of Applications, and of syncs in their histories, that no entry
// knows.
func unrecorded(entries []entry, live map[string]*unstructured.Unstructured) (wrong []string) {
	known := map[string]bool{}
	for _, e := range entries {
		known[e.Kind+" "+e.Application.UID] = true
		for _, r := range e.Revisions {
			known[e.Kind+" "+e.Application.UID+" "+r.Revision] = true
		}
	}
	for id, u := range live {
		uid := string(u.GetUID())
		if !known["ApplicationCreated "+uid] {
			wrong = append(wrong, id+" is not known to be made")
		}
		history, _, _ := unstructured.NestedSlice(u.Object, "status", "history")
		for _, h := range history {
			sync, _ := h.(map[string]any)
			revision, _ := sync["revision"].(string)
			if revision != "" && !known["SyncStarted "+uid+" "+revision] && !known["SyncFinished "+uid+" "+revision] {
				wrong = append(wrong, fmt.Sprintf("%s was synced to %s", id, revision))
			}
		}
	}
	return wrong
}
