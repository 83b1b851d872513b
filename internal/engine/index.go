package engine

import "sync"

// relation remembers, for each key, what it points to, and can be asked the
// other way round.
type relation[T comparable] struct {
	mu      sync.Mutex
	forward map[Key][]T
	back    map[T]map[Key]bool
}

func newRelation[T comparable]() *relation[T] {
	return &relation[T]{forward: map[Key][]T{}, back: map[T]map[Key]bool{}}
}

// put makes key point to exactly the given things.
func (r *relation[T]) put(key Key, to []T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.forward[key] {
		delete(r.back[t], key)
		if len(r.back[t]) == 0 {
			delete(r.back, t)
		}
	}
	delete(r.forward, key)
	if len(to) == 0 {
		return
	}
	r.forward[key] = to
	for _, t := range to {
		if r.back[t] == nil {
			r.back[t] = map[Key]bool{}
		}
		r.back[t][key] = true
	}
}

// sources are the keys that point to t.
func (r *relation[T]) sources(t T) []Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]Key, 0, len(r.back[t]))
	for k := range r.back[t] {
		keys = append(keys, k)
	}
	return keys
}

func (r *relation[T]) targets(key Key) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.forward[key]
}

// repositories says which Applications use which repository.
type repositories struct{ rel *relation[string] }

func newRepositories() *repositories { return &repositories{newRelation[string]()} }

// set makes key use exactly the given ones, and gives those that it used before.
func (r *repositories) set(key Key, repos []string) []string {
	before := r.rel.targets(key)
	r.rel.put(key, repos)
	return before
}

// users are the Applications that use a repository.
func (r *repositories) users(repo string) []Key { return r.rel.sources(repo) }

// dependencies says which Applications depend on which.
type dependencies struct{ rel *relation[Key] }

func newDependencies() *dependencies { return &dependencies{newRelation[Key]()} }

// set makes key depend on exactly the given ones, and gives those that it
// depended on before.
func (d *dependencies) set(key Key, on []Key) []Key {
	before := d.rel.targets(key)
	d.rel.put(key, on)
	return before
}

// of are the Applications that depend on key.
func (d *dependencies) of(key Key) []Key { return d.rel.sources(key) }
