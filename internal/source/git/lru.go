package git

import (
	"container/list"
	"sync"
)

// lru keeps values up to a total cost, the least recently used leaving first.
// It is safe for concurrent use.
type lru[V any] struct {
	mu    sync.Mutex
	max   int64
	cost  int64
	order *list.List
	items map[objectID]*list.Element
}

type lruItem[V any] struct {
	key   objectID
	value V
	cost  int64
}

func newLRU[V any](limit int64) *lru[V] {
	return &lru[V]{max: limit, order: list.New(), items: map[objectID]*list.Element{}}
}

func (c *lru[V]) get(key objectID) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*lruItem[V]).value, true
	}
	var none V
	return none, false
}

// put keeps a value unless it alone would fill a quarter of the cache.
func (c *lru[V]) put(key objectID, value V, cost int64) {
	if cost > c.max/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.order.MoveToFront(e)
		return
	}
	c.items[key] = c.order.PushFront(&lruItem[V]{key, value, cost})
	c.cost += cost
	for c.cost > c.max {
		oldest := c.order.Back()
		item := oldest.Value.(*lruItem[V])
		c.order.Remove(oldest)
		delete(c.items, item.key)
		c.cost -= item.cost
	}
}
