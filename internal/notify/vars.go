package notify

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// facts are what conditions and templates see of an event: app, event, context,
// and the helpers of Argo CD. There are no secrets in them.
type facts struct {
	app, event map[string]any
	commit     Commit
}

func newFacts(e Event) facts {
	event := toMap(e)
	if event == nil {
		event = map[string]any{}
	}
	for _, key := range []string{"commit", "application", "project", "before", "after"} {
		if event[key] == nil {
			event[key] = map[string]any{}
		}
	}
	return facts{app: appOf(e), event: harmless(event).(map[string]any), commit: e.Commit}
}

// vars is what one template or condition gets.
func (f facts) vars(context map[string]string, kind, recipient string) map[string]any {
	if context == nil {
		context = map[string]string{}
	}
	return map[string]any{
		"app": f.app, "event": f.event, "context": context,
		"serviceType": kind, "recipient": recipient,
		"time": timeHelpers(), "strings": stringHelpers(), "repo": f.repoHelpers(),
	}
}

// appOf is the Application as its JSON, without credentials, or as much of it as
// the event says.
func appOf(e Event) map[string]any {
	var app map[string]any
	if e.Object != nil {
		app = toMap(e.Object)
	}
	if app == nil {
		app = sketch(e)
	}
	metadata, _ := app["metadata"].(map[string]any)
	delete(metadata, "managedFields")
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
	}
	if status, ok := app["status"].(map[string]any); ok && status["conditions"] == nil {
		status["conditions"] = []any{}
	}
	return harmless(app).(map[string]any)
}

// sketch is an Application in the form of its JSON, as far as an event tells.
func sketch(e Event) map[string]any {
	metadata := map[string]any{"name": e.Application.Name, "namespace": e.Application.Namespace, "labels": strings2any(e.Application.Labels), "annotations": strings2any(e.Application.Annotations)}
	status := map[string]any{
		"sync":   map[string]any{"status": e.After.Sync, "revision": e.Commit.Revision},
		"health": map[string]any{"status": e.After.Health},
	}
	if e.Operation != "" {
		status["operationState"] = map[string]any{
			"phase": e.Operation, "message": e.Message,
			"syncResult": map[string]any{"revision": e.Commit.Revision},
		}
	}
	return map[string]any{"metadata": metadata, "spec": map[string]any{"project": e.Project.Name}, "status": status}
}

func strings2any(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func toMap(v any) map[string]any {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out map[string]any
	if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return out
}

// mentions are what chats make calls to everybody of. Texts of commits and
// errors must not call.
var mentions = strings.NewReplacer("<!", "<\u200b!", "@everyone", "@\u200beveryone", "@here", "@\u200bhere", "@channel", "@\u200bchannel", "@all", "@\u200ball")

// inURL are credentials in an address that stands in a text.
var inURL = regexp.MustCompile(`://[^\s/@]+@`)

// harmless takes credentials out of addresses, and calls to everybody out of
// all texts.
func harmless(v any) any {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, "://") {
			v = inURL.ReplaceAllString(v, "://"+hidden+"@")
		}
		if strings.ContainsAny(v, "<@") {
			return mentions.Replace(v)
		}
		return v
	case map[string]any:
		for key, value := range v {
			if text, ok := value.(string); ok && key == "repoURL" {
				value = v1alpha1.RedactURL(text)
			}
			v[key] = harmless(value)
		}
	case []any:
		for i, value := range v {
			v[i] = harmless(value)
		}
	}
	return v
}

func timeHelpers() map[string]any {
	return map[string]any{
		"Now":        time.Now,
		"Parse":      func(text string) (time.Time, error) { return time.Parse(time.RFC3339, text) },
		"Nanosecond": time.Nanosecond, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond,
		"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
		"Layout": time.Layout, "ANSIC": time.ANSIC, "UnixDate": time.UnixDate, "RubyDate": time.RubyDate,
		"RFC822": time.RFC822, "RFC822Z": time.RFC822Z, "RFC850": time.RFC850, "RFC1123": time.RFC1123, "RFC1123Z": time.RFC1123Z,
		"RFC3339": time.RFC3339, "RFC3339Nano": time.RFC3339Nano, "Kitchen": time.Kitchen,
		"Stamp": time.Stamp, "StampMilli": time.StampMilli, "StampMicro": time.StampMicro, "StampNano": time.StampNano,
	}
}

func stringHelpers() map[string]any {
	return map[string]any{
		"ToUpper": strings.ToUpper, "ToLower": strings.ToLower,
		"ReplaceAll": func(s, old, by string) string {
			if old == "" || len(s)/len(old)*len(by) > maxValue {
				return s
			}
			return strings.ReplaceAll(s, old, by)
		},
	}
}

// commitMetadata has the names that templates for Argo CD use.
type commitMetadata struct {
	Message, Author string
	Date            time.Time
	Tags            []string
}

func (f facts) repoHelpers() map[string]any {
	return map[string]any{
		"RepoURLToHTTPS":    func(raw string) string { return repoURL(raw).String() },
		"FullNameByRepoURL": fullName,
		"QueryEscape":       url.QueryEscape,
		// The event knows one commit. Of others nothing is said.
		"GetCommitMetadata": func(revision string) commitMetadata {
			if revision != f.commit.Revision {
				return commitMetadata{}
			}
			message := f.commit.Message
			if message == "" {
				message = f.commit.Subject
			}
			return commitMetadata{Message: message, Author: f.commit.Author, Date: f.commit.Date}
		},
	}
}

// repoURL makes an https address of any form in which a repository is named.
func repoURL(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" { // git@host:org/repo.git
		host, path, _ := strings.Cut(raw, ":")
		if _, after, ok := strings.Cut(host, "@"); ok {
			host = after
		}
		u = &url.URL{Host: host, Path: "/" + strings.TrimPrefix(path, "/")}
	}
	u.Scheme, u.User = "https", nil
	return u
}

func fullName(raw string) string {
	path := strings.TrimSuffix(repoURL(raw).Path, ".git")
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(parts) >= 2 {
		return parts[0] + "/" + parts[1]
	}
	return path
}
