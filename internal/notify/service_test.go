package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestServices sends one message by each service to a real HTTP server, and
// looks at what arrives and at what an error says.
func TestServices(t *testing.T) {
	tests := map[string]struct {
		reason    string
		cm        string // @URL@ and HOST stand for the server
		recipient string
		section   map[string]any
		method    string
		path      string
		want      []string
	}{
		"slack":              {reason: "with what the template says for Slack alone", cm: "token: $token\napiURL: @URL@/api", recipient: "ops", section: map[string]any{"attachments": `[{"title":"x"}]`, "blocks": "{broken", "icon": ":rocket:"}, path: "/api/chat.postMessage", want: []string{`"channel":"ops"`, `"text":"a text"`, `"attachments":[{"title":"x"}]`, `"icon_emoji":":rocket:"`}},
		"teams":              {reason: "as an adaptive card", cm: "recipientUrls:\n  ops: @URL@/hook?t=$token", recipient: "ops", section: map[string]any{"title": "mine", "facts": `[{"name":"a","value":"b"}]`}, path: "/hook?t=" + canary, want: []string{"AdaptiveCard", `"text":"mine"`, `"title":"a"`}},
		"mattermost":         {reason: "by its API", cm: "apiURL: @URL@\ntoken: $token", recipient: "id", path: "/api/v4/posts", want: []string{`"channel_id":"id"`, `"message":"a text"`}},
		"webex":              {reason: "to a person", cm: "apiURL: @URL@\ntoken: $token", recipient: "a@example.com", path: "/v1/messages", want: []string{`"toPersonEmail":"a@example.com"`}},
		"grafana":            {reason: "with tags", cm: "apiUrl: @URL@/api\napiKey: $token", recipient: "a|b", path: "/api/annotations", want: []string{`"tags":["a","b"]`}},
		"alertmanager":       {reason: "with the name of the trigger", cm: "targets: [HOST]\nbearerToken: $token", path: "/api/v2/alerts", want: []string{`"alertname":"on-pinned"`, `"application":"web"`}},
		"newrelic":           {reason: "the recipient cannot leave its place in the path", cm: "apiURL: @URL@\napiKey: $token", recipient: "../x", path: "/v2/applications/..%2Fx/deployments.json", want: []string{`"description":"a text"`}},
		"webhook.test":       {reason: "as the template says", cm: "url: @URL@/base/\nheaders:\n- name: Authorization\n  value: token $token", section: map[string]any{"method": "PATCH", "path": "/x/../y", "body": "own"}, method: "PATCH", path: "/base/x/../y", want: []string{"own"}},
		"cloudevents.test":   {reason: "structured", cm: "url: @URL@/events", path: "/events", want: []string{`"type":"dev.plumb.pinned"`, `"subject":"argocd/web"`, `"plumbproject":"shop"`, `"text":"a text"`}},
		"cloudevents.binary": {reason: "binary", cm: "url: @URL@/events\nmode: binary\nheaders:\n- name: X-Token\n  value: $token", path: "/events", want: []string{`"trigger":"on-pinned"`}},
		"shoutrrr.test":      {reason: "any service of shoutrrr", cm: "url: generic://HOST/hook?disabletls=yes&@Authorization=$token", path: "/hook", want: []string{"a text"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, code := range []int{http.StatusOK, http.StatusForbidden} {
				r := newReceiver(t, func(_ int, w http.ResponseWriter) {
					w.WriteHeader(code)
					if code == http.StatusOK {
						fmt.Fprint(w, `{"ok":true}`)
					} else {
						fmt.Fprintf(w, "no: Bearer %s at https://user:%s@host/%s", canary, canary, canary)
					}
				})
				host := strings.TrimPrefix(r.URL, "http://")
				c := mustParse(t, map[string]string{"service." + name: strings.NewReplacer("@URL@", r.URL, "HOST", host).Replace(tt.cm)}, map[string]string{"token": canary})
				m := Message{Title: "a title", Text: "a text", Section: tt.section, Event: Event{ID: "1", Time: time.Now(), Trigger: OnPinned, Application: Application{Namespace: "argocd", Name: "web"}, Project: Project{Name: "shop"}}}
				own := name[strings.LastIndex(name, ".")+1:]
				err := c.Deliver(t.Context(), nil, Destination{Service: own, Recipient: tt.recipient}, m)
				if (err == nil) != (code == http.StatusOK) {
					t.Fatalf("%s: the answer %d gives the error %v", tt.reason, code, err)
				}
				if err != nil {
					if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "\n") {
						t.Errorf("the error shows a secret: %v", err)
					}
					if !strings.Contains(err.Error(), "403") {
						t.Errorf("the error does not say why: %v", err)
					}
					continue
				}
				got := r.all()
				if len(got) != 1 || got[0].path != tt.path || got[0].method != or(tt.method, "POST") {
					t.Fatalf("%s: got %+v", tt.reason, got)
				}
				for _, want := range tt.want {
					if !strings.Contains(got[0].body, want) {
						t.Errorf("%s: %q is not in %s", tt.reason, want, got[0].body)
					}
				}
				if strings.Contains(tt.cm, "$token") && !strings.Contains(fmt.Sprint(got[0].header, got[0].path), canary) {
					t.Errorf("the credential is not sent: %v", got[0].header)
				}
				if name == "cloudevents.binary" && got[0].header.Get("Ce-Type") != "dev.plumb.pinned" {
					t.Errorf("the event is not in binary mode: %v", got[0].header)
				}
			}
		})
	}
}

func TestSlackSaysNo(t *testing.T) {
	for answer, final := range map[string]bool{`{"ok":false,"error":"channel_not_found"}`: true, `{"ok":false,"error":"ratelimited"}`: false, `<html>`: false} {
		err := slackSays([]byte(answer))
		if err == nil || isPermanent(err) != final {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestBelow(t *testing.T) {
	for path, want := range map[string]string{"": "https://a.example.com", "/x": "https://a.example.com/x", "x?y=z": "https://a.example.com/x?y=z", "@evil.example.com": "https://a.example.com/@evil.example.com", "//evil.example.com": "https://a.example.com/evil.example.com"} {
		got, err := below("https://a.example.com", path)
		if got != want || err != nil {
			t.Errorf("%q gives %q (%v), want %q", path, got, err, want)
		}
	}
}

func TestShoutrrrJudged(t *testing.T) {
	for text, final := range map[string]bool{"got unexpected HTTP status: 404 Not Found": true, "unexpected status code 429": false, "status 503": false, "no such host": false} {
		if got := isPermanent(judged(errors.New(text))); got != final {
			t.Errorf("%s: final is %v", text, got)
		}
	}
}

// mailServer speaks as much SMTP as it takes to receive.
type mailServer struct {
	net.Listener
	mu   sync.Mutex
	text strings.Builder
}

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{Listener: l}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(c)
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	return s
}

func (s *mailServer) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 test\r\n")
	data := false
	for lines := bufio.NewScanner(c); lines.Scan(); {
		line := lines.Text()
		s.mu.Lock()
		s.text.WriteString(line + "\n")
		s.mu.Unlock()
		switch {
		case data && line == ".":
			data = false
			fmt.Fprint(c, "250 ok\r\n")
		case data:
		case strings.HasPrefix(line, "EHLO"):
			fmt.Fprint(c, "250-test\r\n250 AUTH PLAIN\r\n")
		case strings.HasPrefix(line, "AUTH"):
			fmt.Fprint(c, "235 ok\r\n")
		case line == "DATA":
			data = true
			fmt.Fprint(c, "354 go on\r\n")
		case line == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}

func TestMail(t *testing.T) {
	s := newMailServer(t)
	_, port, _ := net.SplitHostPort(s.Addr().String())
	c := mustParse(t, map[string]string{
		"service.email": "host: 127.0.0.1\nport: " + port + "\nfrom: Plumb <plumb@example.com>\nusername: plumb\npassword: $password",
		"template.mail": "message: short\nemail:\n  subject: \"{{.app.metadata.name}}\\r\\nBcc: evil@example.com\"\n  body: 'a long body'",
	}, map[string]string{"password": canary})
	e := Event{Trigger: OnPinned, Application: Application{Name: "web"}}.complete(time.Now())
	m, err := c.Preview(e, "email", Destination{Service: "email"}, "mail")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Deliver(t.Context(), nil, Destination{Service: "email", Recipient: "a@example.com, Bob <b@example.com>"}, m); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	got := s.text.String()
	s.mu.Unlock()
	for _, want := range []string{"RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>", "a long body", "web Bcc: evil@example.com"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\nBcc:") {
		t.Errorf("a template adds a header:\n%s", got)
	}
	s.Close()
	err = c.Deliver(t.Context(), nil, Destination{Service: "email", Recipient: "a@example.com"}, m)
	if err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("without a server the error is %v", err)
	}
	if err := c.Deliver(t.Context(), nil, Destination{Service: "email", Recipient: "nobody"}, m); err == nil {
		t.Error("mail is sent to nobody")
	}
}

func TestScrubber(t *testing.T) {
	tests := map[string]struct{ reason, secret, text, want string }{
		"telegram": {"a token in a path", "123456789:AAcanary-canary_canary", `sending POST request to "https://api.telegram.org/bot123456789:AAcanary-canary_canary/sendMessage": dial tcp: no route`, "no route"},
		"slack":    {"a token taken apart", "xoxb-123456789012-123456789012-AAcanaryAAcanaryAAcanary", "bad token xoxb:AAcanaryAAcanaryAAcanary", "bad token"},
		"url":      {"an address with a token", "discord://AAcanaryAAcanary@1234567890123", "cannot send to discord://AAcanaryAAcanary@1234567890123: 401", "cannot send to"},
		"foreign":  {"a secret that nobody has named", "something else", "answer: Authorization: Bearer AAcanaryAAcanary; see https://u:AAcanary@host.example.com/AAcanary?x=AAcanary", "host.example.com"},
		"escaped":  {"a secret in a query", "AAcanary/+ =AAcanary", "GET /x?token=AAcanary%2F%2B+%3DAAcanary failed", "failed"},
		"lines":    {"one line, and short", "something else", "a\r\nb\x1b[31m " + strings.Repeat("x", 1000), "a b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := scrubber{}.with(tt.secret).clean(tt.text)
			if strings.Contains(got, "canary") || !strings.Contains(got, tt.want) || len(got) > maxErrorText || strings.ContainsFunc(got, isControl) {
				t.Errorf("%s: %q", tt.reason, got)
			}
		})
	}
}

func TestBusy(t *testing.T) {
	b := newBusy()
	ctx, cancel := context.WithCancel(t.Context())
	begun, end := make(chan struct{}), make(chan struct{})
	go func() { <-begun; cancel() }()
	if err := b.do(ctx, "ops", func() error { close(begun); <-end; return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that does not end holds up others: %v", err)
	}
	if err := b.do(t.Context(), "ops", func() error { return nil }); err == nil || !strings.Contains(err.Error(), "still on its way") {
		t.Errorf("a second call begins while the first runs: %v", err)
	}
	if err := b.do(t.Context(), "other", func() error { return nil }); err != nil {
		t.Errorf("another recipient waits: %v", err)
	}
	close(end)
	eventually(t, "the recipient is free again", func() bool { return b.do(t.Context(), "ops", func() error { return nil }) == nil })
}
