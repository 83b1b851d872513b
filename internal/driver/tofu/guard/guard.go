// Package guard reads the files of OpenTofu and Terraform modules, and tells
// what in them a policy does not allow: programs that would run on Plumb's
// machine, providers and backends that are not on the list, modules from that
// machine's own files. It is asked before anything runs, and once more for
// modules that init has downloaded.
//
// It knows files and a policy. It does not evaluate expressions, does not know
// what providers do, and does not run anything: a provider that is allowed may
// do what its process may do (the providers local, http and kubernetes, and
// functions such as file(), read what this user can read), so that what the
// process may do has to be bounded elsewhere.
package guard

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/plumb-dev/plumb/internal/hclfile"
)

// Rule is what a Refusal is about.
type Rule string

// The closed set of rules.
const (
	Syntax     Rule = "Syntax"     // the file can't be read, so nobody knows what is in it
	TooLarge   Rule = "TooLarge"   // a file, or a module, is larger than anything reasonable
	LocalExec  Rule = "LocalExec"  // runs a program on Plumb's machine
	RemoteExec Rule = "RemoteExec" // runs a program on, or copies files to, another machine
	External   Rule = "External"   // the provider external, which runs programs
	Provider   Rule = "Provider"   // a provider that is not on the list
	Backend    Rule = "Backend"    // a backend that is not on the list, or writes outside the module
	Source     Rule = "Source"     // a module or provider from files that are not the repository's
)

// Policy is what is allowed. The zero value allows any provider and backend,
// and runs no programs.
type Policy struct {
	LocalExec, RemoteExec, External bool
	// Providers and Backends are lists of what is allowed; nil allows all, empty
	// none. A provider is named by its source ("registry.opentofu.org/hashicorp/*",
	// "hashicorp/random", "*"); without a host it is DefaultHost's.
	Providers, Backends []string
	// DefaultHost is "registry.opentofu.org" where it is empty.
	DefaultHost string
	// Who does not allow it ("the project default"), and Hints of how to allow
	// it, by rule.
	Who   string
	Hints map[Rule]string
}

// Refusal is one thing that is not allowed.
type Refusal struct {
	Rule Rule   `json:"rule"`
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	// Column is told of syntax errors.
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

func (r Refusal) String() string {
	place := r.File
	if r.Line > 0 {
		place = fmt.Sprintf("%s:%d", place, r.Line)
		if r.Column > 0 {
			place = fmt.Sprintf("%s:%d", place, r.Column)
		}
	}
	return place + ": " + r.Message
}

// Error is all that was refused.
type Error struct{ Refusals []Refusal }

func (e *Error) Error() string {
	if len(e.Refusals) == 0 {
		return "refused"
	}
	text := e.Refusals[0].String()
	if n := len(e.Refusals) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// Err is an *Error of refusals, or nil where there are none.
func Err(refusals []Refusal) error {
	if len(refusals) == 0 {
		return nil
	}
	return &Error{Refusals: refusals}
}

// Bounds of what is read. Repositories are hostile.
const (
	maxTotal    = 64 << 20
	maxFiles    = 10000
	maxModules  = 2000
	maxRefusals = 200
)

// Check tells what a policy refuses of the module in a directory of a file
// system, and of the modules that it calls by relative paths. An error means
// that the files could not be read.
func Check(fsys fs.FS, root string, p Policy) ([]Refusal, error) {
	c := &checker{policy: p}
	root = path.Clean(root)
	if !fs.ValidPath(root) {
		return nil, fmt.Errorf("%q is not a path within the repository", root)
	}
	if err := c.plugins(fsys, root); err != nil {
		return nil, err
	}
	seen := map[string]bool{root: true}
	for queue := []string{root}; len(queue) > 0 && !c.full(); queue = queue[1:] {
		calls, err := c.dir(fsys, queue[0], queue[0])
		if err != nil {
			return nil, err
		}
		for _, call := range calls {
			dir := path.Join(queue[0], call.source)
			if !fs.ValidPath(dir) {
				c.refuse(Source, call.at, "the module %q is outside the repository", call.source)
				continue
			}
			if !seen[dir] && len(seen) < maxModules {
				seen[dir] = true
				queue = append(queue, dir)
			}
		}
	}
	return c.sorted(), nil
}

// CheckInstalled tells what a policy refuses of all modules that init has found
// or downloaded: data is its TF_DATA_DIR, module the directory that it ran in.
// Unlike Check it sees modules that are called by computed paths.
func CheckInstalled(data, module string, p Policy) ([]Refusal, error) {
	c := &checker{policy: p}
	b, err := os.ReadFile(filepath.Join(data, "modules", "modules.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what modules there are: %w", err)
	}
	var manifest struct {
		Modules []struct{ Key, Source, Dir string }
	}
	if err := json.Unmarshal(b, &manifest); err != nil {
		return nil, fmt.Errorf("read what modules there are: %w", err)
	}
	seen := map[string]bool{}
	for _, m := range manifest.Modules {
		dir := m.Dir
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(module, dir)
		}
		if m.Key == "" || seen[dir] || c.full() {
			continue
		}
		seen[dir] = true
		if _, err := c.dir(os.DirFS(dir), ".", "module."+strings.ReplaceAll(m.Key, ".", ".module.")); err != nil {
			return nil, err
		}
	}
	return c.sorted(), nil
}

// checker gathers refusals.
type checker struct {
	policy   Policy
	files    int
	total    int64
	refusals []Refusal
}

func (c *checker) full() bool {
	return c.files > maxFiles || c.total > maxTotal || len(c.refusals) >= maxRefusals
}

func (c *checker) sorted() []Refusal {
	slices.SortFunc(c.refusals, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(c.refusals)
}

// refuse notes what is not allowed at a place.
func (c *checker) refuse(rule Rule, at hcl.Range, format string, args ...any) {
	c.refusals = append(c.refusals, Refusal{Rule: rule, File: at.Filename, Line: at.Start.Line, Message: fmt.Sprintf(format, args...)})
}

// deny is refuse with who does not allow it, and how to.
func (c *checker) deny(rule Rule, at hcl.Range, format string, args ...any) {
	who := c.policy.Who
	if who == "" {
		who = "the policy"
	}
	text := fmt.Sprintf(format, args...) + ": " + who + " does not allow it"
	if hint := c.policy.Hints[rule]; hint != "" {
		text += " (allow it by " + hint + ")"
	}
	c.refusals = append(c.refusals, Refusal{Rule: rule, File: at.Filename, Line: at.Start.Line, Message: text})
}

// plugins refuses providers that the repository brings along: the programs run
// what is in that folder.
func (c *checker) plugins(fsys fs.FS, root string) error {
	dir := path.Join(root, "terraform.d", "plugins")
	_, err := fs.Stat(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for providers in the repository: %w", err)
	}
	c.refuse(Source, hcl.Range{Filename: dir}, "providers come from registries and mirrors, not from the repository, whose programs would run on Plumb's machine: remove this folder")
	return nil
}

// call is a module's call of another by a relative path.
type call struct {
	source string
	at     hcl.Range
}

// dir checks the files of one module's directory, which is shown by another
// name, and returns its calls of modules by relative paths.
func (c *checker) dir(fsys fs.FS, dir, shown string) ([]call, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the program says it better
	}
	if err != nil {
		return nil, fmt.Errorf("read the module %s: %w", shown, err)
	}
	m := &module{checker: c, required: map[string][]required{}}
	for _, entry := range entries {
		if !hclfile.Configuration(entry.Name()) || entry.IsDir() {
			continue
		}
		if c.files++; c.full() {
			c.refuse(TooLarge, hcl.Range{Filename: shown}, "the module has more than %d files, or %d MiB of them", maxFiles, maxTotal>>20)
			return nil, nil
		}
		name := path.Join(shown, entry.Name())
		src, err := c.read(fsys, path.Join(dir, entry.Name()), name)
		if err != nil {
			return nil, err
		}
		if src == nil {
			continue
		}
		file, diags := hclfile.Parse(src, name)
		c.diagnose(diags)
		if file != nil {
			m.file(file)
		}
	}
	m.providers()
	return m.calls, nil
}

// read returns a file's content, or nil if it was refused.
func (c *checker) read(fsys fs.FS, file, shown string) ([]byte, error) {
	info, err := fs.Stat(fsys, file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shown, err)
	}
	switch {
	case info.IsDir():
		return nil, nil
	case !info.Mode().IsRegular():
		c.refuse(Source, hcl.Range{Filename: shown}, "it is not a regular file")
		return nil, nil
	case info.Size() > hclfile.MaxBytes:
		c.refuse(TooLarge, hcl.Range{Filename: shown}, "the file has %d KiB, more than %d", info.Size()>>10, hclfile.MaxBytes>>10)
		return nil, nil
	}
	c.total += info.Size()
	src, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shown, err)
	}
	if src == nil {
		src = []byte{}
	}
	return src, nil
}

// diagnose refuses what can't be read.
func (c *checker) diagnose(diags hcl.Diagnostics) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError || c.full() {
			continue
		}
		at := hcl.Range{}
		if d.Subject != nil {
			at = *d.Subject
		}
		c.refusals = append(c.refusals, Refusal{Rule: Syntax, File: at.Filename, Line: at.Start.Line, Column: at.Start.Column, Message: d.Summary + ": " + d.Detail})
	}
}
