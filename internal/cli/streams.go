package cli

import "io"

// Streams are where a command reads from and writes to.
//
// Every command is made by a function of its own,
// func newNameCommand(streams Streams) *cobra.Command, which the root adds.
// RunE returns errors, which the root prints as "error: …" on Err; an error
// with an ExitCode() int method chooses the exit code.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}
