// Command terraform-provider-cloud serves the provider of the fake cloud. The
// name that it is run by says in which form: terraform-provider-cloud_v1.0.0 is
// version 1.0.0, and terraform-provider-cloud5_v… speaks protocol 5, so that
// one binary with several names serves as all of them.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/plumb-dev/plumb/test/providers/cloud"
)

// name is how a provider's binary is called in a mirror.
var name = regexp.MustCompile(`^terraform-provider-(cloud5?)(?:_v(\d+\.\d+\.\d+))?(?:\.exe)?$`)

func main() {
	kind, flavour := "cloud", cloud.Flavour{Version: "2.0.0", Protocol: 6}
	if m := name.FindStringSubmatch(filepath.Base(os.Args[0])); m != nil {
		kind = m[1]
		if m[2] != "" {
			flavour.Version = m[2]
		}
	}
	if kind == "cloud5" {
		flavour.Protocol = 5
	}
	err := providerserver.Serve(context.Background(), cloud.New(flavour), providerserver.ServeOpts{
		Address: "registry.opentofu.org/plumb-dev/" + kind, ProtocolVersion: flavour.Protocol,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
