package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/internal/driver/tofu"
	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
	"github.com/plumb-dev/plumb/internal/driver/tofu/kubestate"
	"github.com/plumb-dev/plumb/internal/driver/tofu/run"
)

// Tools says how OpenTofu and Terraform are run.
type Tools struct {
	// Path are the directories in which they are looked for.
	Path []string
	// Env is their environment and that of providers, such as PATH and proxies. It
	// must hold no credentials.
	Env []string
	// Config is their configuration file (TF_CLI_CONFIG_FILE), or empty.
	Config string
	// Isolation is how modules are kept apart: required, preferred (also where it is
	// empty) or off. Readable and Writable are paths that all of them may use.
	Isolation          string
	Readable, Writable []string
}

// Found tells whether there is a program that runs modules.
func (t Tools) Found() bool {
	_, err := run.Find("", t.Path)
	return err == nil
}

// check refuses settings that can't be meant.
func (t Tools) check() error {
	if t.Isolation != "" && !slices.Contains(isolate.Modes(), t.Isolation) {
		return fmt.Errorf("the isolation of modules is %q: it must be one of %s", t.Isolation, strings.Join(isolate.Modes(), ", "))
	}
	for _, path := range slices.Concat(t.Readable, t.Writable) {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("modules can't be given %q: the path must be absolute", path)
		}
	}
	return nil
}

// modules makes the driver of modules.
func (s *Server) modules(salt []byte) (*tofu.Driver, *kubestate.Store, error) {
	dir := filepath.Join(s.DataDir, "tofu")
	if s.lenient { // a preview must not get in the way of a server's runs
		dir = filepath.Join(s.DataDir, "tofu-previews")
	}
	instance, err := s.instance(dir)
	if err != nil {
		return nil, nil, err
	}
	states, err := kubestate.New(s.counted(), instance)
	if err != nil {
		return nil, nil, err
	}
	o := s.moduleOptions(dir, states, salt)
	o.Shared = s.lenient
	d, err := tofu.New(o)
	return d, states, err
}

// moduleOptions are those of all drivers of modules, whatever they are for: what
// the operator has said of how they run holds for previews, too.
func (s *Server) moduleOptions(dir string, states tofu.States, salt []byte) tofu.Options {
	return tofu.Options{
		Dir: dir, States: states, Path: s.Tools.Path, Env: s.Tools.Env, CLIConfig: s.Tools.Config, Log: s.Log,
		Download: true, Salt: salt,
		Isolation: isolate.Options{Mode: isolate.Mode(s.Tools.Isolation), Readable: s.Tools.Readable, Writable: s.Tools.Writable},
	}
}

// instance is who takes locks. Commands are one each: what another one holds is
// not left behind, as far as they can know.
func (s *Server) instance(dir string) (string, error) {
	if s.lenient {
		return "command-" + strings.ToLower(rand.Text()), nil
	}
	return instanceOf(dir)
}

// instanceOf identifies a directory of working folders: a lock that was taken for
// a run in it is known again by a later process.
func instanceOf(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the working folders of modules: %w", err)
	}
	file := filepath.Join(dir, "instance")
	text, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(text))) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read who we are: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := os.WriteFile(file, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("note who we are: %w", err)
	}
	return id, nil
}
