// Package components holds the programs of the embedded Kubernetes control
// plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and the
// KWOK controller. The plumb binary runs one of them when it is started with
// the hidden command "component NAME".
//
// It is the only package that imports Kubernetes itself, so that nothing else
// pays for compiling it. It does not know about data directories, ports,
// certificates or supervision: those are the concern of package localkube,
// which gives each component its whole configuration as arguments.
package components

import (
	"fmt"
	"os"
	"slices"
	"strings"
	_ "time/tzdata" // for the time zones of CronJobs

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the clients, as in the real programs
	_ "k8s.io/component-base/metrics/prometheus/version"  // metric of the version, as in the real programs
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// Names lists the components in the order in which they start.
func Names() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}
}

// Run runs the named component with its arguments until it is told to stop by
// SIGTERM, and returns the exit code.
func Run(name string, args []string) int {
	if !slices.Contains(Names(), name) {
		fmt.Fprintf(os.Stderr, "unknown component %q: it must be one of %s\n", name, strings.Join(Names(), ", "))
		return 2
	}
	stampKubernetesVersion()
	switch name {
	case "etcd":
		etcdmain.Main(append([]string{name}, args...))
		return 0
	case "kube-apiserver":
		return runCommand(apiserver.NewAPIServerCommand(), args)
	case "kube-controller-manager":
		return runCommand(controllermanager.NewControllerManagerCommand(), args)
	case "kube-scheduler":
		return runCommand(scheduler.NewSchedulerCommand(), args)
	default:
		return runKwok(args)
	}
}

func runCommand(command *cobra.Command, args []string) int {
	command.SetArgs(args)
	return cli.Run(command)
}
