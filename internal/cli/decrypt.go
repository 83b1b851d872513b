package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/internal/render/secrets"
)

// localKeys say where a user's keys are, as the sops command finds them.
type localKeys struct {
	age, ageFile, sshFile string
	// usual is the file of age keys where none is named.
	usual string
	gpg   string
}

// keys reads them.
func (l localKeys) keys() (render.Keys, error) {
	var files []secrets.Material
	add := func(name string, data []byte) {
		files = append(files, secrets.Material{Name: name, Data: map[string][]byte{"local.agekey": data}})
	}
	if l.age != "" {
		add("SOPS_AGE_KEY", []byte(l.age))
	}
	for _, file := range []struct {
		path, why string
		must      bool
	}{{l.ageFile, "SOPS_AGE_KEY_FILE", true}, {l.sshFile, "SOPS_AGE_SSH_PRIVATE_KEY_FILE", true}, {l.usual, "", false}} {
		if file.path == "" {
			continue
		}
		data, err := os.ReadFile(file.path)
		switch {
		case err == nil:
			add(file.path, data)
		case file.must:
			return nil, fmt.Errorf("read your keys (%s): %w", file.why, err)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("read your keys: %w", err)
		}
	}
	return secrets.NewLocal(files, l.decrypt), nil
}

// decrypt has GnuPG decrypt.
func (l localKeys) decrypt(ctx context.Context, armored []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, l.gpg, "--use-agent", "--quiet", "-d")
	cmd.Stdin = bytes.NewReader(armored)
	return cmd.Output()
}
