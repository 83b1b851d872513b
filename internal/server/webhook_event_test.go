package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestEventOf(t *testing.T) {
	const sha = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
	for name, tc := range map[string]struct {
		reason       string
		header, body string
		want         event
	}{
		"nobody":                  {"a request of one's own asks for the repository", "", `{"repo":"x"}`, event{kind: eventPush}},
		"github push":             {"", "X-GitHub-Event: push", `{"ref":"refs/heads/main"}`, event{kind: eventPush}},
		"github pull":             {"", "X-GitHub-Event: pull_request", `{"action":"opened","number":7,"pull_request":{"number":7,"head":{"sha":"` + sha + `"}}}`, event{kind: eventPull, number: 7, head: sha}},
		"github comment":          {"pull requests are issues there", "X-GitHub-Event: issue_comment", `{"issue":{"number":7,"pull_request":{"url":"x"}}}`, event{kind: eventPull, number: 7}},
		"github issue":            {"an issue is none", "X-GitHub-Event: issue_comment", `{"issue":{"number":7}}`, event{kind: eventOther}},
		"github star":             {"", "X-GitHub-Event: star", `{}`, event{kind: eventOther}},
		"github ping":             {"", "X-GitHub-Event: ping", `{}`, event{kind: eventOther}},
		"gitea pull":              {"", "X-Gitea-Event: pull_request", `{"action":"synchronized","number":3,"pull_request":{"number":3,"head":{"sha":"` + sha + `"}}}`, event{kind: eventPull, number: 3, head: sha}},
		"gitea comment":           {"", "X-Gitea-Event: issue_comment", `{"action":"created","is_pull":true,"issue":{"number":3,"pull_request":{"merged":false}}}`, event{kind: eventPull, number: 3}},
		"gitea issue":             {"its null is none", "X-Gitea-Event: issue_comment", `{"is_pull":false,"issue":{"number":3,"pull_request":null}}`, event{kind: eventOther}},
		"gitlab merge":            {"", "X-Gitlab-Event: Merge Request Hook", `{"object_attributes":{"iid":5,"last_commit":{"id":"` + sha + `"}}}`, event{kind: eventPull, number: 5, head: sha}},
		"gitlab note":             {"", "X-Gitlab-Event: Note Hook", `{"object_attributes":{"id":1,"noteable_type":"MergeRequest"},"merge_request":{"iid":5}}`, event{kind: eventPull, number: 5}},
		"gitlab note on a commit": {"", "X-Gitlab-Event: Note Hook", `{"object_attributes":{"id":1,"iid":2,"noteable_type":"Commit"}}`, event{kind: eventOther}},
		"gitlab tag":              {"", "X-Gitlab-Event: Tag Push Hook", `{}`, event{kind: eventPush}},
		"bitbucket cloud":         {"", "X-Event-Key: pullrequest:updated", `{"pullrequest":{"id":9}}`, event{kind: eventPull, number: 9}},
		"bitbucket server":        {"", "X-Event-Key: pr:from_ref_updated", `{"pullRequest":{"id":9,"fromRef":{"latestCommit":"` + sha + `"}}}`, event{kind: eventPull, number: 9, head: sha}},
		"bitbucket push":          {"", "X-Event-Key: repo:refs_changed", `{}`, event{kind: eventPush}},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if key, value, ok := cutHeader(tc.header); ok {
				header.Set(key, value)
			}
			if got, err := eventOf(header, []byte(tc.body)); err != nil || got != tc.want {
				t.Errorf("%s: got %+v, %v", tc.reason, got, err)
			}
		})
	}
	if _, err := eventOf(http.Header{"X-Github-Event": {"pull_request"}}, []byte("{")); err == nil {
		t.Error("broken JSON is no event")
	}
}

func cutHeader(s string) (key, value string, ok bool) {
	if _, err := fmt.Sscanf(s, "%s", &key); err != nil {
		return "", "", false
	}
	return key[:len(key)-1], s[len(key)+1:], true
}

func TestWhatWasHeardIsNotHeardAgain(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	d := newDeliveries(func() time.Time { return now })
	pull, body := event{kind: eventPull, number: 1, delivery: "a"}, []byte(`{"n":1}`)
	other := event{kind: eventPull, number: 1, delivery: "b"}
	push := event{kind: eventPush, delivery: "c"}
	if d.again(pull, body) {
		t.Error("the first time is no repetition")
	}
	d.note(pull, body)
	d.note(push, body)
	if !d.again(pull, []byte(`{"n":2}`)) {
		t.Error("the same delivery is one")
	}
	if !d.again(other, body) {
		t.Error("the same content by another name is one, since names are not signed")
	}
	if d.again(event{kind: eventPush, delivery: "d"}, body) {
		t.Error("a push may come twice")
	}
	if d.again(event{kind: eventPush}, body) {
		t.Error("who gives no name is always heard")
	}
	now = now.Add(rememberedFor)
	if d.again(pull, body) {
		t.Error("it is not remembered for ever")
	}
	for i := range 3 * mostRemembered {
		d.note(event{kind: eventPush, delivery: strconv.Itoa(i)}, nil)
	}
	if len(d.at) > mostRemembered+2 {
		t.Errorf("%d are remembered", len(d.at))
	}
}

func TestStandardSignatures(t *testing.T) {
	now, body, secret := time.Unix(1_800_000_000, 0), []byte(`{"object_kind":"push"}`), []byte("s3cr3t")
	sign := func(key []byte, at time.Time) http.Header {
		h := http.Header{}
		h.Set("Webhook-Id", "msg_1")
		h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "msg_1.%d.%s", at.Unix(), body)
		h.Set("Webhook-Signature", "v1,AAAA v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		return h
	}
	if !standard(sign(secret, now), body, secret, now) {
		t.Error("a good one is refused")
	}
	coded := []byte("whsec_" + base64.StdEncoding.EncodeToString(secret))
	if !standard(sign(secret, now), body, coded, now) {
		t.Error("a good one with a coded secret is refused")
	}
	for reason, ok := range map[string]bool{
		"another secret":  standard(sign([]byte("x"), now), body, secret, now),
		"another body":    standard(sign(secret, now), []byte("{}"), secret, now),
		"an old one":      standard(sign(secret, now.Add(-signed-time.Second)), body, secret, now),
		"of the future":   standard(sign(secret, now.Add(signed+time.Second)), body, secret, now),
		"no signature":    standard(http.Header{"Webhook-Id": {"x"}, "Webhook-Timestamp": {"1800000000"}}, body, secret, now),
		"a broken secret": standard(sign(nil, now), body, []byte("whsec_!"), now),
	} {
		if ok {
			t.Errorf("%s is taken", reason)
		}
	}
}
