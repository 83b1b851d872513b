// Command controlplane is the part of plumb that tests need to start a control
// plane: the components and nothing else, so that it is built once and stays
// good while the rest of Plumb changes.
package main

import (
	"fmt"
	"os"

	"github.com/plumb-dev/plumb/internal/localkube/components"
)

func main() {
	if len(os.Args) < 3 || os.Args[1] != "component" {
		fmt.Fprintln(os.Stderr, "usage: controlplane component NAME [ARGUMENT]...")
		os.Exit(2)
	}
	os.Exit(components.Run(os.Args[2], os.Args[3:]))
}
