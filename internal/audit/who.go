package audit

import (
	"context"
	"slices"
	"time"
)

const (
	// near is how far the time of a write may be from when it was seen, by clocks of
	// two machines.
	near = 5 * time.Second
	// sure is how near it must be to be taken without waiting for what is yet to come:
	// somebody may have written just before.
	sure = 500 * time.Millisecond
	// lasting is how long a deletion may take until the object is gone, where nobody
	// says since when to look.
	lasting = 10 * time.Minute
)

// Question asks who has written an object.
type Question struct {
	Object
	// Deleted asks who has deleted it.
	Deleted bool
	// Seen is when the change was noticed, as it happened; or, with After, when it was
	// noticed that something had changed since then.
	Seen, After time.Time
	// AtOnce tells that it was noticed as it happened, also with After.
	AtOnce bool
	// Manager of the fields that were changed and Written, when by the object itself, to
	// the second, where these are known.
	Manager string
	Written time.Time
	// But is who has not done it, under his own name.
	But string
}

// Answer is who it was.
type Answer struct {
	Write
	// Others have written it, too, in the time that was asked about.
	Others []string
}

// Who gives who has written an object, as far as that was heard.
func (f *Feed) Who(q Question) (Answer, bool) {
	if q.Deleted {
		return f.whoDeleted(q)
	}
	all := f.writes(q.Object)
	switch {
	case q.Manager != "" && !q.Written.IsZero():
		return byManager(all, q)
	case !q.After.IsZero():
		return since(all, q)
	}
	if a, ok := nearest(all, q); ok {
		return a, true
	}
	unnamed := q.Object
	unnamed.Name = "" // the API server had yet to find it
	var sole []Write
	for _, w := range f.writes(unnamed) {
		if w.Verb == string(verbCreate) && apart(w.Ended, q.Seen) <= near {
			sole = append(sole, w)
		}
	}
	if len(sole) == 1 {
		return Answer{Write: sole[0]}, true
	}
	return Answer{}, false
}

// Await is Who, and waits for what comes a little later. It waits for nothing where
// nothing is heard of the cluster.
func (f *Feed) Await(ctx context.Context, q Question, until time.Time) (Answer, bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		news := f.awaitNews()
		if a, ok := f.Who(q); ok && q.surely(a) || !f.Hears(q.Cluster) {
			return a, ok
		}
		select {
		case <-ctx.Done():
			return Answer{}, false
		case <-timer.C:
			return f.Who(q)
		case <-news:
		}
	}
}

// surely tells whether what is yet to come makes no better answer.
func (q Question) surely(a Answer) bool {
	byManager := !q.Deleted && q.Manager != "" && !q.Written.IsZero()
	return byManager || apart(a.Ended, q.Seen) <= sure
}

func apart(a, b time.Time) time.Duration { return a.Sub(b).Abs() }

func edits(w Write) bool {
	return w.Verb != string(verbDelete) && w.Verb != string(verbDeleteCollection)
}

// byManager finds the write that the object itself tells of.
func byManager(all []Write, q Question) (Answer, bool) {
	for _, w := range slices.Backward(all) {
		// The object's time is that of the middle of the request, without fractions.
		if edits(w) && w.Manager == q.Manager && !w.Ended.Before(q.Written) && w.Began.Before(q.Written.Add(time.Second)) {
			return Answer{Write: w}, true
		}
	}
	return Answer{}, false
}

// since finds the latest write of a time, and who else wrote in it.
func since(all []Write, q Question) (Answer, bool) {
	var a Answer
	found := false
	slices.SortStableFunc(all, func(a, b Write) int { return a.Ended.Compare(b.Ended) })
	for _, w := range slices.Backward(all) {
		if !edits(w) || w.Ended.Before(q.After.Add(-time.Second)) || w.Began.After(q.Seen.Add(near)) {
			continue
		}
		switch {
		case !found:
			a.Write, found = w, true
		case w.User != a.User && !slices.Contains(a.Others, w.User):
			a.Others = append(a.Others, w.User)
		}
	}
	return a, found
}

// nearest finds the write that was answered when the change was seen.
func nearest(all []Write, q Question) (Answer, bool) {
	var a Answer
	found, seen := false, q.Seen
	for _, w := range all {
		if q.Manager != "" && w.Manager != q.Manager || q.But != "" && w.User == q.But && w.Through == "" {
			continue
		}
		if !edits(w) || w.Began.After(seen.Add(near)) || w.Ended.Before(seen.Add(-near)) {
			continue
		}
		if !found || apart(w.Ended, seen) <= apart(a.Ended, seen) {
			a.Write, found = w, true
		}
	}
	return a, found
}

// whoDeleted finds who has deleted an object, or all of its kind, or its namespace.
func (f *Feed) whoDeleted(q Question) (Answer, bool) {
	after := q.After.Add(-time.Second)
	if q.After.IsZero() {
		after = q.Seen.Add(-lasting)
	}
	named, together, namespace := q.Object, q.Object, Object{Cluster: q.Cluster, Resource: "namespaces", Name: q.Namespace}
	together.Name = ""
	for _, o := range []Object{named, together, namespace} {
		if o == namespace && q.Namespace == "" {
			continue
		}
		all := f.writes(o)
		if len(all) == 0 {
			continue
		}
		w := all[len(all)-1]
		if o != named && q.AtOnce && w.Ended.Before(q.Seen.Add(-lasting)) {
			continue // those that were deleted together then
		}
		if edits(w) || w.Began.After(q.Seen.Add(near)) || w.Ended.Before(after) {
			continue
		}
		again := o == named && slices.ContainsFunc(all, func(c Write) bool {
			return c.Verb == string(verbCreate) && c.Began.After(w.Ended) && c.Ended.Before(q.Seen)
		})
		if !again {
			return Answer{Write: w}, true
		}
	}
	return Answer{}, false
}
