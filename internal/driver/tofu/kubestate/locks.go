package kubestate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/internal/driver/tofu"
)

// stillHeld tells whether the lock that we took of a state is ours by now: while we
// could not renew it, somebody else may have taken it, and changed the state.
func (s *Store) stillHeld(ctx context.Context, id tofu.StateID, name string) error {
	s.mu.Lock()
	lock := s.held[id]
	s.mu.Unlock()
	if lock == "" {
		return nil
	}
	lease, err := s.leases.Leases(id.Namespace).Get(ctx, "lock-"+name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return tofu.ErrNotHeld
	case err != nil:
		return err
	case lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != lock:
		return tofu.ErrNotHeld
	}
	return nil
}

// Lock takes the lock of a state, and renews it until Unlock.
func (s *Store) Lock(ctx context.Context, id tofu.StateID, lock tofu.Lock) error {
	name, err := secretName(id)
	if err != nil {
		return err
	}
	info, err := json.Marshal(lock)
	if err != nil {
		return fmt.Errorf("describe the lock: %w", err)
	}
	client := s.leases.Leases(id.Namespace)
	now := metav1.NewMicroTime(time.Now())
	lease, err := client.Get(ctx, "lock-"+name, metav1.GetOptions{})
	fresh := apierrors.IsNotFound(err)
	if err == nil {
		if err := foreign(lease.Labels, id, "lock-"+name); err != nil {
			return fmt.Errorf("lock the state: %w", err)
		}
	}
	switch {
	case fresh:
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "lock-" + name, Namespace: id.Namespace, Labels: labels(id)}}
	case err != nil:
		return fmt.Errorf("lock the state: %w", err)
	case lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" && !s.mayTake(lease):
		return holder(lease)
	}
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	lease.Annotations[lockAnnotation], lease.Annotations[instanceAnnotation] = string(info), s.instance+" "+lock.ID
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &lock.ID, &now
	if fresh {
		_, err = client.Create(ctx, lease, metav1.CreateOptions{})
	} else {
		_, err = client.Update(ctx, lease, metav1.UpdateOptions{})
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		if lease, err := client.Get(ctx, "lock-"+name, metav1.GetOptions{}); err == nil {
			return holder(lease)
		}
	}
	if err != nil {
		return fmt.Errorf("lock the state: %w", err)
	}
	s.mu.Lock()
	s.held[id] = lock.ID
	s.mu.Unlock()
	s.renew(id.Namespace, "lock-"+name, lock.ID)
	return nil
}

// mayTake tells whether a lock is one of this instance's own, of a process that
// has ended, or of another one that has: one that was not renewed while we looked
// on. What the clocks of others say does not count.
func (s *Store) mayTake(lease *coordinationv1.Lease) bool {
	// The annotation may be left from a lock before this one.
	s.mu.Lock()
	defer s.mu.Unlock()
	switch by, id, _ := strings.Cut(lease.Annotations[instanceAnnotation], " "); {
	case by == "" || id != *lease.Spec.HolderIdentity:
		return false
	case by == s.instance:
		return s.renewals[*lease.Spec.HolderIdentity] == nil
	}
	r := renewal{*lease.Spec.HolderIdentity, lease.ResourceVersion, s.now()}
	place := lease.Namespace + "/" + lease.Name
	before, known := s.seen[place]
	if !known || before.holder != r.holder || before.version != r.version {
		s.seen[place] = r
		return false
	}
	if r.since.Sub(before.since) <= abandonedAfter {
		return false
	}
	delete(s.seen, place)
	return true
}

// renewal is how a lock of somebody else was first seen, by our own clock.
type renewal struct {
	holder, version string
	since           time.Time
}

func holder(lease *coordinationv1.Lease) error {
	e := &tofu.LockedError{}
	if json.Unmarshal([]byte(lease.Annotations[lockAnnotation]), &e.Lock) != nil || e.ID == "" {
		e.Lock = tofu.Lock{Who: "somebody who does not say so", Operation: "unknown operation", Created: lease.CreationTimestamp.Time}
		if lease.Spec.HolderIdentity != nil {
			e.ID = *lease.Spec.HolderIdentity
		}
	}
	return e
}

// renew shows that a lock is still held.
func (s *Store) renew(namespace, name, lockID string) {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	s.renewals[lockID] = cancel
	s.mu.Unlock()
	s.wait.Go(func() {
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			lease, err := s.leases.Leases(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != lockID {
				continue
			}
			now := metav1.NewMicroTime(time.Now())
			lease.Spec.RenewTime = &now
			_, _ = s.leases.Leases(namespace).Update(ctx, lease, metav1.UpdateOptions{}) // tried again soon
		}
	})
}

// Unlock gives a lock back.
func (s *Store) Unlock(ctx context.Context, id tofu.StateID, lockID string) error {
	s.mu.Lock()
	if end := s.renewals[lockID]; end != nil {
		end()
		delete(s.renewals, lockID)
	}
	if lockID == "" || s.held[id] == lockID {
		delete(s.held, id)
	}
	s.mu.Unlock()
	name, err := secretName(id)
	if err != nil {
		return err
	}
	client := s.leases.Leases(id.Namespace)
	for range 5 {
		lease, err := client.Get(ctx, "lock-"+name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unlock the state: %w", err)
		}
		if err := foreign(lease.Labels, id, "lock-"+name); err != nil {
			return fmt.Errorf("unlock the state: %w", err)
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
			return nil
		}
		if lockID != "" && *lease.Spec.HolderIdentity != lockID {
			return fmt.Errorf("unlock the state: %w", tofu.ErrNotHeld)
		}
		lease.Spec.HolderIdentity, lease.Spec.RenewTime = nil, nil
		delete(lease.Annotations, lockAnnotation)
		delete(lease.Annotations, instanceAnnotation)
		if _, err = client.Update(ctx, lease, metav1.UpdateOptions{}); err == nil {
			return nil
		} else if !apierrors.IsConflict(err) {
			return fmt.Errorf("unlock the state: %w", err)
		}
	}
	return errors.New("unlock the state: it is changed all the time by somebody else")
}
