package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// exitError is an error with an exit code of its own. An empty message prints
// nothing: the output has said it all.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }
func (e exitError) ExitCode() int { return e.code }

// describeError turns an error into what a person reads after "error: ".
func describeError(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return strings.TrimSpace(err.Error())
}

// explain adds to an error of a request to the control plane what it means and
// what to do next.
func (k *connection) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var network net.Error
	var dial *net.OpError
	var address *url.Error
	switch {
	case errors.As(err, &dial), errors.As(err, &address), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("cannot reach the control plane at %s: is `plumb up` running? (%s; using %s)", k.host(), rootCause(err).Error(), k.origin())
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the control plane at %s does not accept the credentials of %s: %w", k.host(), k.origin(), err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w (as the user of %s)", err, k.origin())
	}
	return err
}

// rootCause is the innermost error, which says most in the fewest words.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// unknownCommand answers a command that does not exist with the likely one.
func unknownCommand(cmd *cobra.Command, word string) error {
	var known []string
	for _, c := range cmd.Commands() {
		if c.Hidden {
			continue
		}
		known = append(known, c.Name())
		known = append(known, c.Aliases...)
	}
	message := fmt.Sprintf("unknown command %q", word)
	if likely := similar(word, known); likely != "" {
		return fmt.Errorf("%s, did you mean %q?", message, likely)
	}
	return fmt.Errorf("%s: `plumb help` lists them", message)
}

// explainFlagError answers a flag that does not exist with the likely one.
func explainFlagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return fmt.Errorf("%w: see `%s --help`", err, cmd.CommandPath())
	}
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("unknown flag -%s: see `%s --help`", name, cmd.CommandPath())
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	if likely := similar(name, known); likely != "" {
		return fmt.Errorf("unknown flag --%s, did you mean --%s?", name, likely)
	}
	return fmt.Errorf("unknown flag --%s: see `%s --help`", name, cmd.CommandPath())
}

// similar gives the known word nearest to what was typed, or nothing where none
// is near.
func similar(typed string, known []string) string {
	type candidate struct {
		word     string
		distance int
	}
	var near []candidate
	for _, word := range known {
		d := distance(strings.ToLower(typed), strings.ToLower(word))
		limit := max(1, min(len(typed), len(word))/2)
		if len(typed) >= 3 && strings.HasPrefix(word, strings.ToLower(typed)) {
			d = 1
		}
		if d <= min(limit, 3) {
			near = append(near, candidate{word, d})
		}
	}
	if len(near) == 0 {
		return ""
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.word, b.word))
	})
	return near[0].word
}

// distance counts the letters to add, remove, change or swap with their
// neighbour to get from one word to the other.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// given is the check of how many arguments a command takes; what says what is wrong.
func given(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usageError(cmd, what)
		}
		return nil
	}
}

// usageError says how a command is called.
func usageError(cmd *cobra.Command, what string) error {
	return fmt.Errorf("%s: %s", what, cmd.UseLine())
}
