package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/internal/localkube"
)

func (c commandline) newUpCommand() *cobra.Command {
	o := upOptions{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a control plane and the engine on this machine",
		Long: `Starts a Kubernetes control plane and Plumb's engine on this machine, and stays
until Ctrl-C. etcd, the API server, the controllers and the scheduler are the
real ones; the nodes are simulated by KWOK: pods are scheduled and become ready,
but no container runs.

Everything is kept in the data directory and is there again the next time.`,
		Example: `  plumb up --demo
  plumb up --clusters 3`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.dataDir = c.connection.dataDir
			return c.up(cmd.Context(), o)
		},
	}
	c.connection.bindDataDir(cmd.Flags())
	cmd.Flags().BoolVar(&o.demo, "demo", false, "add examples: repositories and Applications to play with")
	cmd.Flags().IntVar(&o.clusters, "clusters", 0, "how many clusters to start, the control plane's own included; the others are registered as destinations (default: as many as last time, at first 1)")
	cmd.Flags().IntVar(&o.nodes, "nodes", 2, "how many simulated nodes each cluster has")
	cmd.Flags().StringArrayVar(&o.serverFlags, "server-flag", nil, "a further `FLAG` for the engine, as plumb server takes it; may be repeated")
	return cmd
}

func (c commandline) newDownCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:               "down",
		Short:             "Stop what plumb up started",
		Long:              "Stops the control plane and the engine that plumb up started. Everything they\nkeep stays in the data directory for the next plumb up.",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := withTimeout(cmd.Context(), timeout)
			defer cancel()
			err := localkube.Down(ctx, c.connection.dataDir)
			if errors.Is(err, localkube.ErrNotRunning) {
				fmt.Fprintf(c.streams.Err, "nothing runs in %s\n", c.connection.dataDir)
				return nil
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(c.streams.Out, "stopped")
			return nil
		},
	}
	c.connection.bindDataDir(cmd.Flags())
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait; 0 is without end")
	return cmd
}

func (c commandline) newResetCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "reset",
		Short:             "Remove all that plumb up keeps",
		Long:              "Removes the data directory of plumb up: the objects of its clusters, their\ncertificates and logs, and the repositories of the demo. It asks first.",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			dir := c.connection.dataDir
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				fmt.Fprintf(c.streams.Err, "there is nothing in %s\n", dir)
				return nil
			}
			if held, err := localkube.Holder(dir); err != nil {
				return err
			} else if held != nil {
				return held
			}
			if !yes {
				sure, err := c.ask(fmt.Sprintf("Remove everything in %s: the clusters with all their objects, and the repositories of the demo?", dir))
				if err != nil {
					return err
				}
				if !sure {
					return errors.New("nothing was removed")
				}
			}
			if err := localkube.Reset(dir); err != nil {
				return err
			}
			fmt.Fprintf(c.streams.Out, "%s is empty\n", dir)
			return nil
		},
	}
	c.connection.bindDataDir(cmd.Flags())
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// up starts everything and stays until ctx ends.
func (c commandline) up(ctx context.Context, o upOptions) error {
	began := time.Now()
	say := func(message string) { fmt.Fprintln(c.streams.Err, "  "+message) }
	fmt.Fprintf(c.streams.Err, "Starting Plumb in %s\n", o.dataDir)
	s, err := c.startLocal(ctx, o, say)
	if err != nil {
		return err
	}
	defer s.stop()
	c.welcome(s, o, time.Since(began))
	select {
	case <-ctx.Done():
		fmt.Fprintln(c.streams.Err, "\nStopping. (Ctrl-C again stops without waiting.)")
	case <-s.main.Done():
		return errors.New("the control plane has stopped by itself: its logs are in " + filepath.Join(o.dataDir, "logs"))
	}
	s.stop()
	fmt.Fprintln(c.streams.Err, "Stopped. `plumb up` goes on from here.")
	return nil
}

// welcome says what runs and how to use it.
func (c commandline) welcome(s *local, o upOptions, took time.Duration) {
	out, p := c.streams.Out, c.palette()
	fmt.Fprintf(out, "\n%s after %s: a Kubernetes control plane and Plumb's engine.\n", p.bold("Ready"), took.Round(100*time.Millisecond))
	fmt.Fprintln(out, "The nodes are simulated by KWOK: pods are scheduled and become ready, no container runs.")
	for i, cluster := range s.further {
		fmt.Fprintf(out, "Destination %q: kubectl --kubeconfig %s\n", furtherName(i), cluster.Kubeconfig())
	}
	fmt.Fprintf(out, "\nIn another terminal:\n\n  %s\n  %s\n", p.cyan("export KUBECONFIG="+quote(s.main.Kubeconfig())), p.cyan("plumb get"))
	if o.demo {
		content := c.demo(o)
		fmt.Fprintf(out, "\nThe demo's repositories are in %s. Try:\n\n", content.Dir)
		fmt.Fprintf(out, "  kubectl -n shop delete deployment web      # comes back\n")
		fmt.Fprintf(out, "  kubectl -n shop scale deployment web --replicas 7   # goes back\n")
		fmt.Fprintf(out, "  cd %s && sed -i 's/replicas: .*/replicas: 3/' apps/plain/deployment.yaml && git commit -am 'web: three replicas'\n", quote(content.Repository("shop")))
		fmt.Fprintf(out, "  plumb plans      # payments waits for approval: plumb diff payments, then plumb approve payments\n")
		if content.Infrastructure {
			fmt.Fprintf(out, "  rm %s   # comes back\n", quote(filepath.Join(content.Files(), "welcome.txt")))
			fmt.Fprintf(out, "  cd %s && sed -i 's/default     = .*/default     = 3/' variables.tf && git commit -am 'a longer name'; kubectl -n storefront get configmap -w -o yaml\n", quote(content.Repository("infra")))
		}
	}
	fmt.Fprintf(out, "\nCtrl-C stops everything; it is all there again after the next `plumb up`.\n")
}

// quote makes a path one word for a shell.
func quote(path string) string {
	for _, r := range path {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case r == '/', r == '.', r == '_', r == '-', r == '+', r == ',', r == '@', r == ':':
		default:
			return shellQuote(path)
		}
	}
	return path
}
