package run

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Status of a step of a run.
type Status string

// The closed set of statuses.
const (
	Started  Status = "started"
	Progress Status = "progress"
	Complete Status = "complete"
	Errored  Status = "errored"
)

// Event is one step of a run on one resource. It is masked.
type Event struct {
	Time    time.Time `json:"time"`
	Address string    `json:"address"`
	// Action is "create", "update", "delete", "read", "refresh" or what else the
	// program calls it.
	Action  string        `json:"action"`
	Status  Status        `json:"status"`
	Elapsed time.Duration `json:"elapsed,omitempty"`
	// ID is what the resource's provider knows it by, once it is known.
	ID string `json:"id,omitempty"`
	// Message is the program's own.
	Message string `json:"message,omitempty"`
}

// message is a line of the programs' machine-readable output. terraform-json
// has no types for those of plan and apply.
type message struct {
	Level      string    `json:"@level"`
	Message    string    `json:"@message"`
	Time       time.Time `json:"@timestamp"`
	Type       string    `json:"type"`
	Diagnostic *struct {
		Severity string `json:"severity"`
		Summary  string `json:"summary"`
		Detail   string `json:"detail"`
		Address  string `json:"address"`
		Range    *struct {
			Filename string `json:"filename"`
			Start    struct {
				Line, Column int
			} `json:"start"`
		} `json:"range"`
	} `json:"diagnostic"`
	Hook *struct {
		Resource struct {
			Addr string `json:"addr"`
		} `json:"resource"`
		Action  string  `json:"action"`
		IDValue string  `json:"id_value"`
		Elapsed float64 `json:"elapsed_seconds"`
	} `json:"hook"`
	Changes *struct {
		Operation string `json:"operation"`
	} `json:"changes"`
}

// output is what a run has said.
type output struct {
	masker      *Masker
	display     string
	progress    func(Event)
	diagnostics []Diagnostic
	confined    bool // the program could reach nothing but what it is given
	// summary is the operation that the run has summed up as done.
	summary string
	// plain lines of the output are no JSON; rest is what of it is no diagnostic
	// either.
	plain, rest strings.Builder
}

// newOutput is for a process in the folder.
func (r *Runner) newOutput(progress func(Event)) *output {
	out := newOutput(r.masker, r.config.Display, progress)
	out.confined = r.config.Fence.Active()
	return out
}

func newOutput(masker *Masker, display string, progress func(Event)) *output {
	return &output{masker: masker, display: display, progress: progress}
}

// maxDiagnostics and maxRest bound what a run can make us keep.
const (
	maxDiagnostics = 1000
	maxRest        = 64 << 10
)

func (o *output) line(line []byte) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return
	}
	var m message
	if line[0] != '{' || json.Unmarshal(line, &m) != nil {
		if o.plain.Len() < maxRest {
			o.plain.Write(line)
			o.plain.WriteByte('\n')
		}
		return
	}
	switch {
	case m.Diagnostic != nil:
		o.diagnose(m)
	case m.Changes != nil && m.Type == "change_summary":
		o.summary = m.Changes.Operation
	case m.Hook != nil:
		o.step(m)
	case strings.Contains(m.Message, "successfully initialized"):
		o.summary = "init"
	}
}

func (o *output) diagnose(m message) {
	d := Diagnostic{
		Severity: Severity(m.Diagnostic.Severity), Address: o.masker.Mask(m.Diagnostic.Address),
		Summary: o.masker.Mask(m.Diagnostic.Summary), Detail: o.masker.Mask(m.Diagnostic.Detail),
	}
	if r := m.Diagnostic.Range; r != nil {
		d.File, d.Line, d.Column = display(o.display, r.Filename), r.Start.Line, r.Start.Column
	}
	o.add(d)
}

func (o *output) add(d Diagnostic) {
	d.confined = o.confined
	if len(o.diagnostics) < maxDiagnostics {
		o.diagnostics = append(o.diagnostics, d)
	}
}

func (o *output) step(m message) {
	if o.progress == nil {
		return
	}
	of, status, _ := cutLast(m.Type, "_")
	e := Event{
		Time: m.Time, Address: o.masker.Mask(m.Hook.Resource.Addr), Action: m.Hook.Action, ID: o.masker.Mask(m.Hook.IDValue),
		Elapsed: time.Duration(m.Hook.Elapsed * float64(time.Second)), Message: o.masker.Mask(m.Message),
	}
	if e.Action == "" {
		e.Action = of
	}
	switch status {
	case "start":
		e.Status = Started
	case "progress":
		e.Status = Progress
	case "complete":
		e.Status = Complete
	case "errored":
		e.Status = Errored
	default:
		return
	}
	o.progress(e)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (o *output) errors() []Diagnostic {
	return (&Error{Diagnostics: o.diagnostics}).Errors()
}

// concluded tells whether the run came to its end by itself: it has summed up,
// or said what was wrong.
func (o *output) concluded() bool { return o.summary != "" || len(o.errors()) > 0 }

// warnings are the diagnostics that are no errors.
func (o *output) warnings() []Diagnostic {
	var all []Diagnostic
	for _, d := range o.diagnostics {
		if d.Severity != SeverityError {
			all = append(all, d)
		}
	}
	return all
}

var (
	colours   = regexp.MustCompile("\x1b\\[[0-9;]*m")
	errorLine = regexp.MustCompile(`^(Error|Warning): (.*)$`)
	place     = regexp.MustCompile(`^\s*on (\S+) line (\d+)(?:, in .*)?:?\s*$`)
	sourceOf  = regexp.MustCompile(`^\s*\d+: `)
	frame     = strings.NewReplacer("│", "", "╷", "", "╵", "")
)

// finish reads what was written for people.
func (o *output) finish(stderr string) {
	o.text(stderr)
	if o.plain.Len() > 0 {
		o.text(o.plain.String())
	}
}

// text reads diagnostics as they are written for people, by the commands that
// know no JSON. Lines that were wrapped are joined again, so that a secret in
// them is found.
func (o *output) text(text string) {
	var d *Diagnostic
	var detail []string
	flush := func() {
		if d == nil {
			return
		}
		d.Summary, d.Detail = o.masker.Mask(d.Summary), o.masker.Mask(paragraphs(detail))
		o.add(*d)
		d, detail = nil, nil
	}
	for line := range strings.Lines(colours.ReplaceAllString(text, "")) {
		line = strings.TrimRight(strings.TrimPrefix(frame.Replace(strings.TrimRight(line, "\r\n")), " "), " ")
		if m := errorLine.FindStringSubmatch(line); m != nil {
			flush()
			d = &Diagnostic{Severity: Severity(strings.ToLower(m[1])), Summary: m[2]}
			continue
		}
		switch {
		case d == nil:
			if line != "" && o.rest.Len() < maxRest {
				o.rest.WriteString(line + "\n")
			}
		case d.File == "" && place.MatchString(line):
			m := place.FindStringSubmatch(line)
			d.File, d.Column = display(o.display, m[1]), 1
			d.Line, _ = strconv.Atoi(m[2])
		case sourceOf.MatchString(line): // an excerpt may hold anything
		default:
			detail = append(detail, line)
		}
	}
	flush()
}

// paragraphs joins the lines of each paragraph; indented ones keep their lines.
func paragraphs(lines []string) string {
	var b strings.Builder
	for i, line := range lines {
		switch {
		case line == "":
			b.WriteString("\n")
		case i > 0 && lines[i-1] != "" && !strings.HasPrefix(line, " ") && !strings.HasSuffix(lines[i-1], ":"):
			b.WriteString(" " + line)
		default:
			b.WriteString("\n" + line)
		}
	}
	return strings.TrimSpace(b.String())
}
