// Package cli is plumb's command line: it parses arguments, asks the control
// plane, and prints for people or as JSON. It is a client of the Kubernetes API
// like any other: it knows how an Application is shown, and nothing of how one
// is held true to Git. What it previews, it previews with the engine's own
// parts.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs one command line, without the program's name, and returns the exit
// code: 0 for success, 1 for an error, and what a command documents otherwise.
func Main(args []string, streams Streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	return run(ctx, args, streams, readEnvironment())
}

func run(ctx context.Context, args []string, streams Streams, env environment) int {
	root := newRootCommand(streams, env)
	root.SetArgs(translate(args))
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := 1
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	if message := describeError(err); message != "" {
		fmt.Fprintln(streams.Err, "error: "+message)
	}
	return code
}

const rootLong = `Plumb keeps infrastructure and applications true to Git.

An Application names what is declared in Git and where it is to be true. Plumb
applies it, watches it, shows what differs line by line, and puts it right.

  plumb up --demo      start everything on this machine, with examples
  plumb get            the Applications and how they stand
  plumb diff NAME      what differs between Git and what runs

Applications are Kubernetes objects, so kubectl works on them as well.`

// The groups under which the help lists commands.
const (
	groupRun    = "run"
	groupLook   = "look"
	groupChange = "change"
	groupCheck  = "check"
)

func newRootCommand(streams Streams, env environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "plumb",
		Short:         "Keeps infrastructure and applications true to Git",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetFlagErrorFunc(explainFlagError)
	root.SetHelpCommandGroupID(groupCheck)
	root.SetCompletionCommandGroupID(groupCheck)
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupChange, Title: "Change:"},
		&cobra.Group{ID: groupCheck, Title: "Check and learn:"},
	)
	c := commandline{streams: streams, env: env, connection: &connection{env: env}}
	addGroup(root, groupRun, c.newUpCommand(), c.newDownCommand(), c.newResetCommand(), newServerCommand(streams, env))
	addGroup(root, groupLook,
		c.newGetCommand(), c.newDescribeCommand(), c.newDiffCommand(), c.newPlanCommand(), c.newPlansCommand(), c.newPreviewCommand(),
		c.newTreeCommand(), c.newHistoryCommand(), c.newDriftCommand(), c.newLogsCommand(), c.newWindowsCommand(),
		c.newAuditCommand(), c.newReportCommand())
	addGroup(root, groupChange,
		c.newSyncCommand(), c.newApproveCommand(), c.newRejectCommand(), c.newRefreshCommand(), c.newStateCommand(), c.newWaitCommand(), c.newRollbackCommand(), c.newAdoptCommand(),
		c.newPinCommand(), c.newUnpinCommand(), c.newFreezeCommand(), c.newThawCommand(), c.newDeleteCommand(), c.newDestroyCommand())
	addGroup(root, groupCheck,
		c.newRenderCommand(), newHealthCommand(streams), newValidateCommand(streams), c.newNotifyCommand(), c.newVersionCommand())
	addGroup(root, "", c.newDemoCommand())
	addGroup(root, "", explanations()...)
	return root
}

// commandline is what every command here is made with.
type commandline struct {
	streams    Streams
	env        environment
	connection *connection
}

func addGroup(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// ask puts a yes-or-no question. It is answered "no" where nobody can answer.
func (c commandline) ask(question string) (bool, error) {
	if !isTerminal(c.streams.In) {
		return false, errors.New("this needs a confirmation, and there is no terminal to ask on: repeat with --yes if you are sure")
	}
	fmt.Fprintf(c.streams.Err, "%s [y/N] ", question)
	answer, err := readLine(c.streams.In)
	if err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// readLine reads up to the end of a line and no further.
func readLine(r io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < 1024 {
		n, err := r.Read(b)
		if n > 0 {
			if b[0] == '\n' {
				break
			}
			line = append(line, b[0])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	return string(line), nil
}
