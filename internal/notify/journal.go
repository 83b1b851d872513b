package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// journal is what survives: what was notified, and what has not arrived. It is
// one file, written anew and renamed, so that it is never half of each.
type journal struct {
	Version  int                         `json:"version"`
	Notified map[string]map[string]int64 `json:"notified"`
	Pending  []pendingChannel            `json:"pending,omitempty"`
}

type pendingChannel struct {
	To       Destination `json:"to"`
	Messages []waiting   `json:"messages"`
}

const (
	journalName    = "notifications.json"
	journalVersion = 1
)

// restore reads the journal.
func (n *Notifier) restore() error {
	if n.options.Dir == "" || n.restored {
		return nil
	}
	n.restored = true
	if err := os.MkdirAll(n.options.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the journal of notifications: %w", err)
	}
	raw, err := os.ReadFile(filepath.Join(n.options.Dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the journal of notifications: %w", err)
	}
	var j journal
	if err := json.Unmarshal(raw, &j); err != nil {
		return fmt.Errorf("read the journal of notifications: %w", err)
	}
	if j.Version != journalVersion {
		return fmt.Errorf("the journal of notifications has version %d, not %d", j.Version, journalVersion)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if j.Notified != nil {
		n.memory.Notified = j.Notified
	}
	for _, p := range j.Pending {
		c := newChannel(p.To, n.config.grouping.orDefault())
		c.pending = p.Messages
		n.channels[p.To] = c
	}
	return nil
}

// save writes the journal if something has changed, and not more often than
// once in a while unless it must be now.
func (n *Notifier) save(now bool) error {
	if n.options.Dir == "" || !n.changed || !now && time.Since(n.saved) < savePause {
		return nil
	}
	j := journal{Version: journalVersion, Notified: n.memory.Notified}
	n.mu.Lock()
	for _, c := range n.inOrder() {
		j.Pending = append(j.Pending, pendingChannel{To: c.to, Messages: c.pending})
	}
	n.mu.Unlock()
	n.changed, n.saved = false, time.Now()
	raw, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("write the journal of notifications: %w", err)
	}
	if err := replaceFile(filepath.Join(n.options.Dir, journalName), raw); err != nil {
		n.changed = true
		return fmt.Errorf("write the journal of notifications: %w", err)
	}
	return nil
}

func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".notifications-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
