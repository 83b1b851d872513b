package kube

import (
	"sync"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// claims decide between Applications of this process that want one resource:
// the first to ask has it until it lets go.
type claims struct {
	mu sync.Mutex
	by map[claimKey]*claim
}

type claimKey struct {
	server  string
	address plan.Address
}

type claim struct {
	owner   driver.Owner
	waiting map[driver.Owner]struct{}
}

// take claims a resource and gives who has it.
func (c *claims) take(server string, a plan.Address, owner driver.Owner, exists func(driver.Owner) bool) driver.Owner {
	key := claimKey{server, a}
	c.mu.Lock()
	defer c.mu.Unlock()
	have := c.by[key]
	switch {
	case have == nil:
		if c.by == nil {
			c.by = map[claimKey]*claim{}
		}
		c.by[key] = &claim{owner: owner}
	case have.owner == owner:
	case have.owner == "" || !exists(have.owner):
		have.owner = owner
		delete(have.waiting, owner)
	default:
		have.wait(owner)
		return have.owner
	}
	return owner
}

func (c *claim) wait(owner driver.Owner) {
	if c.waiting == nil {
		c.waiting = map[driver.Owner]struct{}{}
	}
	c.waiting[owner] = struct{}{}
}

// await has an owner told when a resource that another holds becomes free.
func (c *claims) await(server string, a plan.Address, owner, holder driver.Owner) {
	key := claimKey{server, a}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[claimKey]*claim{}
	}
	have := c.by[key]
	if have == nil {
		have = &claim{owner: holder}
		c.by[key] = have
	}
	have.wait(owner)
}

// release lets go of a resource and tells those who wait for it.
func (c *claims) release(server string, a plan.Address, owner driver.Owner, moved func(driver.Owner)) {
	key := claimKey{server, a}
	c.mu.Lock()
	have := c.by[key]
	if have == nil || have.owner != owner {
		if have != nil {
			delete(have.waiting, owner)
		}
		c.mu.Unlock()
		return
	}
	delete(c.by, key)
	c.mu.Unlock()
	for o := range have.waiting {
		moved(o)
	}
}

// wake tells those who wait for a resource to look again.
func (c *claims) wake(server string, a plan.Address, moved func(driver.Owner)) {
	c.mu.Lock()
	have := c.by[claimKey{server, a}]
	var waiting []driver.Owner
	if have != nil {
		for o := range have.waiting {
			waiting = append(waiting, o)
		}
	}
	c.mu.Unlock()
	for _, o := range waiting {
		moved(o)
	}
}
