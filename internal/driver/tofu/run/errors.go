package run

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// Kind says what went wrong, so that a caller can tell what to do.
type Kind string

// The closed set of kinds.
const (
	KindConfig          Kind = "Config"          // the module, or what was given for it, is wrong
	KindMissingVariable Kind = "MissingVariable" // a variable has no value
	KindUnknownProvider Kind = "UnknownProvider" // no registry or mirror has that provider, or that version of it
	KindRegistry        Kind = "Registry"        // a provider or a module can't be downloaded now
	KindChecksum        Kind = "Checksum"        // a provider is not what the lock file says it is
	KindProvider        Kind = "Provider"        // the provider, or the API behind it, refused
	KindProviderCrash   Kind = "ProviderCrash"   // the provider's process died
	KindCredentials     Kind = "Credentials"     // the API behind the provider does not know or allow us
	KindBackend         Kind = "Backend"         // the state can't be read or written
	KindStateTooNew     Kind = "StateTooNew"     // a newer program or provider has written the state
	KindLocked          Kind = "Locked"          // someone else holds the state's lock (LockedError)
	KindStale           Kind = "Stale"           // the plan is of a state that is no more (ErrStale)
	KindCancelled       Kind = "Cancelled"       // the caller asked it to stop
	KindBusy            Kind = "Busy"            // an earlier run in this folder is still under way (ErrBusy)
	KindKilled          Kind = "Killed"          // the program died before it could say how it went
	KindReach           Kind = "Reach"           // it wants a file that is not the module's to read or write
	KindProgram         Kind = "Program"         // anything else
)

var (
	// ErrStale is what an error of kind Stale is.
	ErrStale = errors.New("the plan is stale")
	// ErrBusy is what an error of kind Busy is: Resume waits for the earlier run.
	ErrBusy = errors.New("an earlier run is still under way")
	// ErrDetached, as the cause of a cancelled context, leaves the program
	// running: for a caller that ends and will Resume later. It is returned then.
	ErrDetached = errors.New("left running")
)

// Severity of a Diagnostic.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Diagnostic is one thing that the program had to say. It is masked.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	Summary  string   `json:"summary"`
	Detail   string   `json:"detail,omitempty"`
	// Address of the resource that it is about.
	Address string `json:"address,omitempty"`
	// File, below Config.Display, with Line and Column from 1.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`

	// confined is set where the program could reach nothing but what it is given.
	confined bool
}

// String is the diagnostic in one line, as compilers have it.
func (d Diagnostic) String() string {
	var parts []string
	if d.File != "" {
		parts = append(parts, fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Column))
	}
	if d.Address != "" {
		parts = append(parts, d.Address)
	}
	parts = append(parts, oneLine(d.Summary))
	if d.Detail != "" {
		parts = append(parts, oneLine(d.Detail))
	}
	return strings.Join(parts, ": ")
}

func oneLine(text string) string {
	return strings.TrimRight(strings.Join(strings.Fields(text), " "), ".:")
}

// Error is a failed run. All of it is masked.
type Error struct {
	Kind Kind
	// Operation that failed: "init", "plan", "apply", "import", …
	Operation   string
	Diagnostics []Diagnostic
	// Cause is an error that is no diagnostic of the program's.
	Cause error
}

func (e *Error) Error() string {
	var lines []string
	for _, d := range e.Diagnostics {
		if d.Severity == SeverityError {
			lines = append(lines, d.String())
		}
	}
	text := "the program failed"
	switch {
	case len(lines) > 1:
		text = fmt.Sprintf("%s (and %d more)", lines[0], len(lines)-1)
	case len(lines) == 1:
		text = lines[0]
	case e.Cause != nil:
		text = e.Cause.Error()
	}
	if next := advice(e.Kind); next != "" {
		text += ": " + next
	}
	return text
}

// Unwrap gives what the kind is known by, and the cause.
func (e *Error) Unwrap() []error {
	var all []error
	switch e.Kind { //nolint:exhaustive // the others are known by nothing else
	case KindStale:
		all = append(all, ErrStale)
	case KindBusy:
		all = append(all, ErrBusy)
	case KindCancelled:
		all = append(all, context.Canceled)
	}
	if e.Cause != nil {
		all = append(all, e.Cause)
	}
	return all
}

// Errors are the diagnostics that are errors.
func (e *Error) Errors() []Diagnostic {
	var all []Diagnostic
	for _, d := range e.Diagnostics {
		if d.Severity == SeverityError {
			all = append(all, d)
		}
	}
	return all
}

// Advice is what to do about a single error, or empty.
func (d Diagnostic) Advice() string { return advice(classify(d)) }

func advice(k Kind) string {
	switch k {
	case KindMissingVariable:
		return "give it a value in source.tofu.vars, varFiles or varsFrom, or a default in the module"
	case KindUnknownProvider:
		return "check its source and version in required_providers, and that a registry or mirror offers it"
	case KindRegistry:
		return "check that the registry or repository can be reached from here and allows it; it is tried again"
	case KindChecksum:
		return "if the provider was changed on purpose, run init -upgrade and commit " + lockFile + "; otherwise do not trust it"
	case KindProviderCrash:
		return "it is a fault in the provider: look for a newer version of it"
	case KindCredentials:
		return "check the credentials given in source.tofu.env or in the provider's configuration"
	case KindBackend:
		return "check that the state's backend can be reached and that its credentials are right"
	case KindStateTooNew:
		return "use a program and providers at least as new as those that wrote the state"
	case KindReach:
		return "modules are isolated: each may read and write the files of its own repository, and read those that all programs of the machine need; commit the file, pass what is in it as a variable, or have its path opened to all modules (--module-readable and --module-writable of plumb server)"
	case KindStale:
		return "a new plan is needed"
	case KindCancelled:
		return "what had been done is in the state; a new plan does the rest"
	case KindBusy:
		return "it has to end first"
	case KindKilled:
		return "it may have been killed, for want of memory say; a new plan shows what is left to do"
	default:
		return ""
	}
}

// LockedError says who holds the state's lock.
type LockedError struct {
	ID, Path, Operation, Who, Version, Info string
	Created                                 time.Time
	Err                                     *Error
}

func (e *LockedError) Error() string {
	since := ""
	if !e.Created.IsZero() {
		since = " since " + e.Created.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("the state is locked by %s%s (%s, lock %s): wait for it to end, or release the lock if nothing is running any more", e.Who, since, e.Operation, e.ID)
}

// Unwrap gives the Error of kind Locked.
func (e *LockedError) Unwrap() error { return e.Err }

// configError is an error in what was given for a run.
func configError(summary, detail string) *Error {
	return &Error{Kind: KindConfig, Diagnostics: []Diagnostic{{Severity: SeverityError, Summary: summary, Detail: detail}}}
}

// KindOf is the kind of an error of this package, or "".
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// failure makes an error of what the program has said.
func failure(operation string, diagnostics []Diagnostic) error {
	e := &Error{Operation: operation, Diagnostics: diagnostics, Kind: KindProgram}
	for i, d := range e.Errors() {
		k := classify(d)
		if i == 0 || general(e.Kind) && !general(k) {
			e.Kind = k
		}
	}
	if e.Kind != KindLocked {
		return e
	}
	for _, d := range e.Errors() {
		if l := lockInfo(d.Detail); l != nil {
			l.Err = e
			return l
		}
	}
	return e
}

// general kinds give way to more special ones among several diagnostics.
func general(k Kind) bool {
	return k == KindProgram || k == KindProvider || k == KindConfig || k == KindRegistry
}

// lockInfo reads who holds a lock from the text of the error.
func lockInfo(detail string) *LockedError {
	_, info, found := strings.Cut(detail, "Lock Info:")
	if !found {
		return nil
	}
	var l LockedError
	for line := range strings.Lines(info) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			if strings.TrimSpace(line) == "" && l.ID != "" {
				break
			}
			continue
		}
		value = strings.TrimSpace(value)
		switch key {
		case "ID":
			l.ID = value
		case "Path":
			l.Path = value
		case "Operation":
			l.Operation = strings.TrimPrefix(value, "OperationType")
		case "Who":
			l.Who = value
		case "Version":
			l.Version = value
		case "Info":
			l.Info = value
		case "Created":
			l.Created, _ = time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", value)
		}
	}
	if l.ID == "" && l.Who == "" {
		return nil
	}
	return &l
}

// display puts the module's path in its repository before a file's name.
func display(prefix, file string) string {
	if file == "" || prefix == "" || path.IsAbs(file) {
		return file
	}
	return path.Join(prefix, file)
}
