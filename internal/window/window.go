// Package window says when a project's sync windows let changes through: Argo
// CD's windows, with cron schedules, durations and time zones. It is a pure
// function of windows and a time: it reads no clock, does no I/O, and knows
// neither Applications nor what a sync is.
package window

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones have to be known where no system has them

	"github.com/gobwas/glob"
	"github.com/robfig/cron/v3"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// The kinds of windows.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Place is what windows are chosen by.
type Place struct {
	// Application is the Application's name.
	Application string
	// Clusters are the names and URLs by which its destination is known.
	Clusters []string
	// Namespace is its destination's.
	Namespace string
}

// Window is one window, made ready.
type Window struct {
	v1alpha1.SyncWindow
	// Index in the project's list.
	Index int

	schedule                           cron.Schedule
	duration                           time.Duration
	zone                               *time.Location
	applications, clusters, namespaces []glob.Glob
}

// Set is a list of windows.
type Set []Window

// fields of a cron schedule, as Argo CD reads it: no seconds, no descriptors.
const fields = cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow

// Compile makes windows ready, or says which field of which one cannot be
// understood: windows that are not understood let nothing through.
func Compile(windows v1alpha1.SyncWindows) (Set, error) {
	set := make(Set, len(windows))
	for i, w := range windows {
		compiled, field, err := compile(w)
		if err != nil {
			return nil, fmt.Errorf("spec.syncWindows[%d].%s: %w", i, field, err)
		}
		compiled.Index = i
		set[i] = compiled
	}
	return set, nil
}

func compile(w v1alpha1.SyncWindow) (out Window, field string, err error) {
	out.SyncWindow = w
	if w.Kind != Allow && w.Kind != Deny {
		return out, "kind", fmt.Errorf("%q is neither allow nor deny", w.Kind)
	}
	if strings.Contains(w.Schedule, "TZ=") {
		return out, "schedule", fmt.Errorf("%q names a time zone: write it into timeZone", w.Schedule)
	}
	if out.schedule, err = cron.NewParser(fields).Parse(w.Schedule); err != nil {
		return out, "schedule", fmt.Errorf("%q is no cron schedule of five fields (minute, hour, day, month, weekday): %w", w.Schedule, err)
	}
	if out.duration, err = time.ParseDuration(w.Duration); err != nil || out.duration <= 0 {
		return out, "duration", fmt.Errorf("%q is no duration: write 30m, 1h, 2h30m", w.Duration)
	}
	if out.zone, err = time.LoadLocation(w.TimeZone); err != nil || w.TimeZone == "Local" {
		return out, "timeZone", fmt.Errorf("%q is no time zone: write UTC, or one like Europe/Amsterdam", w.TimeZone)
	}
	for _, list := range []struct {
		field string
		texts []string
		to    *[]glob.Glob
	}{
		{"applications", w.Applications, &out.applications},
		{"clusters", w.Clusters, &out.clusters},
		{"namespaces", w.Namespaces, &out.namespaces},
	} {
		for _, text := range list.texts {
			g, err := glob.Compile(text)
			if err != nil {
				return out, list.field, fmt.Errorf("%q is no pattern: %w", text, err)
			}
			*list.to = append(*list.to, g)
		}
	}
	return out, "", nil
}

// For gives the windows that are for a place.
func (s Set) For(p Place) Set {
	var out Set
	for _, w := range s {
		if w.isFor(p) {
			out = append(out, w)
		}
	}
	return out
}

// isFor matches as Argo CD does: one of the lists is enough, or with andOperator
// all that are there. A window without lists is for nobody.
func (w *Window) isFor(p Place) bool {
	some, all := false, true
	for _, list := range []struct {
		globs  []glob.Glob
		values []string
	}{{w.applications, []string{p.Application}}, {w.clusters, p.Clusters}, {w.namespaces, []string{p.Namespace}}} {
		if len(list.globs) == 0 {
			continue
		}
		hit := slices.ContainsFunc(list.globs, func(g glob.Glob) bool { return slices.ContainsFunc(list.values, g.Match) })
		some, all = some || hit, all && hit
	}
	if w.UseAndOperator {
		return some && all
	}
	return some
}

// wall is the time that clocks in the window's zone show, as if it were UTC. So
// Argo CD counts, too: an hour that a change of the clocks leaves out does not
// swallow a window.
func (w *Window) wall(at time.Time) time.Time {
	_, offset := at.In(w.zone).Zone()
	return at.UTC().Add(time.Duration(offset) * time.Second)
}

// real is when the clocks show a time.
func (w *Window) real(wall time.Time) time.Time {
	return time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, w.zone).UTC()
}

// Active tells whether the window is open at a time.
func (w *Window) Active(at time.Time) bool {
	wall := w.wall(at)
	last := w.schedule.Next(wall.Add(-w.duration))
	return !last.IsZero() && !last.After(wall)
}

// maxRuns bounds how many openings are looked at that run into each other.
const maxRuns = 100

// next is when the window next opens or closes; zero where it does not, as far as
// one can see. left is how often schedules may still be asked.
func (w *Window) next(at time.Time, left *int) time.Time {
	if *left -= 2; *left < 0 {
		return time.Time{}
	}
	wall := w.wall(at)
	turn := w.schedule.Next(wall)
	if begun := w.schedule.Next(wall.Add(-w.duration)); !begun.IsZero() && !begun.After(wall) {
		turn = w.ends(begun, left)
	}
	if turn.IsZero() {
		return turn
	}
	next := w.real(turn)
	if !next.After(at) { // the clocks are turned just now
		next = at.Add(time.Minute)
	}
	return next
}

// ends is when a window that has begun ends, if it does not begin again before.
func (w *Window) ends(begun time.Time, left *int) time.Time {
	for range maxRuns {
		if *left--; *left < 0 {
			return time.Time{}
		}
		ends := begun.Add(w.duration)
		again := w.schedule.Next(begun)
		if again.IsZero() || again.After(ends) {
			return ends
		}
		begun = again
	}
	return time.Time{}
}

// String names the window for people.
func (w *Window) String() string {
	text := fmt.Sprintf("%s window %d (%s for %s", w.Kind, w.Index, w.Schedule, w.Duration)
	if w.TimeZone != "" && w.TimeZone != "UTC" {
		text += ", " + w.TimeZone
	}
	if w.Description != "" {
		text += ", " + w.Description
	}
	return text + ")"
}
