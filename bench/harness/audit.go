package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Audit reads what the API server wrote down about the subject's requests.
type Audit struct{ path string }

// Mark is a place in the record.
type Mark int64

// Request is one request of the subject.
type Request struct {
	Verb, Resource, Subresource, Namespace, Name string
	DryRun                                       bool
	Code                                         int
	At                                           time.Time
}

// Word names the request in a tally: "patch applications/status".
func (r Request) Word() string {
	word := r.Verb
	if r.DryRun {
		word = "dry-run"
	}
	if r.Resource == "" {
		return word + " (other)"
	}
	word += " " + r.Resource
	if r.Subresource != "" {
		word += "/" + r.Subresource
	}
	return word
}

// Chatter tells whether the request is one that an idle engine may make: a
// watch, or the renewal of a lease.
func (r Request) Chatter() bool { return r.Verb == "watch" || r.Resource == "leases" }

// Mark returns the end of the record as it is now.
func (a *Audit) Mark() Mark {
	info, err := os.Stat(a.path)
	if err != nil {
		return 0
	}
	return Mark(info.Size())
}

// Since returns the requests that were written down after the mark.
func (a *Audit) Since(mark Mark) ([]Request, error) {
	file, err := os.Open(a.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(int64(mark), io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	var requests []Request
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return requests, nil // what has no end yet is of another time
		}
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		if r, ok := parseRequest(line); ok {
			requests = append(requests, r)
		}
	}
}

func parseRequest(line []byte) (Request, bool) {
	var event struct {
		Stage, Verb, RequestURI string
		StageTimestamp          time.Time
		ObjectRef               struct{ Resource, Subresource, Namespace, Name string }
		ResponseStatus          struct{ Code int }
	}
	if json.Unmarshal(bytes.TrimSpace(line), &event) != nil {
		return Request{}, false
	}
	counted := "ResponseComplete"
	if event.Verb == "watch" {
		counted = "ResponseStarted"
	}
	return Request{
		Verb: event.Verb, Resource: event.ObjectRef.Resource, Subresource: event.ObjectRef.Subresource,
		Namespace: event.ObjectRef.Namespace, Name: event.ObjectRef.Name,
		DryRun: strings.Contains(event.RequestURI, "dryRun=All"),
		Code:   event.ResponseStatus.Code, At: event.StageTimestamp,
	}, event.Stage == counted
}

// Tally counts requests by their words.
func Tally(requests []Request) map[string]int {
	tally := map[string]int{}
	for _, r := range requests {
		tally[r.Word()]++
	}
	return tally
}

// Failures counts the requests that were refused, by words and code.
func Failures(requests []Request) map[string]int {
	tally := map[string]int{}
	for _, r := range requests {
		if r.Code >= 400 {
			tally[fmt.Sprintf("%s: %d", r.Word(), r.Code)]++
		}
	}
	return tally
}

// Work leaves out the chatter.
func Work(requests []Request) []Request {
	return slices.DeleteFunc(slices.Clone(requests), Request.Chatter)
}
