package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/plumb-dev/plumb/internal/source"
)

const (
	// webhookBytes is the largest payload. Those of pushes with very many
	// commits are larger, but then are cut off by their senders.
	webhookBytes = 8 << 20
	// webhookRate and webhookBurst bound the requests of all senders together.
	webhookRate  = 20
	webhookBurst = 100
	// unsignedEvery and unsignedBurst bound what anybody can have us ask of hosts
	// about pull requests, with our tokens, where no secret keeps them from it:
	// hosts allow so many requests an hour.
	unsignedEvery = 5 * time.Second
	unsignedBurst = 60
	// namedRepositories is how many addresses of a payload are looked at.
	namedRepositories = 50
)

// webhook has repositories asked again that somebody says have changed, and pull
// requests looked at. It believes nothing else of what it is told: what there is
// to know is asked of the host.
type webhook struct {
	server   *Server
	limit    *rate.Limiter
	unsigned *rate.Limiter
	heard    *deliveries
}

func newWebhook(s *Server) *webhook {
	return &webhook{
		server: s, heard: newDeliveries(time.Now),
		limit: rate.NewLimiter(webhookRate, webhookBurst), unsigned: rate.NewLimiter(rate.Every(unsignedEvery), unsignedBurst),
	}
}

func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code, result, text := h.handle(w, r)
	h.server.metrics.webhooks.WithLabelValues(result).Inc()
	answer(w, code, text)
}

func (h *webhook) handle(w http.ResponseWriter, r *http.Request) (code int, result, text string) {
	if !h.limit.Allow() {
		return http.StatusTooManyRequests, "limited", "too many requests: try again in a second"
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, webhookBytes))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return http.StatusRequestEntityTooLarge, "invalid", fmt.Sprintf("the payload is larger than %d bytes", webhookBytes)
		}
		return http.StatusBadRequest, "invalid", "the payload cannot be read"
	}
	p := h.server.leading.Load()
	from := h.server.senderOf(r, body, p)
	if !from.known {
		return http.StatusUnauthorized, "refused", "the signature or token does not match the webhook's secret"
	}
	e, err := eventOf(r.Header, body)
	if err != nil {
		return http.StatusBadRequest, "invalid", err.Error()
	}
	if e.kind == eventOther {
		return http.StatusOK, "ignored", "nothing is to be done about this event"
	}
	named, err := repositoriesIn(r.URL.Query().Get("repo"), body)
	if err != nil {
		return http.StatusBadRequest, "invalid", err.Error()
	}
	if e.kind == eventPull && !from.proven() && !h.unsigned.Allow() {
		return http.StatusTooManyRequests, "limited", "too many pull requests without a signature: set a secret for the webhook"
	}
	if p == nil {
		return http.StatusServiceUnavailable, "standby", "this server does not lead: send this to the one that does"
	}
	if h.heard.again(e, body) {
		return http.StatusOK, "repeated", "this was heard already"
	}
	code, result, text = p.hear(e, named, from)
	if code == http.StatusOK {
		h.heard.note(e, body)
	}
	return code, result, text
}

// hear does what is to be done about an event in the repositories that are named.
func (p *parts) hear(e event, named []string, from sender) (code int, result, text string) {
	count, refused := 0, 0
	for _, used := range p.controller.Repositories() {
		switch {
		case !namesRepository(named, used):
		case !from.mayTellOf(p, used):
			refused++
		case e.kind == eventPull:
			count++
			if p.reviewer != nil {
				p.reviewer.Heard(used, e.number, e.head)
			}
			p.mergesMoved(used)
		default:
			count++
			p.refresh(used)
			if p.reviewer != nil {
				p.reviewer.Moved(used)
			}
		}
	}
	switch {
	case count == 0 && refused > 0:
		return http.StatusUnauthorized, "refused", "the signature or token does not match the secret for this repository"
	case count == 0:
		return http.StatusOK, "unknown", "no Application uses this repository"
	case e.kind == eventPull:
		return http.StatusOK, "pull", "the pull request is looked at"
	}
	return http.StatusOK, "refreshed", fmt.Sprintf("%d repositories are looked at again", count)
}

// pushPayload is what the payloads of the usual senders say of a repository.
type pushPayload struct {
	Repo       any              `json:"repo"`
	RepoURL    string           `json:"repoURL"`
	Repository payloadRepo      `json:"repository"`
	Project    payloadRepo      `json:"project"`
	Resource   *pushPayloadPart `json:"resource"`
	Server     struct {
		To pushPayloadPart `json:"toRef"`
	} `json:"pullRequest"` // of Bitbucket Data Center
}

var errNoPayload = errors.New(`the payload is no JSON of a push: send {"repo": "URL"}`)

type pushPayloadPart struct {
	Repository payloadRepo `json:"repository"`
}

// payloadRepo has the addresses of a repository as GitHub, GitLab, Gitea, Gogs,
// Bitbucket and Azure DevOps write them.
type payloadRepo struct {
	HTMLURL    string          `json:"html_url"`
	CloneURL   string          `json:"clone_url"`
	SSHURL     string          `json:"ssh_url"`
	GitURL     string          `json:"git_url"`
	WebURL     string          `json:"web_url"`
	GitHTTPURL string          `json:"git_http_url"`
	GitSSHURL  string          `json:"git_ssh_url"`
	Homepage   string          `json:"homepage"`
	RemoteURL  string          `json:"remoteUrl"`
	Links      json.RawMessage `json:"links"`
}

type payloadLink struct {
	Href string `json:"href"`
}

func (p payloadRepo) addresses() []string {
	all := []string{p.HTMLURL, p.CloneURL, p.SSHURL, p.GitURL, p.WebURL, p.GitHTTPURL, p.GitSSHURL, p.Homepage, p.RemoteURL}
	var cloud struct {
		HTML payloadLink `json:"html"`
	}
	if json.Unmarshal(p.Links, &cloud) == nil {
		all = append(all, cloud.HTML.Href)
	}
	var server struct {
		Clone []payloadLink `json:"clone"`
	}
	if json.Unmarshal(p.Links, &server) == nil {
		for _, link := range server.Clone {
			all = append(all, link.Href)
		}
	}
	return all
}

// repositoriesIn gives the addresses that a request names.
func repositoriesIn(query string, body []byte) ([]string, error) {
	all := []string{query}
	if len(strings.TrimSpace(string(body))) > 0 {
		var p pushPayload
		if err := json.Unmarshal(jsonIn(body), &p); err != nil {
			return nil, errNoPayload
		}
		if repo, ok := p.Repo.(string); ok {
			all = append(all, repo)
		}
		all = append(all, p.RepoURL)
		all = append(all, p.Repository.addresses()...)
		all = append(all, p.Project.addresses()...)
		if p.Resource != nil {
			all = append(all, p.Resource.Repository.addresses()...)
		}
		all = append(all, p.Server.To.Repository.addresses()...)
	}
	var named []string
	for _, address := range all {
		if address != "" && len(named) < namedRepositories {
			named = append(named, address)
		}
	}
	if len(named) == 0 {
		return nil, errors.New(`no repository is named: send a push payload, {"repo": "URL"}, or ?repo=URL`)
	}
	return named, nil
}

// namesRepository tells whether one of the addresses means a repository.
func namesRepository(named []string, used string) bool {
	for _, address := range named {
		if source.SameRepo(address, used) || sameOnTheWeb(address, used) {
			return true
		}
	}
	return false
}

// sameOnTheWeb compares addresses as Argo CD does for webhooks: the port, the
// user and the ssh subdomains of hosting services do not matter, because a
// payload has the address of the page and the Application that of the clone.
func sameOnTheWeb(a, b string) bool {
	hostA, pathA, okA := webAddress(a)
	hostB, pathB, okB := webAddress(b)
	return okA && okB && hostA == hostB && pathA == pathB
}

func webAddress(address string) (host, path string, ok bool) {
	if h, p, scp := source.SplitSCP(address); scp {
		address = "ssh://" + h + "/" + strings.TrimPrefix(p, "/")
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return "", "", false
	}
	host = strings.ToLower(u.Hostname())
	if rest, ok := strings.CutPrefix(host, "altssh."); ok {
		host = rest
	}
	host = strings.TrimPrefix(host, "ssh.")
	path = strings.ToLower(strings.Trim(u.Path, "/"))
	return host, strings.TrimSuffix(path, ".git"), path != ""
}
