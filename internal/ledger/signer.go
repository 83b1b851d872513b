package ledger

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/note"
)

// signer signs a checkpoint only if its root is that of the tree in the files,
// and the tree goes on from the last checkpoint that was signed. So whoever
// changes the files without having the key does not get the change signed.
type signer struct {
	note.Signer
	store store
	fault func(fault, error)

	mu     sync.Mutex
	last   Checkpoint
	signed chan struct{} // has a token when something was signed since it was taken
	ended  bool
}

var _ note.Signer = (*signer)(nil)

func newSigner(s note.Signer, files store, last Checkpoint, fault func(fault, error)) *signer {
	return &signer{Signer: s, store: files, last: last, fault: fault, signed: make(chan struct{}, 1)}
}

// Sign is called for each checkpoint that is about to be published.
func (s *signer) Sign(text []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	signature, err := s.sign(text)
	s.fault(faultSign, err)
	if err == nil {
		s.token()
	}
	return signature, err
}

// wake lets whoever waits for checkpoints look at how things are.
func (s *signer) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token()
}

func (s *signer) token() {
	if !s.ended {
		wake(s.signed)
	}
}

func (s *signer) sign(text []byte) ([]byte, error) {
	next, err := parseText(text)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	root, err := s.store.root(ctx, next.Size)
	if err != nil {
		return nil, err
	}
	if string(root) != string(next.Hash) {
		return nil, fmt.Errorf("not signed: the tree of %d entries in the files is not the one that was recorded", next.Size)
	}
	if err := s.store.consistent(ctx, s.last, next.Size, next.Hash); err != nil {
		return nil, fmt.Errorf("not signed: %w", err)
	}
	signature, err := s.Signer.Sign(text)
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint: %w", err)
	}
	s.last = Checkpoint{Size: next.Size, Root: next.Hash}
	return signature, nil
}

// size is what the last checkpoint commits to.
func (s *signer) size() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.Size
}

// stop lets whoever waits for checkpoints know that no further one is of
// interest.
func (s *signer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.signed)
	}
}
