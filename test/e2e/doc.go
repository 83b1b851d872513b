// Package e2e tests Plumb from outside: the real binary against a real control
// plane with controllers and simulated nodes, real Git repositories, kubectl.
// It has nothing but tests; "make e2e" runs them so that one can watch.
package e2e
