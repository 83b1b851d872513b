package server

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/scm"
)

// statuses tell hosts of repositories how commits fared: plumb/<namespace>/<name>
// on the commit that an Application was made true to. What is told is what the
// Application's status says whenever it is written, so nothing is missed and the
// engine never waits; the same is not told twice.
type statuses struct {
	apps     engine.Applications
	projects engine.Projects
	hosts    *hosts
	log      *slog.Logger

	mu      sync.Mutex
	pending map[engine.Key]bool
	wake    chan struct{}
	told    map[statusKey]scm.Status
}

// statusKey is where a status is.
type statusKey struct{ repo, sha, context string }

const (
	// statusPause is how long news is gathered: most Applications pass from one
	// state to the next within it.
	statusPause = 2 * time.Second
	// mostTold bounds what is remembered; more is told again, which does no harm.
	mostTold = 20_000
	// statusTimeout is the longest that one takes to tell.
	statusTimeout = 2 * time.Minute
)

func newStatuses(apps engine.Applications, projects engine.Projects, hosts *hosts, log *slog.Logger) *statuses {
	return &statuses{
		apps: apps, projects: projects, hosts: hosts, log: log, pending: map[engine.Key]bool{}, wake: make(chan struct{}, 1), told: map[statusKey]scm.Status{},
	}
}

// over notes each status that is written.
func (s *statuses) over(apps engine.Applications) engine.Applications {
	return notedApplications{apps, s}
}

type notedApplications struct {
	engine.Applications
	to *statuses
}

// WriteStatus writes, and notes that it did.
func (n notedApplications) WriteStatus(ctx context.Context, app *v1alpha1.Application, key engine.Key, status v1alpha1.ApplicationStatus) error {
	err := n.Applications.WriteStatus(ctx, app, key, status)
	if err == nil {
		n.to.note(key)
	}
	return err
}

func (s *statuses) note(key engine.Key) {
	s.mu.Lock()
	s.pending[key] = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run tells until ctx is done.
func (s *statuses) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(statusPause):
		}
		s.mu.Lock()
		keys := s.pending
		s.pending = map[engine.Key]bool{}
		s.mu.Unlock()
		for key := range keys {
			if ctx.Err() != nil {
				return
			}
			s.tell(ctx, key)
		}
	}
}

// tell tells of one Application.
func (s *statuses) tell(ctx context.Context, key engine.Key) {
	app, ok := s.apps.Get(key)
	if !ok || app.DeletionTimestamp != nil || !maySpeakOf(s.projects, key, app) {
		return
	}
	status, revisions := statusOf(app)
	if status.State == "" {
		return
	}
	for i, src := range app.Spec.GetSources() {
		if src.Chart != "" || i >= len(revisions) || !isCommit(revisions[i]) {
			continue
		}
		host, repo, said, ok, err := s.hosts.of(src.RepoURL)
		if err != nil || !ok || !said.Statuses {
			continue // a Secret that can't be used was told of when it was read
		}
		one := status
		one.Context = statusContext(key, said.Installation)
		at := statusKey{strings.ToLower(said.URL + " " + repo.String()), revisions[i], one.Context}
		if s.toldAlready(at, one) {
			continue
		}
		call, cancel := context.WithTimeout(ctx, statusTimeout)
		err = host.Statuses.Set(call, repo, revisions[i], one)
		cancel()
		if err != nil {
			s.forget(at)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("commit status not set", "application", key.String(), "error", err)
		}
	}
}

func (s *statuses) toldAlready(at statusKey, status scm.Status) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told[at] == status {
		return true
	}
	if len(s.told) >= mostTold {
		clear(s.told)
	}
	s.told[at] = status
	return false
}

func (s *statuses) forget(at statusKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.told, at)
}

func statusContext(key engine.Key, installation string) string {
	name := "plumb/"
	if installation != "" {
		name += installation + "/"
	}
	return name + key.String()
}

func isCommit(revision string) bool {
	return (len(revision) == 40 || len(revision) == 64) && !strings.ContainsFunc(revision, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdef", r)
	})
}

// statusOf is what there is to tell of an Application, and of which commits. A
// state that is empty is nothing to tell. Messages of errors stay here: they
// are for those who may read the Application.
func statusOf(app *v1alpha1.Application) (scm.Status, []string) {
	many := app.Spec.HasMultipleSources()
	revisions := func(one string, several []string) []string {
		if many {
			return several
		}
		return []string{one}
	}
	st := &app.Status
	declared := revisions(st.Sync.Revision, st.Sync.Revisions)
	op := st.OperationState
	if op != nil && op.SyncResult != nil {
		synced := revisions(op.SyncResult.Revision, op.SyncResult.Revisions)
		switch op.Phase {
		case v1alpha1.OperationRunning, v1alpha1.OperationTerminating:
			return scm.Status{State: scm.Pending, Description: "being applied"}, synced
		case v1alpha1.OperationFailed, v1alpha1.OperationError:
			if st.Sync.Status != v1alpha1.SyncStatusCodeSynced {
				return scm.Status{State: scm.Failure, Description: "the sync has failed: see plumb describe " + app.Name}, synced
			}
		case v1alpha1.OperationSucceeded:
		}
	}
	switch st.Sync.Status {
	case v1alpha1.SyncStatusCodeSynced:
		return healthStatus(app), declared
	case v1alpha1.SyncStatusCodeOutOfSync:
		if app.Spec.SyncPolicy != nil && app.Spec.SyncPolicy.Approval.IsRequired() {
			return scm.Status{State: scm.Pending, Description: "waits for an approval"}, declared
		}
		if app.Spec.SyncPolicy == nil || !app.Spec.SyncPolicy.Automated.IsEnabled() {
			return scm.Status{State: scm.Pending, Description: "waits for a sync by hand"}, declared
		}
	case v1alpha1.SyncStatusCodeUnknown:
	}
	return scm.Status{}, nil
}

func healthStatus(app *v1alpha1.Application) scm.Status {
	switch code := string(app.Status.Health.Status); code {
	case "Healthy", "":
		return scm.Status{State: scm.Success, Description: "applied and healthy"}
	case "Degraded":
		return scm.Status{State: scm.Failure, Description: "applied, and degraded: see plumb describe " + app.Name}
	default:
		return scm.Status{State: scm.Pending, Description: "applied, health is " + strings.ToLower(code)}
	}
}
