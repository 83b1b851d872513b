package kubestate

import "time"

// Later has the store's clock show a later time.
func (s *Store) Later(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now
	s.now = func() time.Time { return before().Add(by) }
}
