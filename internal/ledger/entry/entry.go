// Package entry is what the ledger records: who did what to which Application,
// with which commits and which plan, and how it ended. It is pure: it knows how
// an entry is written as bytes, bounded and matched with a question, and neither
// where entries are kept nor who makes them.
package entry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Version is the version of the encoding. An entry is signed as the bytes it was
// written as, so fields are never added to a version: they make a new one.
const Version = 1

// MaxSize is the most bytes that an entry has as it is written.
const MaxSize = 48 << 10

// Entry is one record. The zero values of its fields mean that the entry has
// nothing to say about them.
type Entry struct {
	// V is the version of the encoding; Encode sets it.
	V int `json:"v"`
	// Index is the place in the log, from 0. It is not part of what is written:
	// the place itself is what the log vouches for.
	Index       uint64            `json:"-"`
	Time        time.Time         `json:"time"`
	Kind        Kind              `json:"kind"`
	Application Application       `json:"application,omitzero"`
	Project     string            `json:"project,omitempty"`
	Actor       Actor             `json:"actor,omitzero"`
	Revisions   []Revision        `json:"revisions,omitempty"`
	Plan        Plan              `json:"plan,omitzero"`
	Operation   string            `json:"operation,omitempty"` // ties what started to what finished
	Result      Result            `json:"result,omitempty"`
	Message     string            `json:"message,omitempty"`
	Details     map[string]string `json:"details,omitempty"`
	// Cut tells that something was left out because the entry was too large.
	Cut bool `json:"cut,omitempty"`
}

// Application names an Application. The UID tells two of the same name apart
// that were there one after the other.
type Application struct {
	Group     string `json:"group,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// String is namespace/name.
func (a Application) String() string {
	if a.Namespace == "" {
		return a.Name
	}
	return a.Namespace + "/" + a.Name
}

// Actor is who acted: a person, a service account, or Plumb itself.
type Actor struct {
	User   string   `json:"user,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Via is by what means: kubectl, the command line, a webhook, the loop.
	Via string `json:"via,omitempty"`
}

// IsZero lets JSON leave it out.
func (a Actor) IsZero() bool { return a.User == "" && len(a.Groups) == 0 && a.Via == "" }

// Revision is a commit, a chart's version or an artifact's digest.
type Revision struct {
	Repo        string    `json:"repo,omitempty"`
	Revision    string    `json:"revision,omitempty"`
	Author      string    `json:"author,omitempty"`
	AuthorEmail string    `json:"authorEmail,omitempty"`
	CommittedAt time.Time `json:"committedAt,omitzero"`
	Signature   Signature `json:"signature,omitzero"`
}

// Signature is what is known of a commit's signature.
type Signature struct {
	Status string `json:"status,omitempty"` // as the verifier says: good, bad, none, unknown key, …
	Key    string `json:"key,omitempty"`
	Signer string `json:"signer,omitempty"`
}

// Plan names a plan by its digest, and says how much it changes.
type Plan struct {
	Name   string `json:"name,omitempty"`
	Digest string `json:"digest,omitempty"`
	Counts Counts `json:"counts,omitzero"`
	Risk   string `json:"risk,omitempty"`
}

// Counts are the changes of a plan by action.
type Counts struct {
	Create  int `json:"create,omitempty"`
	Update  int `json:"update,omitempty"`
	Replace int `json:"replace,omitempty"`
	Delete  int `json:"delete,omitempty"`
}

// Total is how many changes there are.
func (c Counts) Total() int { return c.Create + c.Update + c.Replace + c.Delete }

// Encode gives the one way in which an entry is written. It refuses what has no
// known kind or result, or no time, and what is too large: Clean makes it fit.
func Encode(e Entry) ([]byte, error) {
	e.V = Version
	if err := e.check(); err != nil {
		return nil, err
	}
	e.Time = e.Time.UTC().Round(0)
	e.Revisions = slices.Clone(e.Revisions)
	for i := range e.Revisions {
		if t := &e.Revisions[i].CommittedAt; !t.IsZero() {
			*t = t.UTC().Round(0)
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, fmt.Errorf("write an entry: %w", err)
	}
	raw := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("an entry has %d bytes: at most %d are allowed", len(raw), MaxSize)
	}
	return raw, nil
}

func (e *Entry) check() error {
	if !e.Kind.Known() {
		return fmt.Errorf("an entry of the unknown kind %q", e.Kind)
	}
	if !e.Result.known() {
		return fmt.Errorf("an entry with the unknown result %q", e.Result)
	}
	if e.Time.IsZero() {
		return errors.New("an entry without a time")
	}
	return nil
}

// Decode reads what Encode wrote, and nothing else: other spellings of the same
// entry are refused, so that an entry has one meaning and one hash.
func Decode(raw []byte) (Entry, error) {
	var version struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(raw, &version); err != nil {
		return Entry{}, fmt.Errorf("not an entry: %w", err)
	}
	if version.V > Version {
		return Entry{}, fmt.Errorf("an entry of version %d: a newer Plumb wrote it, this one reads up to %d", version.V, Version)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var e Entry
	if err := decoder.Decode(&e); err != nil {
		return Entry{}, fmt.Errorf("not an entry: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Entry{}, errors.New("not an entry: something follows it")
	}
	again, err := Encode(e)
	if err != nil {
		return Entry{}, fmt.Errorf("not an entry: %w", err)
	}
	if !bytes.Equal(again, raw) {
		return Entry{}, errors.New("not an entry as Plumb writes it")
	}
	return e, nil
}
