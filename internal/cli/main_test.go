package cli

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// withCluster runs the tests and stops the API server that some of them start.
type withCluster struct{ m *testing.M }

func (w withCluster) Run() int { return kubetest.Run(w.m) }

func TestMain(m *testing.M) {
	testscript.Main(withCluster{m}, map[string]func(){
		"plumb": func() {
			os.Exit(Main(os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", env.WorkDir+"/data")
			return nil
		},
	})
}
