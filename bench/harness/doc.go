// Package harness is what measuring and torturing Plumb from outside needs: a
// control plane on this machine whose API server writes down what one user asks
// of it, Git repositories to push to, and the engine as a separate process that
// can be watched and killed. It knows of Plumb only its command line.
package harness
