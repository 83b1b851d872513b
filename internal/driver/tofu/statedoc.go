package tofu

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/planjson"
	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/state"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/render"
)

// stateDoc is a state as it was last read.
type stateDoc struct {
	text      []byte
	lineage   string
	serial    int64
	resources []instance
	held      int // instances, with those that are only left to be destroyed
	outputs   map[string]render.Value
	loaded    bool
}

// instance is a resource in a state.
type instance struct {
	ref     plan.Ref
	tainted bool
	id      string // its attribute of that name, if it has one
}

func readState(text []byte) (stateDoc, error) {
	doc := stateDoc{text: text, loaded: true, outputs: map[string]render.Value{}}
	if len(text) == 0 {
		return doc, nil
	}
	var head struct {
		Lineage string `json:"lineage"`
		Serial  int64  `json:"serial"`
		Outputs map[string]struct {
			Value     json.RawMessage `json:"value"`
			Sensitive bool            `json:"sensitive"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return stateDoc{}, fmt.Errorf("understand the state: %w", err)
	}
	doc.lineage, doc.serial = head.Lineage, head.Serial
	for name, o := range head.Outputs {
		doc.outputs[name] = render.Value{JSON: o.Value, Sensitive: o.Sensitive}
	}
	parsed, err := state.Parse(text)
	if err != nil {
		return stateDoc{}, fmt.Errorf("understand the state: %w", err)
	}
	doc.held = len(parsed.Managed)
	for i := range parsed.Managed {
		r := &parsed.Managed[i]
		if r.Deposed == "" {
			doc.resources = append(doc.resources, instance{planjson.Ref(r.Address), r.Tainted, idOf(r.Attributes)})
		}
	}
	return doc, nil
}

func idOf(attributes json.RawMessage) string {
	var a struct {
		ID any `json:"id"`
	}
	if json.Unmarshal(attributes, &a) != nil {
		return ""
	}
	id, _ := a.ID.(string)
	return id
}

// loadState reads the state that a plan is to be made from: of the store, or of
// the module's own backend. What an earlier run left in the folder and could not
// save is saved first.
func (m *module) loadState(ctx context.Context, s *spec) error {
	if s.backend.own {
		text, err := m.runner.Pull(ctx)
		if err != nil {
			return err
		}
		m.state, err = readState(text)
		return err
	}
	id := stateID(m.owner, s.Options.Workspace)
	stored, err := m.d.o.States.Load(ctx, id)
	if err != nil {
		return err
	}
	file := m.folder(s).State(s.Options.Workspace)
	local, err := m.localState(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the state in the working folder: %w", err)
	}
	if len(local) > 0 && !m.saved(local) {
		if stored, err = m.reconcile(ctx, id, local, stored); err != nil {
			return err
		}
	}
	if string(local) != string(stored) {
		if err := m.placeState(file, stored); err != nil {
			return err
		}
	}
	m.state, err = readState(stored)
	return err
}

// localState reads the state in the working folder. Programs that the module runs
// may write there, also just now: a link to the state of another Application is
// none, whenever it was put there, nor is what never comes to an end.
func (m *module) localState(file string) ([]byte, error) {
	if err := m.inside(file); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	name, err := filepath.Rel(m.dir, file)
	if err != nil {
		return nil, err
	}
	return readRegular(root, name)
}

// inside makes sure that a file of the working folder is not reached by a link out
// of it.
func (m *module) inside(file string) error {
	root, err := filepath.EvalSymlinks(m.dir)
	if err != nil {
		return fmt.Errorf("find the working folder: %w", err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("find the working folder: %w", err)
	}
	if rel, err := filepath.Rel(m.dir, filepath.Dir(file)); err != nil || dir != filepath.Join(root, rel) {
		return fmt.Errorf("a folder of the state in the working folder is a link to another place: something that the module ran has put it there")
	}
	return nil
}

func (m *module) placeState(file string, text []byte) error {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return fmt.Errorf("write the state into the working folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	name, err := filepath.Rel(m.dir, file)
	if err != nil {
		return fmt.Errorf("write the state into the working folder: %w", err)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("write the state into the working folder: %w", err)
	}
	if err := m.inside(file); err != nil {
		return err
	}
	if len(text) == 0 {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the state in the working folder: %w", err)
		}
		return nil
	}
	// The mark first: what is written then is known to be in the store.
	if err := m.markSaved(text); err != nil {
		return err
	}
	return replace(root, name, text)
}

// replace replaces a file at once, where others may change folders meanwhile.
func replace(root *os.Root, name string, text []byte) error {
	fresh := name + ".new-" + rand.Text()
	f, err := root.OpenFile(fresh, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(fresh, name)
	}
	if err != nil {
		_ = root.Remove(fresh)
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return nil
}

func (m *module) markSaved(text []byte) error {
	sum := sha256.Sum256(text)
	return writeFile(m.path("saved"), []byte(hex.EncodeToString(sum[:])))
}

// store saves a state. That it may be in the store is written down before, and
// holds until it is known which one is: a save that failed may have been made.
func (m *module) store(ctx context.Context, id StateID, text []byte) error {
	sum := sha256.Sum256(text)
	tried, err := os.ReadFile(m.path("saving"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read which states may be saved: %w", err)
	}
	if name := hex.EncodeToString(sum[:]); !strings.Contains(string(tried), name) {
		if err := writeFile(m.path("saving"), append(tried, name+"\n"...)); err != nil {
			return err
		}
	}
	if err := m.d.o.States.Save(ctx, id, text); err != nil {
		return err
	}
	if err := m.markSaved(text); err != nil {
		return err
	}
	if err := os.Remove(m.path("saving")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note that a state is saved: %w", err)
	}
	return nil
}

// based tells whether a state that the store has is one that we have put or found
// there: what a run has left then is the next one of it.
func (m *module) based(stored []byte) bool {
	if m.saved(stored) {
		return true
	}
	tried, err := os.ReadFile(m.path("saving"))
	sum := sha256.Sum256(stored)
	return err == nil && strings.Contains(string(tried), hex.EncodeToString(sum[:]))
}

func (m *module) saved(local []byte) bool {
	mark, err := os.ReadFile(m.path("saved"))
	sum := sha256.Sum256(local)
	return err == nil && string(mark) == hex.EncodeToString(sum[:])
}

// reconcile saves the state that a run has left, unless the store has moved on:
// then it is kept beside, for a person to look at.
func (m *module) reconcile(ctx context.Context, id StateID, local, stored []byte) ([]byte, error) {
	mine, err := readState(local)
	if err != nil {
		// The program was killed while it wrote: its own backup is the last whole one.
		if kept := m.keepAside(local, "torn"); kept != nil {
			return nil, kept
		}
		return stored, nil
	}
	theirs, err := readState(stored)
	if err != nil {
		return nil, err
	}
	if len(stored) > 0 && (mine.lineage != theirs.lineage || mine.serial < theirs.serial || !m.based(stored)) {
		if err := m.keepAside(local, "diverged"); err != nil {
			return nil, err
		}
		m.d.o.Log.Error("a state that a run has left is not the next one of the one that is kept, and was put aside", "application", string(m.owner), "serial", mine.serial, "kept", theirs.serial)
		return stored, nil
	}
	if err := m.store(ctx, id, local); err != nil {
		return nil, fmt.Errorf("save the state that an interrupted run has left: %w", err)
	}
	m.d.o.Log.Info("saved the state that an interrupted run has left", "application", string(m.owner), "serial", mine.serial)
	return local, nil
}

func (m *module) keepAside(text []byte, why string) error {
	if err := os.MkdirAll(m.path("aside"), 0o700); err != nil {
		return fmt.Errorf("put a state aside: %w", err)
	}
	return writeFile(m.path("aside", fmt.Sprintf("%s-%s.tfstate", time.Now().UTC().Format("20060102T150405.000"), why)), text)
}

// saveState saves what a run has made of the state.
func (m *module) saveState(ctx context.Context, s *spec) error {
	if s.backend.own {
		m.state.loaded = false
		return nil
	}
	local, err := m.localState(m.folder(s).State(s.Options.Workspace))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the state in the working folder: %w", err)
	}
	if len(local) == 0 || m.saved(local) {
		return nil
	}
	id := stateID(m.owner, s.Options.Workspace)
	if _, err := readState(local); err != nil { // the program was killed while it wrote
		stored, err := m.d.o.States.Load(ctx, id)
		if err != nil {
			return err
		}
		if err := m.keepAside(local, "torn"); err != nil {
			return err
		}
		return m.placeState(m.folder(s).State(s.Options.Workspace), stored)
	}
	return m.store(ctx, id, local)
}

// discard drops all that is kept of a module once nothing is left of what it has
// made: its state, its folder. A backend of the module's own is left alone.
func (m *module) discard(ctx context.Context, s *spec) error {
	if err := os.MkdirAll(filepath.Dir(m.tombstone()), 0o700); err != nil {
		return fmt.Errorf("note that nothing is left: %w", err)
	}
	if err := writeFile(m.tombstone(), nil); err != nil {
		return err
	}
	if !s.backend.own {
		if err := m.d.o.States.Delete(ctx, stateID(m.owner, s.Options.Workspace)); err != nil {
			return err
		}
	}
	for _, dir := range []string{m.dir, m.temp()} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the working folder: %w", err)
		}
	}
	m.content, m.kept, m.runner, m.config, m.known, m.state = "", "", nil, "", nil, stateDoc{}
	m.secrets, m.past, m.discarded = nil, nil, true
	return nil
}

// tombstone is there from the time on when nothing is left of what the module has
// made, until it is forgotten or made again.
func (m *module) tombstone() string {
	return filepath.Join(m.d.o.Dir, "discarded", filepath.Base(m.dir))
}

func (m *module) bury() {
	if err := os.Remove(m.tombstone()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.d.o.Log.Warn("not noted that a module is forgotten", "application", string(m.owner), "error", err)
	}
}
