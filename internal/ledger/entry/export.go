package entry

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// WithIndex is an entry as it is shown to programs: with its place in the log.
type WithIndex struct {
	Index uint64 `json:"index"`
	Entry
}

// WriteJSON writes an entry as a line of JSON.
func WriteJSON(w io.Writer, e Entry) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(WithIndex{e.Index, e})
}

// CSV writes entries as a table for spreadsheets.
type CSV struct{ w *csv.Writer }

// NewCSV writes the head of the table.
func NewCSV(w io.Writer) (*CSV, error) {
	c := &CSV{csv.NewWriter(w)}
	return c, c.w.Write([]string{
		"index", "time", "kind", "project", "group", "namespace", "application", "uid", "user", "groups", "via", "operation", "result",
		"repositories", "revisions", "authors", "author emails", "committed at", "signatures",
		"plan", "digest", "create", "update", "replace", "delete", "risk", "message", "details",
	})
}

// Write writes an entry as a row.
func (c *CSV) Write(e Entry) error {
	var repos, revisions, authors, emails, dates, signatures []string
	for _, r := range e.Revisions {
		repos, revisions = append(repos, r.Repo), append(revisions, r.Revision)
		authors, emails = append(authors, r.Author), append(emails, r.AuthorEmail)
		dates, signatures = append(dates, stamp(r.CommittedAt)), append(signatures, r.Signature.Status)
	}
	details := ""
	if len(e.Details) > 0 {
		text, err := json.Marshal(e.Details)
		if err != nil {
			return fmt.Errorf("write the details of entry %d: %w", e.Index, err)
		}
		details = string(text)
	}
	a, n := e.Application, e.Plan.Counts
	row := []string{
		strconv.FormatUint(e.Index, 10), stamp(e.Time), string(e.Kind), e.Project, a.Group, a.Namespace, a.Name, a.UID,
		e.Actor.User, joined(e.Actor.Groups), e.Actor.Via, e.Operation, string(e.Result),
		joined(repos), joined(revisions), joined(authors), joined(emails), joined(dates), joined(signatures),
		e.Plan.Name, e.Plan.Digest, strconv.Itoa(n.Create), strconv.Itoa(n.Update), strconv.Itoa(n.Replace), strconv.Itoa(n.Delete),
		e.Plan.Risk, e.Message, details,
	}
	for i := range row {
		row[i] = Harmless(row[i])
	}
	return c.w.Write(row)
}

// Flush writes what is still to be written.
func (c *CSV) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func joined(list []string) string {
	if strings.Join(list, "") == "" {
		return ""
	}
	return strings.Join(list, "; ")
}

// Harmless keeps a spreadsheet from taking a text for a formula: an apostrophe
// before it makes it a text.
func Harmless(cell string) string {
	switch r := strings.TrimLeft(cell, " \t\r\n\"'"); {
	case r == "":
		return cell
	case strings.ContainsRune("=+-@|%＝＋－＠", []rune(r)[0]):
		return "'" + cell
	}
	return cell
}
