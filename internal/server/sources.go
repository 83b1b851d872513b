package server

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/source/git"
	"github.com/plumb-dev/plumb/internal/source/helmrepo"
	"github.com/plumb-dev/plumb/internal/source/oci"
)

const (
	// unusedFor is how long a mirror or an archive may be unused before it is
	// removed, and pruneEvery how often to look for such.
	unusedFor  = 7 * 24 * time.Hour
	pruneEvery = 6 * time.Hour
)

// sources are the places that desired state comes from. They outlive the terms
// of leading, so that a new term finds what is fetched already.
type sources struct {
	git  *git.Source
	helm *helmrepo.Source
	oci  *oci.Source
}

func newSources(dir string, poll time.Duration) (sources, error) {
	s := sources{}
	var err error
	if s.git, err = git.New(git.Options{CacheDir: filepath.Join(dir, "git"), PollInterval: poll}); err != nil {
		return sources{}, fmt.Errorf("prepare the Git source: %w", err)
	}
	if s.helm, err = helmrepo.New(helmrepo.Options{CacheDir: filepath.Join(dir, "helm"), PollInterval: poll}); err != nil {
		s.close()
		return sources{}, fmt.Errorf("prepare the Helm source: %w", err)
	}
	if s.oci, err = oci.New(oci.Options{CacheDir: filepath.Join(dir, "oci"), PollInterval: poll}); err != nil {
		s.close()
		return sources{}, fmt.Errorf("prepare the OCI source: %w", err)
	}
	return s, nil
}

func (s sources) close() {
	if s.git != nil {
		s.git.Close()
	}
	if s.helm != nil {
		s.helm.Close()
	}
	if s.oci != nil {
		s.oci.Close()
	}
}

// engine gives them as the engine knows them.
func (s sources) engine() engine.Sources {
	return engine.Sources{Git: s.git, Helm: s.helm, OCI: s.oci}
}

// prune removes what has not been used for long.
func (s sources) prune() error {
	for _, p := range []interface{ Prune(time.Duration) error }{s.git, s.helm, s.oci} {
		if err := p.Prune(unusedFor); err != nil {
			return err
		}
	}
	return nil
}
