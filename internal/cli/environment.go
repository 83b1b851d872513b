package cli

import (
	"os"
	"path/filepath"
)

// environment is all that commands take from the process' environment beside
// what client-go's loading rules read. It is read once, by Main.
type environment struct {
	// NoColor is set where NO_COLOR is (https://no-color.org) or TERM is "dumb".
	NoColor bool
	// DataDir is the default data directory.
	DataDir string
	// Program is the path of this program, for processes that it starts.
	Program string
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
	if program, err := os.Executable(); err == nil {
		env.Program = program
	}
	return env
}
