package fakecloud

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	byAPI   = "api"
	byAdmin = "admin"
)

// Event is one entry of the log of what was done. Reads are not in it.
type Event struct {
	Serial int       `json:"serial"`
	Time   time.Time `json:"time"`
	By     string    `json:"by"` // api or admin
	// Op is create, update, delete, or repeat: a create with a token that had
	// created the object before, which was given that instead of another one.
	Op         string `json:"op"`
	Kind       string `json:"kind"`
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"`
	Region     string `json:"region"`
	Token      string `json:"token,omitempty"`
	Generation int    `json:"generation"`
}

func (c *Cloud) record(by, op string, o *object) {
	c.log = append(c.log, Event{
		Serial: len(c.log) + 1, Time: c.now(), By: by, Op: op, Kind: o.Kind, ID: o.ID,
		Name: o.Name(), Region: o.Region, Token: o.Token, Generation: o.Generation,
	})
}

// Log returns what was done, from the given serial on (0 for all).
func (c *Cloud) Log(from int) []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log[min(max(from-1, 0), len(c.log)):])
}

// Stats counts requests to the API by what became of them: "read/bucket",
// "create/vpc", "throttled", "fault", "unauthorized"; and as "read/bare" the
// reads of a provider that did not get back the private data it had stored.
func (c *Cloud) Stats() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.stats)
}

// Audit is what Cloud.Audit finds.
type Audit struct {
	// Leaked are ids of objects that the API created and nobody knows.
	Leaked []string `json:"leaked,omitempty"`
	// Missing are ids that somebody knows of objects that do not exist.
	Missing []string `json:"missing,omitempty"`
	// Twins are pairs of objects that the API created from equal fields.
	Twins []string `json:"twins,omitempty"`
}

// Clean tells whether nothing was found.
func (a Audit) Clean() bool { return len(a.Leaked)+len(a.Missing)+len(a.Twins) == 0 }

func (a Audit) String() string {
	if a.Clean() {
		return "clean"
	}
	return fmt.Sprintf("leaked %v, missing %v, created twice %v", a.Leaked, a.Missing, a.Twins)
}

// Audit compares what exists with the ids that are known, which are those of
// all states together. What a test created by hand is not counted.
func (c *Cloud) Audit(known ...string) Audit {
	c.mu.Lock()
	defer c.mu.Unlock()
	byAPIs := map[string]bool{}
	for _, e := range c.log {
		if e.By == byAPI && e.Op == "create" {
			byAPIs[e.ID] = true
		}
	}
	var a Audit
	twins := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(c.objects)) {
		o := c.objects[id]
		if o.deleted || !byAPIs[id] {
			continue
		}
		if !slices.Contains(known, id) {
			a.Leaked = append(a.Leaked, id)
		}
		made := o.Region + o.Kind + digest(o.declared)
		if first, ok := twins[made]; ok {
			a.Twins = append(a.Twins, first+"="+id)
		}
		twins[made] = id
	}
	for _, id := range known {
		if o, ok := c.objects[id]; !ok || o.deleted {
			a.Missing = append(a.Missing, id)
		}
	}
	return a
}
