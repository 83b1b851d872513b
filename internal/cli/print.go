package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/engine"
)

// output is the value of -o.
type output struct {
	format  string
	allowed []string
}

// bind adds -o with the formats that a command has.
func (o *output) bind(cmd *cobra.Command, formats ...string) {
	o.allowed = formats
	cmd.Flags().VarP(o, "output", "o", "output format: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

var _ pflag.Value = (*output)(nil)

func (o *output) String() string { return o.format }
func (o *output) Type() string   { return "FORMAT" }

func (o *output) Set(format string) error {
	if !slices.Contains(o.allowed, format) {
		return fmt.Errorf("there is no such format here: use %s", strings.Join(o.allowed, ", "))
	}
	o.format = format
	return nil
}

// machine tells whether the output is for programs.
func (o *output) machine() bool { return o.format == "json" || o.format == "yaml" }

// print writes a value as JSON or YAML.
func (o *output) print(out io.Writer, value any) error {
	b, err := json.MarshalIndent(value, "", "    ")
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	b = append(b, '\n')
	if o.format == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
	}
	_, err = out.Write(b)
	return err
}

// age is how long ago something was, in kubectl's way.
func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// shortRevision is a revision as people know it: seven letters of a commit id,
// anything else as it is.
func shortRevision(revision string) string {
	if len(revision) >= 40 && !strings.ContainsFunc(revision, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdef", r)
	}) {
		return revision[:7]
	}
	return revision
}

func shortRevisions(one string, several []string) string {
	if len(several) == 0 {
		return shortRevision(one)
	}
	short := make([]string, len(several))
	for i, r := range several {
		short[i] = shortRevision(r)
	}
	return strings.Join(short, ",")
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// applicationRef names an Application in JSON.
type applicationRef struct {
	Group     string `json:"group"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func refOf(key engine.Key) applicationRef {
	return applicationRef{Group: key.Group, Namespace: key.Namespace, Name: key.Name}
}
