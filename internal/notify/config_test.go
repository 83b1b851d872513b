package notify

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestParseArgo(t *testing.T) {
	tests := map[string]struct {
		reason string
		cm     map[string]string
		secret map[string][]byte
		want   []string // problems, as far as they must say
	}{
		"documented services": {
			reason: "the services of Argo CD's documentation are read as they stand there",
			cm: map[string]string{
				"service.slack":          "token: $slack-token\nusername: argocd\nicon: ':robot:'\nsigningSecret: $slack-token",
				"service.email.gmail":    "username: $email-username\npassword: $email-password\nhost: smtp.gmail.com\nport: 465\nfrom: $email-username",
				"service.teams":          "recipientUrls:\n  channelName: $hook",
				"service.opsgenie":       "apiUrl: api.opsgenie.com\napiKeys:\n  team: $slack-token",
				"service.grafana":        "apiUrl: https://grafana.example.com/api\napiKey: $slack-token",
				"service.googlechat":     "webhooks:\n  spaceName: $hook",
				"service.telegram":       "token: $telegram",
				"service.mattermost":     "apiURL: https://mattermost.example.com\ntoken: $slack-token",
				"service.webex":          "token: $slack-token",
				"service.newrelic":       "apiKey: $slack-token",
				"service.alertmanager":   "targets:\n- 10.5.39.39:9093\nscheme: https\napiPath: /api/events\nbasicAuth:\n  username: x\n  password: $slack-token\ntimeout: 3",
				"service.pushover":       "token: $slack-token",
				"service.pagerdutyv2":    "serviceKeys:\n  my-service: $key",
				"service.webhook.github": "url: https://api.github.com\nheaders:\n- name: Authorization\n  value: token $slack-token\nretryMax: 3",
			},
			secret: map[string][]byte{"slack-token": []byte("xoxb-1"), "email-username": []byte("a@example.com"), "email-password": []byte("p"), "hook": []byte("https://example.com/hook?key=a&token=b"), "telegram": []byte("123:abc"), "key": []byte("0123456789abcdef0123456789abcdef")},
		},
		"not supported": {
			reason: "what is not sent is named, with what to do instead",
			cm: map[string]string{
				"service.github":     "appID: 1",
				"service.awssqs":     "queue: x",
				"service.rocketchat": "email: x",
				"service.pagerduty":  "token: x",
				"service.carrier":    "pigeon: x",
				"template.t":         "message: x\ngithub:\n  status:\n    state: success\nslack:\n  groupingKey: x\n  attachments: '[]'",
			},
			want: []string{"service.awssqs: the service awssqs is not supported", "service.carrier", "service.github: the service github is not supported: nothing is sent by it; Plumb itself", "service.pagerduty", "service.rocketchat", "template.t: section github is not used", "template.t: slack.groupingKey is not used"},
		},
		"broken": {
			reason: "each mistake names its key, and the rest is used",
			cm: map[string]string{
				"service.slack":      "token: $gone",
				"service.a.b.c":      "x: y",
				"service.teams":      "recipientUrls:\n  x: ftp://" + canary,
				"service.shoutrrr.a": "url: nosuch://" + canary,
				"service.shoutrrr.b": "url: $url",
				"service.webhook.w":  "url: https://example.com\nnonsense: 1",
				"template.s":         "message: '{{.secrets.token}}'",
				"template.p":         "message: '{{if}}'",
				"trigger.t":          "- when: '1 +'\n  send: [x]",
				"trigger.n":          "- when: 'true'",
				"subscriptions":      "- recipients: [slack]\n  selector: '==='",
				"grouping":           "idle: forever",
				"whatever":           "x",
			},
			secret: map[string][]byte{"url": []byte("logger://" + canary)},
			want: []string{"grouping: \"forever\"", "service.a.b.c: the key is not", "service.shoutrrr.a: url: shoutrrr knows no service", "service.shoutrrr.b: url: logger", "service.slack: $gone is not in the Secret", "service.teams: recipientUrls.x: it is not", "service.webhook.w: nonsense is not used", "subscriptions: entry 1: selector",
				"template.p: message:", "template.s: it uses .secrets", "trigger.n: entry 1 sends no template", "trigger.t: when:", "whatever: the key is not understood"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, problems := ParseArgo(tt.cm, tt.secret)
			if len(problems) != len(tt.want) {
				t.Errorf("%s: %d problems, want %d: %v", tt.reason, len(problems), len(tt.want), problems)
			}
			for i := range min(len(problems), len(tt.want)) {
				if !strings.HasPrefix(problems[i].String(), tt.want[i]) {
					t.Errorf("%s: %q, want %q", tt.reason, problems[i], tt.want[i])
				}
			}
			if text := fmt.Sprintf("%v %+v %#v", problems, c, c); strings.Contains(text, canary) || strings.Contains(text, "xoxb-1") {
				t.Errorf("a secret is in %s", text)
			}
		})
	}
}

// TestArgoCatalogue reads the catalogue that Argo CD installs, as its users have
// it, and writes every message of it.
func TestArgoCatalogue(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-cd/v3").Output()
	if err != nil {
		t.Fatalf("find the module of Argo CD: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "notifications_catalog", "install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var cm corev1.ConfigMap
	if err := yaml.Unmarshal(raw, &cm); err != nil {
		t.Fatal(err)
	}
	c, problems := ParseArgo(cm.Data, nil)
	for _, p := range problems {
		t.Errorf("problem: %v", p)
	}
	c.context = map[string]string{"argocdUrl": "https://plumb.example.com"}
	e := Event{Object: app("web", "Degraded", nil)}.complete(time.Now())
	for _, each := range c.Templates() {
		for _, kind := range []string{"slack", "email", "teams"} {
			m, err := c.Preview(e, kind, Destination{Service: kind}, each.Name)
			if err != nil {
				t.Errorf("%s for %s: %v", each.Name, kind, err)
			}
			if !strings.Contains(m.Text, "web") || m.Title == "" {
				t.Errorf("%s for %s says %q %q", each.Name, kind, m.Title, m.Text)
			}
			if strings.Contains(fmt.Sprint(m), canary) {
				t.Errorf("%s for %s shows the repository's password", each.Name, kind)
			}
		}
	}
	got, err := c.Try("on-health-degraded", e)
	if err != nil || len(got) == 0 || !got[0].Met {
		t.Errorf("on-health-degraded: %+v %v", got, err)
	}
}

func TestCatalogue(t *testing.T) {
	c, _ := ParseArgo(nil, nil)
	all := append([]Trigger{OnCreated, OnDeleted, OnDeployed, OnHealthDegraded, OnSyncFailed, OnSyncRunning, OnSyncStatusUnknown, OnSyncSucceeded}, eventTriggers...)
	for _, trigger := range all {
		conditions, _, ok := c.trigger(string(trigger))
		if !ok {
			t.Errorf("%s has no conditions", trigger)
			continue
		}
		e := Event{
			Trigger: trigger, Application: Application{Namespace: "argocd", Name: "web"}, Message: "why it is so", Actor: "ann",
			Commit: Commit{Revision: "0123456789abcdef", Subject: "more replicas", Author: "Bob"}, Plan: &Plan{Name: "web-1", Update: 3}, Links: []Link{{"plan", "https://plumb.example.com/p"}},
		}.complete(time.Now())
		m, err := c.Preview(e, "slack", Destination{Service: "slack"}, conditions[0].Send...)
		if err != nil {
			t.Errorf("%s: %v", trigger, err)
		}
		for _, want := range []string{"web", "(by ann)", "[argocd]", "why it is so", "revision 0123456789ab: more replicas (Bob)", "plan web-1: 0 to create, 3 to update", "plan: https://plumb.example.com/p"} {
			if !strings.Contains(m.Text, want) {
				t.Errorf("%s does not say %q:\n%s", trigger, want, m.Text)
			}
		}
	}
	if got := len(c.Triggers()); got != len(all) {
		t.Errorf("%d triggers are built in, want %d", got, len(all))
	}
}

func TestParseSubscriptions(t *testing.T) {
	tests := map[string]struct {
		reason      string
		annotations map[string]string
		want        []string
		problems    int
	}{
		"short forms": {
			reason: "with and without a trigger, with several recipients and with none",
			annotations: map[string]string{
				"notifications.argoproj.io/subscribe.on-deployed.slack": "a; b ;;c",
				"notifications.argoproj.io/subscribe.email":             "ops@example.com",
				"notifications.argoproj.io/subscribe.on-x.hook":         "",
				"notifications.plumb.dev/subscribe.on-y.hook":           "",
				"notifications.argoproj.io/notified":                    "x",
				"other/subscribe.on-x.hook":                             "x",
			},
			want: []string{"/email/ops@example.com", "on-deployed/slack/a", "on-deployed/slack/b", "on-deployed/slack/c", "on-x/hook/", "on-y/hook/"},
		},
		"long form": {
			reason: "each trigger with each destination",
			annotations: map[string]string{"notifications.argoproj.io/subscriptions": `
- trigger: [on-a, on-b]
  destinations:
  - service: slack
    recipients: [x, w]
  - service: hook
- destinations:
  - service: slack
    recipients: [z]
`},
			want: []string{"on-a/slack/x", "on-a/slack/w", "on-a/hook/", "on-b/slack/x", "on-b/slack/w", "on-b/hook/", "/slack/z"},
		},
		"broken": {
			reason: "what cannot be read is said, and the rest holds",
			annotations: map[string]string{
				"notifications.argoproj.io/subscribe.":         "x",
				"notifications.argoproj.io/subscribe..slack":   "x",
				"notifications.argoproj.io/subscribe.on-a.b":   "evil\r\nBcc: x",
				"notifications.argoproj.io/subscribe.on-c.d":   strings.Repeat("x", 20000),
				"notifications.argoproj.io/subscribe.on-e.f":   "good",
				"notifications.argoproj.io/subscriptions":      "- trigger: [on-a]",
				"notifications.plumb.dev/subscriptions.second": "[]",
			},
			want: []string{"on-e/f/good"}, problems: 5,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			found, problems := ParseSubscriptions(tt.annotations)
			var got []string
			for _, s := range found {
				got = append(got, s.Trigger+"/"+s.Service+"/"+s.Recipient)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s:\n%s", tt.reason, diff)
			}
			if len(problems) != tt.problems {
				t.Errorf("%s: problems %v", tt.reason, problems)
			}
		})
	}
}

func TestTemplatesAreBounded(t *testing.T) {
	tests := map[string]struct {
		reason, text, want string
	}{
		"loop":         {"a loop without end is ended", `{{define "x"}}{{template "x" .}}{{template "x" .}}{{end}}{{template "x" .}}`, "maximum template depth|takes longer"},
		"counting":     {"an empty loop over a number too", `{{range 2000000000}}{{end}}`, "takes longer"},
		"nested":       {"and loops in one another", `{{$l := until 9000}}{{range $l}}{{range $l}}{{range $l}}{{end}}{{end}}{{end}}`, "takes longer"},
		"big number":   {"nothing is repeated a million times", `{{repeat 1000000000 "x"}}`, "numbers up to"},
		"indent":       {"not even by blanks", `{{indent 1000000000 "x"}}`, "numbers up to"},
		"doubling":     {"a text cannot be doubled for ever", `{{$x := "0123456789"}}{{range until 60}}{{$x = printf "%s%s" $x $x}}{{end}}`, "makes a value of more than"},
		"doubled list": {"nor a list", `{{$x := list 1 2}}{{range until 60}}{{$x = list $x $x}}{{end}}{{$x}}`, "makes a value of more than"},
		"output":       {"what is written is bounded", `{{range until 9000}}0123456789{{end}}`, "it makes more than"},
		"environment":  {"the environment is not there", `{{env "HOME"}}`, "not defined"},
		"network":      {"nor is the network", `{{getHostByName "localhost"}}`, "not defined"},
		"itself":       {"nothing holds itself", `{{$d := dict "a" 1}}{{$_ := set $d "d" $d}}{{$d}}`, "not defined"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := parseLeaf("t", tt.text)
			var text string
			if err == nil {
				text, err = l.execute(map[string]any{})
			}
			said := func(want string) bool { return err != nil && strings.Contains(err.Error(), want) }
			if !slices.ContainsFunc(strings.Split(tt.want, "|"), said) {
				t.Errorf("%s: %.100q, %v, want %q", tt.reason, text, err, tt.want)
			}
		})
	}
	l, err := parseLeaf("t", `{{range $i, $x := .list}}{{if $i}}, {{end}}{{$x | upper | printf "%s-%d" "a" | default "b"}}{{else}}none{{end}} {{.missing}}{{index .list 0 | quote}} {{(call .time.Parse "2026-01-02T03:04:05Z").Year}}`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.execute(map[string]any{"list": []any{"x"}, "time": timeHelpers()})
	if want := `a-%!d(string=X) "x" 2026`; got != want || err != nil {
		t.Errorf("got %q %v, want %q", got, err, want)
	}
}

func TestConditions(t *testing.T) {
	tests := map[string]struct {
		reason, when, oncePer string
		bad                   bool
		met                   bool
		per                   string
	}{
		"argo's":         {reason: "as the catalogue writes them", when: "app.status.operationState != nil and app.status.operationState.phase in ['Succeeded'] and app.status.health.status == 'Healthy'", oncePer: "app.status.operationState?.syncResult?.revision", met: true, per: "abc"},
		"time":           {reason: "helpers of Argo CD", when: "time.Now().Sub(time.Parse(app.status.operationState.startedAt)).Minutes() >= 5", met: true},
		"repo":           {reason: "helpers of Argo CD", when: "repo.FullNameByRepoURL('git@github.com:org/repo.git') == 'org/repo' and strings.ToUpper('a') == 'A'", met: true},
		"nil":            {reason: "what is not there is no news", when: "app.status.nothing.there == 'x'"},
		"not a bool":     {reason: "neither is what is not true", when: "'yes'"},
		"loops":          {reason: "loops are bounded", when: "all(1..9, all(1..9, all(1..9, true)))", bad: true},
		"many":           {reason: "so is what they run over", when: "len(1..1000000) > 1"},
		"growing":        {reason: "values do not grow", when: "let a = 'x'; let b = a + a; let c = b + b; let d = c + c; d == ''", bad: true},
		"reduce":         {reason: "nor by reduce", when: "reduce(1..4, #acc + #acc, 'x') != ''", bad: true},
		"replacing":      {reason: "nor by replace", when: "replace(replace('aa', 'a', 'aa'), 'a', 'aa') != ''", bad: true},
		"without reason": {reason: "what cannot be told apart is one", when: "true", oncePer: "app.status.nothing", met: true, per: "-"},
	}
	object := map[string]any{"status": map[string]any{
		"health":         map[string]any{"status": "Healthy"},
		"operationState": map[string]any{"phase": "Succeeded", "startedAt": "2026-01-01T00:00:00Z", "syncResult": map[string]any{"revision": "abc"}},
	}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := parseTrigger(fmt.Sprintf("- when: %q\n  oncePer: %q\n  send: [x]\n", tt.when, tt.oncePer))
			if (err != nil) != tt.bad {
				t.Fatalf("%s: %v", tt.reason, err)
			}
			if err != nil {
				return
			}
			met, per := c[0].met(facts{app: object, event: map[string]any{}}.vars(nil, "", ""))
			if met != tt.met || per != tt.per {
				t.Errorf("%s: %v %q, want %v %q", tt.reason, met, per, tt.met, tt.per)
			}
		})
	}
}

func FuzzParseArgo(f *testing.F) {
	f.Add("service.slack", "token: $a", "template.x", "message: '{{.app.metadata.name}}'", "secret")
	f.Add("trigger.x", "- when: app.x == 1\n  send: [x]", "subscriptions", "- recipients: [slack:x]", "")
	f.Add("service.shoutrrr.x", "url: discord://a@b", "grouping", "idle: 1s", "x")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, secret string) {
		c, problems := ParseArgo(map[string]string{k1: v1, k2: v2}, map[string][]byte{"a": []byte(secret)})
		for _, p := range problems {
			if strings.ContainsAny(p.What, "\n\r") {
				t.Errorf("a problem has several lines: %q", p)
			}
		}
		e := Event{Trigger: OnApproved, Application: Application{Name: "web"}}.complete(time.Now())
		for _, each := range c.Templates() {
			if !each.BuiltIn {
				_, _ = c.Preview(e, "slack", Destination{Service: "slack"}, each.Name)
			}
		}
		for _, each := range c.Triggers() {
			if !each.BuiltIn {
				_, _ = c.Try(each.Name, e)
			}
		}
	})
}

func FuzzParseSubscriptions(f *testing.F) {
	f.Add("notifications.argoproj.io/subscribe.on-a.slack", "a;b")
	f.Add("notifications.argoproj.io/subscriptions", "- trigger: [a]\n  destinations: [{service: b, recipients: [c]}]")
	f.Fuzz(func(t *testing.T, key, value string) {
		found, _ := ParseSubscriptions(map[string]string{key: value})
		if len(found) > maxSubscriptions {
			t.Errorf("%d subscriptions", len(found))
		}
		for _, s := range found {
			if s.Service == "" || strings.ContainsFunc(s.Recipient, isControl) {
				t.Errorf("%+v", s)
			}
		}
	})
}
