package cli

import (
	"cmp"
	"fmt"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// syncView shows how a sync fares.
type syncView interface {
	// result of a resource, as it is now.
	result(key engine.Key, r v1alpha1.ResourceResult)
	// health of a resource, after it was synced.
	health(key engine.Key, r v1alpha1.ResourceStatus)
	// note is what the operation says of itself.
	note(key engine.Key, text string)
	// done says how it ended.
	done(a application, err error)
	// end is after all of them.
	end() error
}

func (c commandline) newSyncView(o *output, several bool) syncView {
	if o.machine() {
		return &syncObjects{c: c, o: o}
	}
	return &syncLines{c: c, p: c.palette(), several: several}
}

// syncLines is for people: a line for everything that happens.
type syncLines struct {
	c       commandline
	p       palette
	several bool
}

func (v *syncLines) line(key engine.Key, status, address, text string) {
	prefix := ""
	if v.several {
		prefix = key.String() + "  "
	}
	word := v.p.status(fmt.Sprintf("%-12s", status))
	if v.p.on { // the padding must not hide which word it is
		word = v.p.status(status) + fmt.Sprintf("%*s", max(0, 12-len(status)), "")
	}
	fmt.Fprintf(v.c.streams.Out, "%s%s  %-44s  %s\n", prefix, word, printable(address), printable(text))
}

func (v *syncLines) result(key engine.Key, r v1alpha1.ResourceResult) {
	status := cmp.Or(string(r.Status), string(r.HookPhase), "Running")
	if r.HookType != "" {
		status = cmp.Or(string(r.HookPhase), string(r.Status), "Running")
	}
	text := r.Message
	if r.HookType != "" {
		text = fmt.Sprintf("%s hook. %s", r.HookType, text)
	}
	v.line(key, status, string(resultAddress(r)), text)
}

func (v *syncLines) health(key engine.Key, r v1alpha1.ResourceStatus) {
	v.line(key, string(r.Health.Status), string(resourceAddress(r)), r.Health.Message)
}

func (v *syncLines) note(key engine.Key, text string) {
	fmt.Fprintf(v.c.streams.Err, "%s: %s\n", key, text)
}

func (v *syncLines) done(a application, err error) {
	if err != nil {
		return // it is printed as an error
	}
	state := a.Status.OperationState
	revision := ""
	if state.SyncResult != nil {
		revision = " to " + printable(shortRevisions(state.SyncResult.Revision, state.SyncResult.Revisions))
	}
	if state.Operation.Sync != nil && state.Operation.Sync.DryRun {
		fmt.Fprintf(v.c.streams.Out, "%s: dry run%s: %s. Nothing was changed.\n", a.key, revision, printable(state.Message))
		return
	}
	fmt.Fprintf(v.c.streams.Out, "%s synced%s, %s\n", a.key, revision, v.p.status(string(a.Status.Health.Status)))
	if n := toPrune(a); n > 0 {
		fmt.Fprintf(v.c.streams.Err, "%s no longer declared and still there: delete with `plumb sync %s --prune`\n", plural(n, "resource"), qualifiedArgument(a.key))
	}
}

func (v *syncLines) end() error { return nil }

func toPrune(a application) int {
	n := 0
	for _, r := range a.Status.Resources {
		if r.RequiresPruning {
			n++
		}
	}
	return n
}

// syncObjects is for programs: all results at the end.
type syncObjects struct {
	c     commandline
	o     *output
	ended []syncOutcome
}

// syncOutcome is the JSON of one sync.
type syncOutcome struct {
	Group     string                    `json:"group"`
	Namespace string                    `json:"namespace"`
	Name      string                    `json:"name"`
	Succeeded bool                      `json:"succeeded"`
	Error     string                    `json:"error,omitempty"`
	Sync      v1alpha1.SyncStatusCode   `json:"sync"`
	Health    v1alpha1.HealthStatusCode `json:"health"`
	Operation *v1alpha1.OperationState  `json:"operation,omitempty"`
}

func (v *syncObjects) result(engine.Key, v1alpha1.ResourceResult) {}
func (v *syncObjects) health(engine.Key, v1alpha1.ResourceStatus) {}
func (v *syncObjects) note(key engine.Key, text string) {
	fmt.Fprintf(v.c.streams.Err, "%s: %s\n", key, text)
}

func (v *syncObjects) done(a application, err error) {
	outcome := syncOutcome{
		Group: a.key.Group, Namespace: a.key.Namespace, Name: a.key.Name, Succeeded: err == nil,
		Sync: a.Status.Sync.Status, Health: a.Status.Health.Status, Operation: a.Status.OperationState,
	}
	if err != nil {
		outcome.Error = describeError(err)
	}
	v.ended = append(v.ended, outcome)
}

func (v *syncObjects) end() error { return v.o.print(v.c.streams.Out, v.ended) }
