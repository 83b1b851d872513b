// Package probe tells whether infrastructure still is what a state says,
// without running OpenTofu: it keeps provider processes warm, and asks them to
// read each instance in the state.
//
//	prober, err := probe.New(probe.Options{})
//	subject, err := prober.Subject(probe.Target{State: state, Module: module.Options{Root: dir}, Env: env})
//	report := subject.Check(ctx)
//
// What reads as the state says is Same. Whether anything else is a change is
// for a plan to say: ignore_changes, values that providers take for equal and
// attributes that nobody set are not known here. Verdicts remembers what plans
// have said. What cannot be known is Unknown, and never Same.
//
// It does not see what is in no managed instance: data sources (Report.Unseen
// names them), functions that change by themselves (timestamp, or file of what
// is outside of the tree), and checks. A plan on a slow schedule does.
//
// The package writes nothing, changes nothing and knows nobody: neither
// Kubernetes nor the loop that uses it.
package probe
