// Command plumb keeps infrastructure and applications true to Git.
package main

import (
	"fmt"
	"os"

	"github.com/plumb-dev/plumb/internal/localkube/components"
)

func main() {
	// The embedded control plane: the binary runs itself once for each
	// component, before any other command line is looked at.
	if len(os.Args) > 2 && os.Args[1] == "component" {
		os.Exit(components.Run(os.Args[2], os.Args[3:]))
	}
	fmt.Fprintln(os.Stderr, "plumb: the command line is not there yet")
	os.Exit(2)
}
