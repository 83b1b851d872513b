// Command plumb keeps infrastructure and applications true to Git.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/plumb-dev/plumb/internal/localkube"
	"github.com/plumb-dev/plumb/internal/localkube/components"
)

func main() {
	// The embedded control plane: the binary runs itself once for each
	// component, before any other command line is looked at.
	if len(os.Args) > 2 && os.Args[1] == "component" {
		os.Exit(components.Run(os.Args[2], os.Args[3:]))
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plumb:", err)
		os.Exit(1)
	}
}

// run is a stand-in until the command line is there.
func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: plumb up|down|reset [--data-dir DIR]")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("plumb "+args[0], flag.ContinueOnError)
	dataDir := flags.String("data-dir", filepath.Join(home, ".local", "share", "plumb"), "where the state is kept")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "up":
		return up(ctx, *dataDir)
	case "down":
		return localkube.Down(ctx, *dataDir)
	case "reset":
		fmt.Printf("Remove the cluster in %s with everything in it? [y/N] ", *dataDir)
		if answer, _ := bufio.NewReader(os.Stdin).ReadString('\n'); strings.TrimSpace(answer) != "y" {
			return fmt.Errorf("nothing was removed")
		}
		return localkube.Reset(*dataDir)
	default:
		return fmt.Errorf("unknown command %q", args[0])
	}
}

func up(ctx context.Context, dataDir string) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	began := time.Now()
	cluster, err := localkube.Start(ctx, localkube.Options{
		Binary:   binary,
		DataDir:  dataDir,
		Progress: func(message string) { fmt.Fprintln(os.Stderr, message) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "ready after %s\n", time.Since(began).Round(10*time.Millisecond))
	fmt.Printf("export KUBECONFIG=%s\n", cluster.Kubeconfig())
	<-ctx.Done()
	<-cluster.Done()
	return nil
}
