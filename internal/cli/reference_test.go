package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the reference of the commands anew")

const referenceTop = `# The commands

What ` + "`plumb COMMAND --help`" + ` prints. This page is written by ` + "`make generate`" + `, and a test holds it to the commands.

Left out below are the flags that most commands share:

` + "```text" + `
%s` + "```" + `

A kubeconfig is looked for in this order: --kubeconfig, --data-dir, KUBECONFIG, the data directory of ` + "`plumb up`" + `, ~/.kube/config.

Commands that read print JSON with ` + "`-o json`" + `: see [the JSON of the commands](cli-json.md).
`

// shared are the flags that are explained once.
var shared = []string{"help", "kubeconfig", "context", "data-dir"}

// TestReference holds the reference in the documentation to the commands.
func TestReference(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "reference", "commands.md")
	got := reference(t)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the commands say: `make generate` writes it anew (-page +commands)\n%s", file, diff)
	}
}

func reference(t *testing.T) []byte {
	t.Helper()
	root := newRootCommand(Streams{}, environment{DataDir: "~/.local/share/plumb"})
	var out bytes.Buffer
	get, _, err := root.Find([]string{"get"})
	if err != nil {
		t.Fatal(err)
	}
	get.InitDefaultHelpFlag()
	common := pflag.NewFlagSet("shared", pflag.ContinueOnError)
	for _, name := range shared {
		f := *get.Flags().Lookup(name)
		f.Usage = strings.Replace(f.Usage, "help for get", "help for the command", 1)
		common.AddFlag(&f)
	}
	fmt.Fprintf(&out, referenceTop, common.FlagUsages())
	for _, group := range root.Groups() {
		fmt.Fprintf(&out, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && !slices.Contains([]string{"help", "completion"}, c.Name()) {
				refer(&out, c, common)
			}
		}
	}
	return out.Bytes()
}

// refer writes the help of a command, and of those below it, without the flags
// that mean what they mean for all.
func refer(out *bytes.Buffer, c *cobra.Command, common *pflag.FlagSet) {
	if c.Hidden {
		return
	}
	c.InitDefaultHelpFlag()
	for _, flags := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			if other := common.Lookup(f.Name); other != nil && (f.Name == "help" || f.Usage == other.Usage) {
				f.Hidden = true
			}
		})
	}
	var help bytes.Buffer
	c.SetOut(&help)
	_ = c.Help()
	lines := strings.Split(strings.TrimSpace(help.String()), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	fmt.Fprintf(out, "\n### %s\n\n```text\n%s\n```\n", c.CommandPath(), strings.Join(lines, "\n"))
	for _, sub := range c.Commands() {
		refer(out, sub, common)
	}
}
