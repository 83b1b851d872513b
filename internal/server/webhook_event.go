package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// eventKind is what a webhook tells of.
type eventKind int

// The closed set of kinds. A request that does not say what it is about asks for a
// repository to be looked at.
const (
	eventPush eventKind = iota
	eventPull
	eventOther
)

// event is what a host says has happened.
type event struct {
	kind eventKind
	// number of the pull request, and its head where that is told.
	number int
	head   string
	// delivery is the host's own name of this message, empty where it has none.
	delivery string
}

// eventHeaders are those in which hosts say what has happened, and deliveryHeaders
// those with the name of the message.
var (
	eventHeaders    = [...]string{"X-Github-Event", "X-Forgejo-Event", "X-Gitea-Event", "X-Gogs-Event", "X-Gitlab-Event", "X-Event-Key"}
	deliveryHeaders = [...]string{"Webhook-Id", "X-Github-Delivery", "X-Forgejo-Delivery", "X-Gitea-Delivery", "X-Gogs-Delivery", "X-Gitlab-Event-Uuid", "X-Request-Uuid", "X-Request-Id"}
)

// kindOf reads a host's word for what has happened.
func kindOf(name string) eventKind {
	name = strings.ToLower(name)
	switch name {
	case "", "push", "create", "delete", "push hook", "tag push hook", "system hook", "repo:push", "repo:refs_changed", "mirror:repo_synchronized":
		return eventPush
	case "pull_request", "pull_request_sync", "pull_request_comment", "pull_request_review", "pull_request_approved", "pull_request_rejected", "issue_comment", "merge request hook", "note hook":
		return eventPull
	}
	if strings.HasPrefix(name, "pullrequest:") || strings.HasPrefix(name, "pr:") {
		return eventPull
	}
	return eventOther
}

// pullPayload is what the payloads of the usual senders say of a pull request.
type pullPayload struct {
	Number      int `json:"number"`
	PullRequest struct {
		Number int `json:"number"`
		ID     int `json:"id"`
		Head   struct {
			SHA string `json:"sha"`
		} `json:"head"`
		Base struct {
			Ref string `json:"ref"`
		} `json:"base"`
	} `json:"pull_request"`
	Issue struct {
		Number      int             `json:"number"`
		PullRequest json.RawMessage `json:"pull_request"`
	} `json:"issue"`
	IsPull     bool `json:"is_pull"`
	Attributes struct {
		IID          int    `json:"iid"`
		NoteableType string `json:"noteable_type"`
		LastCommit   struct {
			ID string `json:"id"`
		} `json:"last_commit"`
	} `json:"object_attributes"`
	MergeRequest struct {
		IID int `json:"iid"`
	} `json:"merge_request"`
	Cloud struct {
		ID int `json:"id"`
	} `json:"pullrequest"`
	Server struct {
		ID   int `json:"id"`
		From struct {
			LatestCommit string `json:"latestCommit"`
		} `json:"fromRef"`
	} `json:"pullRequest"`
}

// eventOf reads what a request tells of.
func eventOf(header http.Header, body []byte) (event, error) {
	var e event
	for _, name := range eventHeaders {
		if value := header.Get(name); value != "" {
			e.kind = kindOf(value)
			break
		}
	}
	for _, name := range deliveryHeaders {
		if e.delivery = header.Get(name); e.delivery != "" {
			break
		}
	}
	if e.kind != eventPull {
		return e, nil
	}
	var p pullPayload
	if err := json.Unmarshal(jsonIn(body), &p); err != nil {
		return e, errNoPayload
	}
	for _, n := range []int{p.PullRequest.Number, p.MergeRequest.IID, p.Cloud.ID, p.Server.ID} {
		if n > 0 && e.number == 0 {
			e.number = n
		}
	}
	switch {
	case e.number > 0:
	case p.Issue.Number > 0: // a comment on an issue is none of our business
		if isPull := p.IsPull || len(p.Issue.PullRequest) > 0 && string(p.Issue.PullRequest) != "null"; isPull {
			e.number = p.Issue.Number
		}
	case p.Attributes.IID > 0 && p.Attributes.NoteableType == "":
		e.number = p.Attributes.IID
	case p.Number > 0:
		e.number = p.Number
	}
	if e.number == 0 {
		e.kind = eventOther
		return e, nil
	}
	for _, sha := range []string{p.PullRequest.Head.SHA, p.Attributes.LastCommit.ID, p.Server.From.LatestCommit} {
		if sha != "" && e.head == "" {
			e.head = strings.ToLower(sha)
		}
	}
	return e, nil
}

// jsonIn is the payload, also of GitHub's other content type.
func jsonIn(body []byte) []byte {
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("payload") != "" {
		return []byte(form.Get("payload"))
	}
	return body
}

const (
	// rememberedFor is how long deliveries are remembered, and mostRemembered, how
	// many of them.
	rememberedFor  = 10 * time.Minute
	mostRemembered = 8192
)

// deliveries remembers what was heard, so that a message that somebody has
// recorded is not worth sending again. Names of deliveries are not signed, so
// what is not a push is known by its content too; the same push may come twice,
// and costs no more than one question to the repository.
type deliveries struct {
	now func() time.Time
	mu  sync.Mutex
	at  map[string]time.Time
}

func newDeliveries(now func() time.Time) *deliveries {
	return &deliveries{now: now, at: map[string]time.Time{}}
}

func (d *deliveries) names(e event, body []byte) []string {
	if e.delivery == "" {
		return nil
	}
	names := []string{"id " + e.delivery}
	if e.kind != eventPush {
		sum := sha256.Sum256(body)
		names = append(names, "content "+hex.EncodeToString(sum[:]))
	}
	return names
}

// again tells whether a message was heard before.
func (d *deliveries) again(e event, body []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range d.names(e, body) {
		if at, ok := d.at[name]; ok && d.now().Sub(at) < rememberedFor {
			return true
		}
	}
	return false
}

// note remembers that a message was heard.
func (d *deliveries) note(e event, body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if len(d.at) >= mostRemembered {
		for name, at := range d.at {
			if now.Sub(at) >= rememberedFor {
				delete(d.at, name)
			}
		}
		if len(d.at) >= mostRemembered {
			clear(d.at) // so many are no recording
		}
	}
	for _, name := range d.names(e, body) {
		d.at[name] = now
	}
}
