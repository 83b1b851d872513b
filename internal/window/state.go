package window

import (
	"strings"
	"time"
)

// State is what a set of windows lets through at a time.
type State struct {
	// Closed is why syncs that nobody asked for must wait, ManualClosed, why those
	// must that somebody asks for. They are empty where the windows are open.
	Closed, ManualClosed string
	// Opens is when the windows open for syncs that nobody asks for; zero where
	// they are open, or where it lies too far ahead to say.
	Opens time.Time
}

// At gives the state at a time.
func (s Set) At(now time.Time) State {
	var out State
	if !s.open(now, false) {
		out.Closed = s.why(now)
		out.Opens = s.Turns(now)
	}
	if !s.open(now, true) {
		out.ManualClosed = out.Closed
	}
	return out
}

// MayGoOn tells whether a sync that began at a time may go on: it may where one
// could begin, and where the windows that are closed let syncs overrun that could
// begin when they did.
func (s Set) MayGoOn(now, began time.Time, manual bool) bool {
	if s.open(now, manual) {
		return true
	}
	if began.IsZero() || !s.open(began, manual) {
		return false
	}
	for _, w := range s.closing(now) {
		if !w.SyncOverrun {
			return false
		}
	}
	return true
}

// open tells whether a sync may begin. As in Argo CD, denials go before
// allowances; where there are allowances, one of them must be open; and a sync
// that is asked for may begin where all the windows in the way let it.
func (s Set) open(at time.Time, manual bool) bool {
	closing := s.closing(at)
	if len(closing) == 0 {
		return true
	}
	if !manual {
		return false
	}
	for _, w := range closing {
		if !w.ManualSync {
			return false
		}
	}
	return true
}

// closing are the windows that are in the way: the denials that are open, or else
// the allowances, if none of them is.
func (s Set) closing(at time.Time) Set {
	var denials, allowances Set
	allowed := false
	for _, w := range s {
		active := w.Active(at)
		switch {
		case w.Kind == Deny && active:
			denials = append(denials, w)
		case w.Kind == Allow && active:
			allowed = true
		case w.Kind == Allow:
			allowances = append(allowances, w)
		}
	}
	switch {
	case len(denials) > 0:
		return denials
	case allowed:
		return nil
	}
	return allowances
}

// named is how many windows a message names.
const named = 3

func (s Set) why(at time.Time) string {
	closing := s.closing(at)
	var names []string
	for i := range closing {
		if i == named {
			names = append(names, "others")
			break
		}
		names = append(names, closing[i].String())
	}
	list := strings.Join(names, ", ")
	if closing[0].Kind == Deny {
		return list + " is in force"
	}
	return "no allow window is open: " + list
}

const (
	// maxTurns and horizon bound how far ahead is looked.
	maxTurns = 500
	horizon  = 366 * 24 * time.Hour
	// maxAsked bounds how often schedules are asked for that: who writes many
	// windows must not keep everybody else waiting.
	maxAsked = 20_000
)

// Turns gives when the windows next open or close for syncs that nobody asks for;
// zero where that is too far ahead to say.
func (s Set) Turns(now time.Time) time.Time {
	was := s.open(now, false)
	at, left := now, maxAsked
	for range maxTurns {
		var first time.Time
		if left -= len(s); left < 0 {
			return time.Time{}
		}
		for i := range s {
			if next := s[i].next(at, &left); !next.IsZero() && (first.IsZero() || next.Before(first)) {
				first = next
			}
		}
		if left < 0 || first.IsZero() || first.Sub(now) > horizon {
			return time.Time{}
		}
		if at = first; s.open(at, false) != was {
			return at
		}
	}
	return time.Time{}
}
