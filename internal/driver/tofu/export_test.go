package tofu

import (
	"context"
	"time"

	"github.com/plumb-dev/plumb/internal/driver"
)

// Age makes the plan that is known of an owner older.
func (d *Driver) Age(owner driver.Owner, by time.Duration) {
	m, err := d.module(owner)
	if err != nil {
		panic(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known.at = m.known.at.Add(-by)
}

// Remembered tells whether anything is kept in memory of an owner.
func (d *Driver) Remembered(owner driver.Owner) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.modules[owner] != nil
}

// Temp is the folder with a short path.
func (d *Driver) Temp() string { return d.temp }

// Forgive has the last failure be long ago.
func (d *Driver) Forgive(owner driver.Owner) {
	m, err := d.module(owner)
	if err != nil {
		panic(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		m.failed.until = time.Now()
	}
}

// StateOf names the state of an owner.
func StateOf(owner driver.Owner, workspace string) StateID { return stateID(owner, workspace) }

// Tried saves a state, be it in vain.
func (d *Driver) Tried(owner driver.Owner, text []byte) {
	m, err := d.module(owner)
	if err != nil {
		panic(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.store(context.Background(), stateID(owner, ""), text)
}

// Answer is what drift rules say of a resource that has drifted in some fields.
var Answer = answer

// GitRepository is the Git repository of a module's source.
var GitRepository = gitRepository

// PlanFile is the plan that would be applied.
func (d *Driver) PlanFile(owner driver.Owner, digest string) string {
	m, err := d.module(owner)
	if err != nil {
		panic(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || m.known.planned == nil || m.known.comparison.Plan.Digest() != digest {
		return "there is no such plan"
	}
	return m.known.planned.File
}

// Prune removes what is not used any more, as if it were some time.
func (d *Driver) Prune(ctx context.Context, now time.Time) error { return d.prune(ctx, now, true) }
