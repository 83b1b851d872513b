package render

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// FileError is an error at a place in the repository. Line is 0 where only the
// file is known.
type FileError struct {
	File string
	Line int
	Err  error
}

// Error is "file:line: message".
func (e *FileError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.File, e.Err)
}

// Unwrap gives the error without its place.
func (e *FileError) Unwrap() error { return e.Err }

// At puts the place before an error. An error that has a place already is
// given back as it is.
func At(file string, line int, err error) error {
	if err == nil {
		return nil
	}
	if fe := (*FileError)(nil); errors.As(err, &fe) {
		return err
	}
	return &FileError{File: file, Line: line, Err: err}
}

// Errorf is an error at a place.
func Errorf(file string, line int, format string, args ...any) error {
	return &FileError{File: file, Line: line, Err: fmt.Errorf(format, args...)}
}

var yamlLine = regexp.MustCompile(`(?:^|\s)line (\d+): ?`)

// yamlError turns what a YAML parser says into an error with a place. offset is
// the number of lines before the text that was parsed.
func yamlError(file string, offset int, err error) error {
	msg := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	msg = strings.TrimPrefix(msg, "yaml: ")
	msg = strings.TrimSpace(strings.TrimPrefix(msg, "unmarshal errors:"))
	line := offset + 1
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			line = offset + n
		}
		// Only the first problem: the others mostly follow from it.
		first, _, _ := strings.Cut(msg, "\n")
		msg = strings.TrimSpace(yamlLine.ReplaceAllString(first, " "))
	}
	return &FileError{File: file, Line: line, Err: errors.New("invalid YAML: " + msg)}
}

// ErrTooMuch is wrapped by every error about a limit.
var ErrTooMuch = errors.New("limit exceeded")

// ErrUnsupported is wrapped where a field or file asks for what is not done.
var ErrUnsupported = errors.New("not supported")
