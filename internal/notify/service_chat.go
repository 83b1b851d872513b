package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The chats whose messages are more than a text in Argo CD's form: shoutrrr
// cannot carry Slack's attachments and blocks, or Teams' cards.

var emoji = regexp.MustCompile(`^:.+:$`)

func newSlack(o *options) (sendFunc, error) {
	token, api := o.secret("token"), o.text("apiURL")
	username, icon := o.text("username"), o.text("icon")
	insecure, plainLinks := o.flag("insecureSkipVerify"), o.flag("disableUnfurl")
	o.ignored("signingSecret", "channels")
	if token == "" {
		return nil, fmt.Errorf("token is missing: name it as $slack-token, with the token in the Secret")
	}
	if api == "" {
		api = "https://slack.com/api/"
	}
	if err := checkURL(api); err != nil {
		return nil, fmt.Errorf("apiURL: %w", err)
	}
	return grouped(func(ctx context.Context, out courier, channel string, m Message) error {
		if channel == "" {
			return permanent{fmt.Errorf("slack needs a channel as the recipient")}
		}
		body := map[string]any{"channel": channel, "text": m.Text}
		put(body, "username", or(sectionText(m, "username"), username))
		if i := or(sectionText(m, "icon"), icon); emoji.MatchString(i) {
			body["icon_emoji"] = i
		} else if i != "" {
			body["icon_url"] = i
		}
		putJSON(body, "attachments", sectionText(m, "attachments"))
		putJSON(body, "blocks", sectionText(m, "blocks"))
		if plainLinks {
			body["unfurl_links"], body["unfurl_media"] = false, false
		}
		r, err := post(strings.TrimSuffix(api, "/")+"/chat.postMessage", body)
		if err != nil {
			return err
		}
		r.header["Authorization"], r.insecureSkipVerify = "Bearer "+token, insecure
		answer, err := out.do(ctx, r)
		if err != nil {
			return err
		}
		return slackSays(answer)
	}), nil
}

// slackSays reads an answer: Slack says 200 to errors too.
func slackSays(answer []byte) error {
	var said struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return fmt.Errorf("slack's answer is not JSON")
	}
	if said.OK {
		return nil
	}
	err := fmt.Errorf("slack says %s", or(said.Error, "no"))
	if slices.Contains([]string{"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}, said.Error) {
		return err
	}
	return permanent{err}
}

func newTeams(o *options) (sendFunc, error) {
	addresses := o.secrets("recipientUrls")
	if len(addresses) == 0 {
		return nil, fmt.Errorf("recipientUrls is empty: name the channels and their webhooks")
	}
	for name, address := range addresses {
		if err := checkURL(address); err != nil {
			return nil, fmt.Errorf("recipientUrls.%s: %w", name, err)
		}
	}
	return grouped(func(ctx context.Context, out courier, recipient string, m Message) error {
		address, ok := addresses[recipient]
		if !ok {
			return permanent{fmt.Errorf("recipientUrls has no %q", recipient)}
		}
		body := teamsCard(address, m)
		r, err := post(address, body)
		if err != nil {
			return err
		}
		if whole := sectionText(m, "template"); whole != "" {
			r.body = []byte(whole)
		}
		_, err = out.do(ctx, r)
		return err
	}), nil
}

// teamsCard is a MessageCard for the connectors of old, and an adaptive card for
// what came after them.
func teamsCard(address string, m Message) map[string]any {
	title, text := or(sectionText(m, "title"), m.Title), or(sectionText(m, "text"), m.Text)
	var facts []map[string]any
	_ = json.Unmarshal([]byte(sectionText(m, "facts")), &facts) // what is broken is left out
	if u, err := url.Parse(address); err == nil && strings.HasSuffix(u.Hostname(), "webhook.office.com") {
		card := map[string]any{"@type": "MessageCard", "context": "https://schema.org/extensions", "title": title, "text": text, "summary": or(sectionText(m, "summary"), title)}
		put(card, "themeColor", sectionText(m, "themeColor"))
		var parts []any
		_ = json.Unmarshal([]byte(sectionText(m, "sections")), &parts)
		if len(facts) > 0 {
			parts = append(parts, map[string]any{"facts": facts})
		}
		if len(parts) > 0 {
			card["sections"] = parts
		}
		putJSON(card, "potentialAction", sectionText(m, "potentialAction"))
		return card
	}
	var body []any
	if title != "" {
		body = append(body, map[string]any{"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": true})
	}
	body = append(body, map[string]any{"type": "TextBlock", "text": strings.ReplaceAll(text, "\n", "\n\n"), "wrap": true})
	if len(facts) > 0 {
		var set []any
		for _, f := range facts {
			set = append(set, map[string]any{"title": fmt.Sprint(f["name"]), "value": fmt.Sprint(f["value"])})
		}
		body = append(body, map[string]any{"type": "FactSet", "facts": set})
	}
	card := map[string]any{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body}
	return map[string]any{"type": "message", "attachments": []any{map[string]any{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}}}
}

func newMattermost(o *options) (sendFunc, error) {
	api, token, insecure := o.text("apiURL"), o.secret("token"), o.flag("insecureSkipVerify")
	if err := checkURL(api); err != nil {
		return nil, fmt.Errorf("apiURL: %w", err)
	}
	return grouped(func(ctx context.Context, out courier, channel string, m Message) error {
		body := map[string]any{"channel_id": channel, "message": m.Text}
		props := map[string]any{}
		putJSON(props, "attachments", sectionText(m, "attachments"))
		if len(props) > 0 {
			body["props"] = props
		}
		r, err := post(strings.TrimSuffix(api, "/")+"/api/v4/posts", body)
		if err != nil {
			return err
		}
		r.header["Authorization"], r.insecureSkipVerify = "Bearer "+token, insecure
		_, err = out.do(ctx, r)
		return err
	}), nil
}

func newWebex(o *options) (sendFunc, error) {
	token, api := o.secret("token"), or(o.text("apiURL"), "https://webexapis.com")
	if err := checkURL(api); err != nil {
		return nil, fmt.Errorf("apiURL: %w", err)
	}
	return grouped(func(ctx context.Context, out courier, recipient string, m Message) error {
		body := map[string]any{"markdown": m.Text}
		if strings.Contains(recipient, "@") {
			body["toPersonEmail"] = recipient
		} else {
			body["roomId"] = recipient
		}
		r, err := post(strings.TrimSuffix(api, "/")+"/v1/messages", body)
		if err != nil {
			return err
		}
		r.header["Authorization"] = "Bearer " + token
		_, err = out.do(ctx, r)
		return err
	}), nil
}

// sectionText is a text of the message's own section.
func sectionText(m Message, key string) string {
	text, _ := m.Section[key].(string)
	return text
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func put(m map[string]any, key, value string) {
	if value != "" {
		m[key] = value
	}
}

// putJSON takes a text that is JSON. Where it is not, which a quote in a message
// suffices for, the message goes out without it.
func putJSON(m map[string]any, key, text string) {
	var v any
	if text != "" && json.Unmarshal([]byte(text), &v) == nil {
		m[key] = v
	}
}

// checkURL says whether an address can be sent to. It never repeats it.
func checkURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return fmt.Errorf("it is missing")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("it is not an http or https address")
	}
	return nil
}
