package preview

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/plumb-dev/plumb/internal/plan"
)

// Style of a comment.
type Style struct {
	// Bytes is the longest that it may be.
	Bytes int
	// Plain is set where HTML is shown as it is written.
	Plain bool
	// Title says what is previewed. Marker is a line that nobody sees.
	Title, Marker string
	// WithoutDiffs leaves the lines out, for repositories that more people may read
	// than what runs.
	WithoutDiffs bool
	// Notes are said below the table.
	Notes []string
	// Again says how to have it done again.
	Again string
}

const (
	// mostRows is how many Applications a table lists.
	mostRows = 150
	// mostName is the longest name, in characters, that is shown of anything.
	mostName = 160
	// footBytes is kept free for what has to be said below.
	footBytes = 700
	// leastRoom is the least that an Application's details are worth.
	leastRoom = 200
)

// Markdown writes a report as a comment. Whatever a repository, a chart or a
// destination has put into it is shown as code, where it does nothing: no markup,
// no mention of a person, no command to the host.
func Markdown(r Report, s Style) string {
	var b strings.Builder
	b.WriteString(s.marker())
	fmt.Fprintf(&b, "### %s\n\n", s.Title)
	if len(r.Applications) == 0 {
		fmt.Fprintf(&b, "No Application changes: for what follows this branch (%s) it means the same.\n", applications(r.Followers))
	} else {
		fmt.Fprintf(&b, "%s\n\n", summary(r))
		table(&b, r)
	}
	for _, note := range s.Notes {
		fmt.Fprintf(&b, "\n> %s\n", note)
	}
	left := s.Bytes - b.Len() - footBytes
	cut := 0
	for _, a := range r.Applications {
		section := details(a, s, left)
		if section == "" {
			cut++
			continue
		}
		left -= len(section)
		b.WriteString(section)
	}
	if cut > 0 {
		fmt.Fprintf(&b, "\nThere is no room here for the details of %s: `plumb preview` shows them.\n", applications(cut))
	}
	fmt.Fprintf(&b, "\n<sub>%s</sub>\n", foot(r, s))
	text := b.String()
	if s.Plain {
		text = strings.NewReplacer("<sub>", "", "</sub>", "").Replace(text)
	}
	return bound(text, s.Bytes)
}

func (s Style) marker() string {
	switch {
	case s.Marker == "":
		return ""
	case s.Plain:
		return "[//]: # (" + s.Marker + ")\n\n"
	}
	return "<!-- " + s.Marker + " -->\n"
}

// Notice is a comment that is no report.
func Notice(s Style, paragraphs ...string) string {
	return bound(s.marker()+"### "+s.Title+"\n\n"+strings.Join(paragraphs, "\n\n")+"\n", s.Bytes)
}

func bound(text string, bytes int) string {
	if bytes <= 0 || len(text) <= bytes {
		return text
	}
	return strings.ToValidUTF8(text[:bytes-4], "") + "…\n"
}

func follow(n int) string {
	if n == 1 {
		return "1 Application follows this branch"
	}
	return fmt.Sprintf("%d Applications follow this branch", n)
}

func applications(n int) string {
	if n == 1 {
		return "1 Application"
	}
	return fmt.Sprintf("%d Applications", n)
}

func summary(r Report) string {
	verb := "change"
	if len(r.Applications) == 1 {
		verb = "changes"
	}
	text := fmt.Sprintf("**%s %s**: %s.", applications(len(r.Applications)), verb, countsText(r.Total()))
	approvals, pulls, irreversible := 0, 0, 0
	for _, a := range r.Applications {
		irreversible += a.Irreversible
		switch {
		case a.Error != "" || a.Skipped != "":
		case a.Then == ThenApproval:
			approvals++
		case a.Then == ThenPull:
			pulls++
		}
	}
	if approvals > 0 {
		text += fmt.Sprintf(" %s will need approval.", applications(approvals))
	}
	if pulls > 0 {
		text += fmt.Sprintf(" %s will need the approvals of this pull request.", applications(pulls))
	}
	if irreversible > 0 {
		text += fmt.Sprintf(" **%d of the changes cannot be undone by a revert.**", irreversible)
	}
	if n := r.Failed(); n > 0 {
		text += fmt.Sprintf(" **%s cannot be applied as declared.**", applications(n))
	}
	return text
}

func countsText(c plan.Counts) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{c.Create, "to create"}, {c.Update, "to update"}, {c.Replace, "to replace"}, {c.Delete, "to delete"}, {c.Forget, "to forget"}, {c.Hooks, "hooks to run"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return "nothing to do where they run"
	}
	return strings.Join(parts, ", ")
}

func table(b *strings.Builder, r Report) {
	b.WriteString("| Application | create | update | replace | delete | risk | when merged |\n| --- | ---: | ---: | ---: | ---: | --- | --- |\n")
	for i, a := range r.Applications {
		if i == mostRows {
			fmt.Fprintf(b, "| and %d more | | | | | | |\n", len(r.Applications)-i)
			return
		}
		n := func(v int) string {
			if v == 0 {
				return ""
			}
			return strconv.Itoa(v)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", code(a.Application),
			n(a.Counts.Create), n(a.Counts.Update), n(a.Counts.Replace), n(a.Counts.Delete), riskText(a), thenText(a))
	}
}

func riskText(a Result) string {
	switch {
	case a.Irreversible > 0:
		return fmt.Sprintf("**destroys %d, %d for good**", a.Destroys, a.Irreversible)
	case a.Destroys > 0:
		return fmt.Sprintf("destroys %d", a.Destroys)
	}
	return ""
}

func thenText(a Result) string {
	switch {
	case a.Error != "":
		return "**error**, see below"
	case a.Skipped != "":
		return "not planned"
	case len(a.Remarks) > 0:
		return "**cannot be applied whole**"
	case a.Then == ThenApproval && a.Approvals > 1:
		return fmt.Sprintf("needs %d approvals", a.Approvals)
	case a.Then == ThenApproval:
		return "needs approval"
	case a.Then == ThenPull && a.Approvals > 1:
		return fmt.Sprintf("needs %d approvals of this pull request, or of the plan", a.Approvals)
	case a.Then == ThenPull:
		return "needs an approval of this pull request, or of the plan"
	case a.Then == ThenByHand:
		return "waits for a sync by hand"
	}
	return "applied"
}

// details are an Application's lines, as many as there is room for; empty if there
// is none.
func details(a Result, s Style, room int) string {
	if room < 2*leastRoom {
		return ""
	}
	var body strings.Builder
	text := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&body, "\n%s\n\n%s", title, fence("text", indented(lines)))
		}
	}
	if a.Error != "" {
		text("It cannot be planned:", []string{a.Error})
	}
	if a.Skipped != "" {
		text("It was not planned:", []string{a.Skipped})
	}
	text("What cannot be changed:", a.Remarks)
	text("Warnings:", a.Warnings)
	head := opening(a, s)
	const tail = "\n</details>\n"
	room -= len(head) + len(tail) + 200
	if room < leastRoom {
		return ""
	}
	lines := body.String()
	if len(lines) > room/2 {
		lines = "\n" + fence("text", clip(clean(lines), room/2))
	}
	room -= len(lines)
	diff := ""
	if !s.WithoutDiffs {
		diff = diffText(a.Changes)
	}
	if diff != "" {
		whole := len(diff)
		diff = clip(diff, room)
		lines += "\n" + fence("diff", diff)
		if len(diff) < whole {
			lines += "\nThere is no room here for the rest: `plumb preview` shows it.\n"
		}
	}
	if lines == "" {
		return " "
	}
	if s.Plain {
		return head + lines
	}
	return head + lines + tail
}

func opening(a Result, s Style) string {
	what := countsText(a.Counts)
	switch {
	case a.Error != "":
		what = "error"
	case a.Skipped != "":
		what = "not planned"
	}
	if a.Drift > 0 {
		what += fmt.Sprintf(" (%d of it was changed where it runs, not here)", a.Drift)
	}
	if s.Plain {
		return fmt.Sprintf("\n#### %s: %s\n", code(a.Application), what)
	}
	name := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "`", "'").Replace(oneLine(a.Application))
	return fmt.Sprintf("\n<details><summary><code>%s</code>: %s</summary>\n", name, what)
}

func diffText(changes []Difference) string {
	var b strings.Builder
	for _, d := range changes {
		note := ""
		switch {
		case d.Irreversible:
			note = " (a revert does not bring it back)"
		case d.Drift:
			note = " (changed where it runs, not in Git)"
		}
		if d.Reason != "" {
			note += ", because " + oneLine(d.Reason)
		}
		fmt.Fprintf(&b, "# %s %s%s\n", d.Action, oneLine(string(d.Resource)), note)
		b.WriteString(clean(d.Diff))
		if !strings.HasSuffix(d.Diff, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// clip cuts a text at the end of a line.
func clip(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	text = text[:max(bytes, 0)]
	return text[:strings.LastIndexByte(text, '\n')+1]
}

// indented lines can't be taken for commands, which stand at the beginning of one.
func indented(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		for line := range strings.Lines(clean(l)) {
			b.WriteString("  " + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	return b.String()
}

// fence encloses a text in a fence that it can't close.
func fence(language, text string) string {
	longest, run := 2, 0
	for _, r := range text {
		if r == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	f := strings.Repeat("`", longest+1)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return f + language + "\n" + text + f + "\n"
}

// code is a short text as inline code, also in a table.
func code(s string) string {
	s = strings.NewReplacer("`", "'", "|", `\|`).Replace(oneLine(s))
	if s == "" {
		return "` `"
	}
	return "`" + s + "`"
}

// oneLine is a text on one line, and not too long.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(clean(s)), " ")
	if r := []rune(s); len(r) > mostName {
		s = string(r[:mostName-1]) + "…"
	}
	return s
}

// clean drops characters that hide what a text says: controls, and those that
// change the direction of writing.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.Is(unicode.Cf, r), unicode.IsControl(r), r == unicode.ReplacementChar:
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "·"))
}

func foot(r Report, s Style) string {
	text := fmt.Sprintf("Planned in %s against what runs now; %s.", r.Took.Round(10*time.Millisecond), follow(r.Followers))
	if s.Again != "" {
		text += " " + s.Again
	}
	return text
}
