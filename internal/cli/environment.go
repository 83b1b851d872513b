package cli

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"

	"github.com/plumb-dev/plumb/internal/server"
)

// environment is all that commands take from the process' environment beside
// what client-go's loading rules read. It is read once, by Main.
type environment struct {
	// NoColor is set where NO_COLOR is (https://no-color.org) or TERM is "dumb".
	NoColor bool
	// DataDir is the default data directory.
	DataDir string
	// CacheDir is where previews keep what they fetch: plumb in the user's cache
	// directory where it is empty.
	CacheDir string
	// StateDir is where a server keeps what must not be lost, if nobody says where;
	// empty where there is no home either.
	StateDir string
	// Program is the path of this program, for processes that it starts.
	Program string
	// Sops is where the user's own keys are.
	Sops localKeys
	// Tools are how OpenTofu and Terraform are run.
	Tools server.Tools
	// Hosts are the tokens for hosts of repositories.
	Hosts hostTokens
}

func readEnvironment() environment {
	env := environment{
		NoColor: os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb",
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) { // others are to be ignored
		env.DataDir = filepath.Join(dir, "plumb")
	} else if home, err := os.UserHomeDir(); err == nil {
		env.DataDir = filepath.Join(home, ".local", "share", "plumb")
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		env.StateDir = filepath.Join(dir, "plumb")
	} else if home, err := os.UserHomeDir(); err == nil {
		env.StateDir = filepath.Join(home, ".local", "state", "plumb")
	}
	if program, err := os.Executable(); err == nil {
		env.Program = program
	}
	env.Sops = localKeys{
		age: os.Getenv("SOPS_AGE_KEY"), ageFile: os.Getenv("SOPS_AGE_KEY_FILE"), sshFile: os.Getenv("SOPS_AGE_SSH_PRIVATE_KEY_FILE"),
		gpg: cmp.Or(os.Getenv("SOPS_GPG_EXEC"), "gpg"),
	}
	if dir, err := os.UserConfigDir(); err == nil && env.Sops.ageFile == "" {
		env.Sops.usual = filepath.Join(dir, "sops", "age", "keys.txt")
	}
	env.Tools = toolsOf(os.Environ())
	env.Hosts = hostTokensOf(os.Getenv)
	return env
}

// toolsOf takes of an environment what the programs that run modules need: where
// to find things, and how to reach the net. Nothing else of it is theirs: not the
// credentials that Plumb itself was given.
func toolsOf(environ []string) server.Tools {
	var t server.Tools
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch strings.ToUpper(name) {
		case "PATH":
			t.Path = filepath.SplitList(value)
			t.Env = append(t.Env, entry)
		case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "LANG", "TZ":
			t.Env = append(t.Env, entry)
		case "TF_CLI_CONFIG_FILE":
			t.Config = value
		case "PLUMB_MODULE_ISOLATION":
			t.Isolation = value
		case "PLUMB_MODULE_READABLE":
			t.Readable = filepath.SplitList(value)
		case "PLUMB_MODULE_WRITABLE":
			t.Writable = filepath.SplitList(value)
		}
	}
	return t
}
