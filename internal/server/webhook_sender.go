package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/scm"
)

// sender is who has sent a webhook, as far as a secret tells.
type sender struct {
	// known is false where the server's own secret is needed, and neither it nor
	// one of a host was shown.
	known bool
	// all is true where the server's own was shown, and hosts are the Secrets of
	// the hosts whose was.
	all   bool
	hosts map[string]bool
	// open is true where the server has no secret of its own.
	open bool
}

// senderOf finds out which secrets a sender knows.
func (s *Server) senderOf(r *http.Request, body []byte, p *parts) sender {
	from := sender{open: len(s.WebhookSecret) == 0, hosts: map[string]bool{}}
	from.all = !from.open && authentic(r, body, s.WebhookSecret)
	if p != nil {
		for _, h := range p.controller.Hosts() {
			if len(h.WebhookSecret) > 0 && authentic(r, body, h.WebhookSecret) {
				from.hosts[h.Name] = true
			}
		}
	}
	from.known = from.open || from.all || len(from.hosts) > 0
	return from
}

// proven tells whether a secret was shown at all.
func (f sender) proven() bool { return f.all || len(f.hosts) > 0 }

// mayTellOf tells whether a sender may speak of a repository: one whose host has a
// secret of its own is spoken of by whoever knows that, or the server's.
func (f sender) mayTellOf(p *parts, repoURL string) bool {
	if f.all {
		return true
	}
	h, ok, err := p.controller.HostOf(repoURL, scm.Under)
	if err == nil && ok && len(h.WebhookSecret) > 0 {
		return f.hosts[h.Name]
	}
	return f.open
}

// signed is how long a signature with a time in it holds.
const signed = 5 * time.Minute

// authentic tells whether the sender knows the secret: by the signature that
// GitHub, Gitea, Forgejo, Gogs or Bitbucket add, by that of the Standard Webhooks,
// or by the token that GitLab sends, or the password of Azure DevOps.
func authentic(r *http.Request, body, secret []byte) bool {
	if len(secret) == 0 {
		return true
	}
	for _, header := range []string{"X-Hub-Signature-256", "X-Hub-Signature", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature", "X-Plumb-Signature-256"} {
		given := r.Header.Get(header)
		if given == "" {
			continue
		}
		sum, err := hex.DecodeString(strings.TrimPrefix(given, "sha256="))
		if err != nil {
			continue // GitHub's older header has SHA-1, which proves nothing
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		if hmac.Equal(sum, mac.Sum(nil)) {
			return true
		}
	}
	if standard(r.Header, body, secret, time.Now()) {
		return true
	}
	token := r.Header.Get("X-Gitlab-Token")
	if token == "" {
		token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	if _, password, ok := r.BasicAuth(); ok {
		token = password
	}
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256(secret)
	return token != "" && subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

// standard checks a signature as standardwebhooks.com describes it: of the id, the
// time and the body. An old one is none.
func standard(header http.Header, body, secret []byte, now time.Time) bool {
	id, at := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if id == "" || err != nil {
		return false
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > signed || age < -signed {
		return false
	}
	if coded, ok := strings.CutPrefix(string(secret), "whsec_"); ok {
		if secret, err = base64.StdEncoding.DecodeString(coded); err != nil || len(secret) == 0 {
			return false
		}
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	want := mac.Sum(nil)
	for _, one := range strings.Fields(header.Get("Webhook-Signature")) {
		coded, ok := strings.CutPrefix(one, "v1,")
		if sum, err := base64.StdEncoding.DecodeString(coded); ok && err == nil && hmac.Equal(sum, want) {
			return true
		}
	}
	return false
}
