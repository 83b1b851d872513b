package tofu

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
)

// salvageTime bounds what is done about a killed run.
const salvageTime = 5 * time.Minute

// salvage takes into the state what a killed program has made and not written down:
// OpenTofu writes its state every 20 seconds and at its end, and what it made since
// would be made again, and the first be forgotten. What it had told to be complete
// is known by its id. Of what it was in the middle of nobody knows whether it was
// made: that is told.
//
// The lock is held meanwhile, and nobody else uses the folder.
func (r *running) salvage(ctx context.Context) {
	m := r.m
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), salvageTime)
	defer cancel()
	m.mu.Lock()
	err := m.loadState(ctx, r.spec)
	known := map[string]string{}
	for _, i := range m.state.resources {
		known[i.ref.Name] = i.id
	}
	m.mu.Unlock()
	if err != nil {
		m.d.o.Log.Error("cannot tell what a killed run has made", "application", string(m.owner), "error", err)
		return
	}
	r.mu.Lock()
	progress := maps.Clone(r.progress)
	r.mu.Unlock()
	if err := m.noteSalvage(progress); err != nil {
		m.d.o.Log.Error("what a killed run has made is forgotten if this process is killed as well", "application", string(m.owner), "error", err)
	}
	var lost []string
	for _, name := range slices.Sorted(maps.Keys(progress)) {
		e := progress[name]
		id, held := known[name]
		switch {
		case e.Action != "create" || held && (e.ID == "" || e.ID == id):
		case e.Status != run.Complete:
			lost = append(lost, fmt.Sprintf("%s was being made when the program was killed: look whether it exists, and if so, delete it or take it in with plumb state import", name))
		case e.ID == "" || e.ID == run.Masked:
			lost = append(lost, fmt.Sprintf("%s was made by a program that was killed, and its id is not known: take it in with plumb state import, or delete it", name))
		default:
			if err := r.takeIn(ctx, name, e.ID, held); err != nil {
				lost = append(lost, fmt.Sprintf("%s was made (id %s) by a program that was killed, and could not be taken into the state: take it in with plumb state import, or delete it: %v", name, e.ID, err))
				continue
			}
			m.d.o.Log.Info("took into the state what a killed run had made", "application", string(m.owner), "resource", name)
		}
	}
	for _, text := range lost {
		m.d.o.Log.Error("a killed run", "application", string(m.owner), "problem", text)
	}
	m.mu.Lock()
	m.unheld = lost
	m.mu.Unlock()
}

// noteSalvage writes down what a killed run has told, until the state that knows
// of it is saved: each import overwrites what the folder says of that run. What an
// earlier process had written down, and could not finish, is added.
func (m *module) noteSalvage(progress map[string]run.Event) error {
	for name, e := range m.salvageNoted() {
		if _, known := progress[name]; !known {
			progress[name] = e
		}
	}
	text, err := json.Marshal(progress)
	if err != nil {
		return fmt.Errorf("note what a killed run has made: %w", err)
	}
	return writeFile(m.path(salvageFile), text)
}

// salvageFile has the events of a killed run by the address of the resource.
const salvageFile = "salvage.json"

func (m *module) salvageNoted() map[string]run.Event {
	var noted map[string]run.Event
	text, err := os.ReadFile(m.path(salvageFile))
	if err == nil {
		err = json.Unmarshal(text, &noted)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.d.o.Log.Error("cannot read what a killed run has made", "application", string(m.owner), "error", err)
	}
	return noted
}

func (m *module) salvaged() {
	if err := os.Remove(m.path(salvageFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.d.o.Log.Error("what a killed run has made is looked at again", "application", string(m.owner), "error", err)
	}
}

// resumeSalvage goes on where an earlier process and the program that it ran were
// both killed.
func (m *module) resumeSalvage(ctx context.Context, r *running, failed error) error {
	r.lock = Lock{ID: lockID(), Operation: "recover", Who: who(), Version: "plumb", Created: time.Now().UTC()}
	if !r.spec.backend.own {
		if err := m.takeLock(ctx, r.spec, r.lock); err != nil {
			return err
		}
	}
	m.resumed = true
	m.start(r, func(context.Context) error {
		return cmp.Or(failed, error(&run.Error{Kind: run.KindKilled, Operation: "apply"}))
	})
	return errUnderWay
}

// takeIn imports a resource, in place of the one that it has replaced.
func (r *running) takeIn(ctx context.Context, name, id string, held bool) error {
	if held { // it was destroyed, and made anew
		if err := r.m.runner.Remove(ctx, name); err != nil {
			return err
		}
	}
	return r.m.runner.Import(ctx, name, id)
}
