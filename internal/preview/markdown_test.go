package preview

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/plan"
)

func result(name string, diff string) Result {
	return Result{
		Application: name, Counts: plan.Counts{Update: 1}, Then: ThenApplied,
		Changes: []Difference{{Action: plan.ActionUpdate, Resource: "apps/Deployment/shop/web", Diff: diff}},
	}
}

var style = Style{Bytes: 65536, Title: "Plumb preview of `1234` into `main`", Marker: "plumb:preview:00 head=1234 asked=0", Again: "Again."}

func TestMarkdown(t *testing.T) {
	got := Markdown(Report{
		Followers: 5, Took: 1234 * time.Millisecond,
		Applications: []Result{
			result("shop/web", "--- live/x\n+++ git/x\n@@ -1 +1 @@\n-a: 1\n+a: 2\n"),
			{Application: "shop/db", Counts: plan.Counts{Replace: 1}, Destroys: 1, Irreversible: 1, Then: ThenApproval},
			{Application: "shop/bad", Error: "apps/bad/x.yaml:3: no such field"},
		},
	}, style)
	want := "<!-- plumb:preview:00 head=1234 asked=0 -->\n" +
		"### Plumb preview of `1234` into `main`\n\n" +
		"**3 Applications change**: 1 to update, 1 to replace. 1 Application will need approval. **1 of the changes cannot be undone by a revert.** **1 Application cannot be applied as declared.**\n\n" +
		"| Application | create | update | replace | delete | risk | when merged |\n" +
		"| --- | ---: | ---: | ---: | ---: | --- | --- |\n" +
		"| `shop/web` |  | 1 |  |  |  | applied |\n" +
		"| `shop/db` |  |  | 1 |  | **destroys 1, 1 for good** | needs approval |\n" +
		"| `shop/bad` |  |  |  |  |  | **error**, see below |\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, text := range []string{
		"<details><summary><code>shop/web</code>: 1 to update</summary>\n\n```diff\n# update apps/Deployment/shop/web\n--- live/x\n",
		"It cannot be planned:\n\n```text\n  apps/bad/x.yaml:3: no such field\n```\n",
		"Planned in 1.23s against what runs now; 5 Applications follow this branch. Again.",
	} {
		if !strings.Contains(got, text) {
			t.Errorf("%q is missing in\n%s", text, got)
		}
	}
}

// inert drops what is code, in which nothing has a meaning: fences by CommonMark's
// rules, and then inline code.
func inert(markdown string) string {
	var out strings.Builder
	open := 0
	for line := range strings.Lines(markdown) {
		text := strings.TrimRight(line, "\n")
		bare := strings.TrimLeft(text, " ")
		run := len(bare) - len(strings.TrimLeft(bare, "`"))
		switch {
		case open > 0:
			if run >= open && len(text)-len(bare) < 4 && strings.TrimSpace(bare[run:]) == "" {
				open = 0
			}
		case run >= 3 && !strings.Contains(bare[run:], "`"):
			open = run
			out.WriteString("CODE\n")
		default:
			out.WriteString(line)
		}
	}
	if open > 0 {
		out.WriteString("@e: a fence is left open")
	}
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(out.String(), "CODE")
}

func TestHostileContentIsHarmless(t *testing.T) {
	hostile := []string{
		"@everyone look", "```\n@everyone\n```", "````\n</details><img src=x onerror=alert(1)>\n````", "<script>alert(1)</script>",
		"| a | b |", "[click](javascript:alert(1))", "/close", "/merge\n/approve", "-->", "<!-- plumb:preview:00 -->", "![x](https://evil.example/track.png)",
		"a\u202eb\u2066c\u200bd\x1b[31m", "#1 fixes #2", "`tick` @ada", "\r/close\r", "org/repo@0123456789abcdef",
	}
	for _, h := range hostile {
		for _, plain := range []bool{false, true} {
			s := style
			s.Plain = plain
			r := result(h, "+"+h+"\n")
			r.Changes = append(r.Changes, Difference{Action: plan.ActionDelete, Resource: plan.Address(h), Reason: h, Diff: h})
			r.Remarks, r.Warnings = []string{h}, []string{h}
			text := Markdown(Report{Applications: []Result{r, {Application: h, Error: h}, {Application: h, Skipped: h}}}, s)
			text = strings.TrimPrefix(text, s.marker())
			outside := inert(text)
			if !plain { // summaries are HTML, in which code is code
				outside = regexp.MustCompile(`<code>[^<\n]*</code>`).ReplaceAllString(outside, "CODE")
			}
			for _, bad := range []string{"@e", "@ada", "<script", "<img", "javascript", "evil", "-->", "#1", "\u202e", "\u2066", "\x1b"} {
				if strings.Contains(outside, bad) {
					t.Errorf("%q gets out of %q:\n%s", bad, h, outside)
				}
			}
			if regexp.MustCompile(`(?m)^\s*/(close|merge|approve)`).MatchString(outside) {
				t.Errorf("%q is a command:\n%s", h, outside)
			}
			if strings.ContainsAny(text, "\u202e\u2066\u200b\x1b\r") {
				t.Errorf("%q hides what it says", h)
			}
			if !plain && strings.Count(outside, "<details>") != strings.Count(outside, "</details>") {
				t.Errorf("%q breaks what is folded:\n%s", h, outside)
			}
		}
	}
}

func TestCommentsAreBounded(t *testing.T) {
	line := "+" + strings.Repeat("ä`", 50) + "\n"
	for name, r := range map[string]Report{
		"one long diff":     {Applications: []Result{result("shop/web", strings.Repeat(line, 5000))}},
		"many Applications": {},
		"many long errors":  {},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 1000 {
				switch name {
				case "many Applications":
					r.Applications = append(r.Applications, result(fmt.Sprintf("shop/app-%d", i), strings.Repeat(line, 20)))
				case "many long errors":
					r.Applications = append(r.Applications, Result{Application: "x", Error: strings.Repeat("why ", 5000)})
				}
			}
			for _, bytes := range []int{32768, 65536, 131072} {
				s := style
				s.Bytes = bytes
				text := Markdown(r, s)
				if len(text) > bytes || len(text) < bytes/3 {
					t.Errorf("%d bytes of %d", len(text), bytes)
				}
				if !strings.Contains(text, "There is no room here") || !strings.Contains(text, "Planned in") {
					t.Error("it does not say that there is more")
				}
				if strings.Count(text, "<details>") != strings.Count(text, "</details>") {
					t.Error("something is left open")
				}
			}
		})
	}
}

func TestNoDiffs(t *testing.T) {
	s := style
	s.WithoutDiffs = true
	text := Markdown(Report{Applications: []Result{result("shop/web", "+c4n4ry\n")}}, s)
	if strings.Contains(text, "c4n4ry") || !strings.Contains(text, "shop/web") {
		t.Errorf("got\n%s", text)
	}
}
