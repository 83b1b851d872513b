package tofu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
)

// keptPlan is a saved plan that was shown. As long as later ones that are made of
// the same things say the same, it stays the one that is applied: somebody may have
// approved it.
type keptPlan struct {
	File string
	// Key, Fingerprint and Digest are of what it was made for, of what it was made
	// from, and of what it says.
	Key, Fingerprint, Digest string
	// Made is when the file was written.
	Made time.Time
}

// keptPlan is the one in the folder, be it an earlier process's.
func (m *module) keptPlan() keptPlan {
	var k keptPlan
	text, err := os.ReadFile(m.path("plan.json"))
	if err != nil || json.Unmarshal(text, &k) != nil {
		return keptPlan{}
	}
	if info, err := os.Stat(k.File); err != nil || !info.ModTime().Equal(k.Made) {
		return keptPlan{}
	}
	return k
}

// keepPlan has a plan give way to the one that is kept, if that says the same, and
// keeps it otherwise. One that is made only to be looked at is not kept.
func (m *module) keepPlan(kept keptPlan, key string, p *run.Planned, digest string, look bool) error {
	if kept.File != "" && kept.Key == key && kept.Fingerprint == p.Fingerprint && kept.Digest == digest {
		p.File = kept.File
		return nil
	}
	if look && kept.File != "" {
		return nil
	}
	info, err := os.Stat(p.File)
	if err != nil {
		return fmt.Errorf("keep the plan: %w", err)
	}
	text, err := json.Marshal(keptPlan{p.File, key, p.Fingerprint, digest, info.ModTime()})
	if err != nil {
		return fmt.Errorf("keep the plan: %w", err)
	}
	return writeFile(m.path("plan.json"), text)
}

// dropPlan forgets the plan that is kept: it is applied, or is too old.
func (m *module) dropPlan() error {
	if err := os.Remove(m.path("plan.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the plan: %w", err)
	}
	return nil
}
