package components

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	_ "unsafe" // for go:linkname

	"k8s.io/component-base/version"
)

// Kubernetes takes its version from linker flags. A plain "go install" gives
// none, and the API server would call itself v0.0.0-master, which Helm charts
// with a kubeVersion constraint and every client refuse or misunderstand. So
// the version of the module that was really compiled is put into the same
// variables.

//go:linkname gitVersion k8s.io/component-base/version.gitVersion
var gitVersion string

//go:linkname gitMajor k8s.io/component-base/version.gitMajor
var gitMajor string

//go:linkname gitMinor k8s.io/component-base/version.gitMinor
var gitMinor string

//go:linkname gitCommit k8s.io/component-base/version.gitCommit
var gitCommit string

//go:linkname gitTreeState k8s.io/component-base/version.gitTreeState
var gitTreeState string

// stampKubernetesVersion makes the components report the Kubernetes release
// that they were compiled from.
func stampKubernetesVersion() {
	release := kubernetesRelease()
	parts := strings.SplitN(strings.TrimPrefix(release, "v"), ".", 3)
	if len(parts) != 3 {
		return
	}
	gitVersion, gitMajor, gitMinor = release, parts[0], parts[1]
	gitCommit, gitTreeState = "", "clean"
	if err := version.SetDynamicVersion(release); err != nil {
		fmt.Fprintf(os.Stderr, "cannot report Kubernetes %s as the version: %v\n", release, err)
	}
}

func kubernetesRelease() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == "k8s.io/kubernetes" {
			return dep.Version
		}
	}
	return ""
}
