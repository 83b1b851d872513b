package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// isTerminal tells whether a stream is a terminal, read from or written to.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// palette colours words where the output is a terminal. A colour only repeats
// what the words say.
type palette struct{ on bool }

func (c commandline) palette() palette {
	return palette{on: isTerminal(c.streams.Out) && !c.env.NoColor}
}

func (p palette) paint(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) red(s string) string    { return p.paint("31", s) }
func (p palette) green(s string) string  { return p.paint("32", s) }
func (p palette) yellow(s string) string { return p.paint("33", s) }
func (p palette) cyan(s string) string   { return p.paint("36", s) }
func (p palette) bold(s string) string   { return p.paint("1", s) }
func (p palette) dim(s string) string    { return p.paint("2", s) }

// status colours one of the words for sync, health and operations.
func (p palette) status(word string) string {
	switch word {
	case "Synced", "Healthy", "Succeeded", "Pruned", "Approved", "Applied":
		return p.green(word)
	case "OutOfSync", "Progressing", "Running", "Suspended", "Terminating", "PruneSkipped", "Pending", "Applying", "Expired":
		return p.yellow(word)
	case "Degraded", "Missing", "Failed", "Error", "SyncFailed", "Rejected":
		return p.red(word)
	}
	return p.dim(word)
}

// printable replaces what could move the cursor, hide text or fake a line in
// a terminal: texts in Applications come from whoever may write there.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < 0x20, r == 0x7f, r >= 0x80 && r < 0xa0,
			r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '?'
		}
		return r
	}, s)
}

// cell is a text in a table with the way it is painted.
type cell struct {
	text  string
	paint func(string) string
}

func plain(s string) cell { return cell{text: s} }

// table aligns columns. Widths only grow, so rows that are added while watching
// stay in line as far as may be.
type table struct {
	out    io.Writer
	indent string
	header []string
	widths []int
	rows   [][]cell
	began  bool
}

func newTable(out io.Writer, header ...string) *table {
	return &table{out: out, header: header, widths: make([]int, len(header))}
}

func (t *table) add(cells ...cell) {
	for i := range cells {
		cells[i].text = printable(cells[i].text)
	}
	t.rows = append(t.rows, cells)
}

// flush prints the rows that were added since the last time.
func (t *table) flush() {
	var lines [][]cell
	if !t.began && t.header != nil {
		lines = append(lines, make([]cell, len(t.header)))
		for i, h := range t.header {
			lines[0][i] = plain(h)
		}
	}
	t.began = true
	lines = append(lines, t.rows...)
	t.rows = nil
	for _, line := range lines {
		for i, c := range line {
			for len(t.widths) <= i {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, line := range lines {
		fmt.Fprintln(t.out, t.indent+t.line(line))
	}
}

func (t *table) line(cells []cell) string {
	var b strings.Builder
	for i, c := range cells {
		text := c.text
		if c.paint != nil {
			text = c.paint(text)
		}
		b.WriteString(text)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(c.text)+3))
		}
	}
	return strings.TrimRight(b.String(), " ")
}
