package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/server"
)

// moduleState is the state of a module, as the commands here work on it.
type moduleState interface {
	List(ctx context.Context) ([]string, error)
	Show(ctx context.Context, address string) (string, error)
	Pull(ctx context.Context) ([]byte, error)
	stateChanges
}

// stateChanges change a state.
type stateChanges interface {
	Push(ctx context.Context, file string) error
	Remove(ctx context.Context, addresses ...string) error
	Move(ctx context.Context, from, to string) error
	Import(ctx context.Context, address, id string) error
	Unlock(ctx context.Context, id string) error
}

const stateLong = `Works on the state of an Application whose source is an OpenTofu or Terraform
module, by the names of OpenTofu's own commands. It is done on this machine, with
tofu (or terraform) and with your own rights: the state is in a Secret beside the
Application, unless the module has a backend of its own.

What changes a state holds its lock meanwhile, and has the Application looked at
again afterwards.`

func (c commandline) newStateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Look at and mend the state of a module",
		Long:  stateLong,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(
		c.stateCommand("list NAME", "List what the state of a module holds", 1, func(ctx context.Context, s moduleState, _ []string) error {
			addresses, err := s.List(ctx)
			for _, a := range addresses {
				fmt.Fprintln(c.streams.Out, printable(a))
			}
			return err
		}),
		c.stateCommand("show NAME ADDRESS", "Show a resource as the state holds it, without secrets", 2, func(ctx context.Context, s moduleState, args []string) error {
			text, err := s.Show(ctx, args[0])
			if err == nil {
				fmt.Fprintln(c.streams.Out, text)
			}
			return err
		}),
		c.stateCommand("pull NAME", "Print the state as it is: it holds secrets", 1, func(ctx context.Context, s moduleState, _ []string) error {
			text, err := s.Pull(ctx)
			if err == nil {
				_, err = c.streams.Out.Write(text)
			}
			return err
		}),
		c.changing("push NAME FILE", "Replace the state by a newer one, or put the first one there", 2, func(ctx context.Context, s moduleState, args []string) error {
			file, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return s.Push(ctx, file)
		}),
		c.changing("rm NAME ADDRESS…", "Let resources out of the state without destroying them", -2, func(ctx context.Context, s moduleState, args []string) error {
			return s.Remove(ctx, args...)
		}),
		c.changing("mv NAME FROM TO", "Give a resource another address", 3, func(ctx context.Context, s moduleState, args []string) error {
			return s.Move(ctx, args[0], args[1])
		}),
		c.changing("import NAME ADDRESS ID", "Take something that exists into the state", 3, func(ctx context.Context, s moduleState, args []string) error {
			return s.Import(ctx, args[0], args[1])
		}),
		c.newUnlockCommand(),
	)
	return cmd
}

// newUnlockCommand takes a lock away, which only a person can know to be right.
func (c commandline) newUnlockCommand() *cobra.Command {
	var yes bool
	cmd := c.changing("unlock NAME [ID]", "Take the lock of the state from whoever holds it", -1, func(ctx context.Context, s moduleState, args []string) error {
		if len(args) > 1 {
			return errors.New("name an Application and at most one lock")
		}
		if !yes {
			sure, err := c.ask("Take the lock away? If whoever holds it still works, the state may be damaged.")
			if err != nil || !sure {
				return err
			}
		}
		id := ""
		if len(args) > 0 {
			id = args[0]
		}
		return s.Unlock(ctx, id)
	})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// stateCommand is a command on a state. n is how many arguments it takes, a
// negative one how many at least.
func (c commandline) stateCommand(use, short string, n int, do func(context.Context, moduleState, []string) error) *cobra.Command {
	return c.onState(use, short, n, false, do)
}

func (c commandline) changing(use, short string, n int, do func(context.Context, moduleState, []string) error) *cobra.Command {
	return c.onState(use, short, n, true, do)
}

func (c commandline) onState(use, short string, n int, changes bool, do func(context.Context, moduleState, []string) error) *cobra.Command {
	var s selection
	count := cobra.ExactArgs(n)
	if n < 0 {
		count = cobra.MinimumNArgs(-n)
	}
	cmd := &cobra.Command{
		Use: use, Short: short, ValidArgsFunction: c.completeName,
		Args: func(cmd *cobra.Command, args []string) error {
			if count(cmd, args) != nil {
				return fmt.Errorf("usage: plumb state %s", use)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			a, err := c.connection.find(ctx, args[0], s)
			if err != nil {
				return err
			}
			state, end, err := c.openState(ctx, &a.Application, a.key)
			if err != nil {
				return err
			}
			defer end()
			if err := do(ctx, state, args[1:]); err != nil {
				return fmt.Errorf("%s: %w", a.key, c.connection.explain(err))
			}
			if !changes {
				return nil
			}
			return c.connection.requestRefresh(ctx, a.key, true)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	return cmd
}

func (c commandline) openState(ctx context.Context, app *v1alpha1.Application, key engine.Key) (moduleState, func(), error) {
	dir, err := serverDataDir()
	if err != nil {
		return nil, nil, err
	}
	open, end, err := server.NewStates(ctx, c.connection.config, dir, c.tools(), nil)
	if err != nil {
		return nil, nil, c.connection.explain(err)
	}
	s, err := open(ctx, app, key)
	if err != nil {
		end()
		return nil, nil, c.connection.explain(err)
	}
	return s, end, nil
}
