// Command plumb keeps infrastructure and applications true to Git.
package main

import (
	"os"

	"github.com/plumb-dev/plumb/internal/cli"
	"github.com/plumb-dev/plumb/internal/localkube/components"
	"github.com/spf13/pflag"
)

func main() {
	// The embedded control plane: the binary runs itself once for each
	// component, before any other command line is looked at.
	if len(os.Args) > 2 && os.Args[1] == "component" {
		os.Exit(components.Run(os.Args[2], os.Args[3:]))
	}
	// Kubernetes' packages register flags of their own for every command of a
	// process; they are the components' only.
	pflag.CommandLine = pflag.NewFlagSet(os.Args[0], pflag.ContinueOnError)
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
