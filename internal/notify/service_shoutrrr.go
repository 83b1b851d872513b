package notify

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// The services whose messages are a title and a text go out by shoutrrr.

// address makes shoutrrr's URL for a recipient.
type address func(recipient string, m Message) (string, error)

// titled are the services that take a title beside the text.
var titled = []string{"smtp", "opsgenie", "gotify", "ntfy", "pushover", "discord"}

// byShoutrrr sends by an address. The library knows no contexts, and some of its
// services wait without end: then the message counts as failed, and the channel
// waits until the library is done.
func byShoutrrr(addressOf address) sendFunc {
	busy := newBusy()
	return grouped(func(ctx context.Context, _ courier, recipient string, m Message) error {
		to, err := addressOf(recipient, m)
		if err != nil {
			return permanent{err}
		}
		return busy.do(ctx, recipient, func() error { return shout(to, m) })
	})
}

func shout(to string, m Message) error {
	quiet := log.New(io.Discard, "", 0) // it logs addresses
	routes, err := router.New(quiet)
	if err != nil {
		return err
	}
	service, err := routes.Locate(to)
	if err != nil {
		return permanent{err}
	}
	params := types.Params{}
	if m.Title != "" && slices.Contains(titled, service.GetID()) {
		params.SetTitle(m.Title)
	}
	return judged(service.Send(m.Text, &params))
}

var status = regexp.MustCompile(`(?i)status[^0-9]{0,20}\b(4\d\d)\b`)

// judged tells errors that trying again does not mend by the status in their
// text: the library says it nowhere else.
func judged(err error) error {
	if err == nil {
		return nil
	}
	if code := status.FindStringSubmatch(err.Error()); code != nil && !slices.Contains([]string{"408", "425", "429"}, code[1]) {
		return permanent{err}
	}
	return err
}

// newShoutrrr is any service of shoutrrr, by its URL.
func newShoutrrr(o *options) (sendFunc, error) {
	to := o.secret("url")
	u, err := url.Parse(to)
	if err != nil || u.Scheme == "" {
		return nil, fmt.Errorf("url is not an address of shoutrrr, such as discord://token@id")
	}
	scheme, _, _ := strings.Cut(u.Scheme, "+")
	if scheme == "logger" {
		return nil, fmt.Errorf("url: logger writes to no channel")
	}
	routes, err := router.New(log.New(io.Discard, "", 0))
	if err != nil {
		return nil, err
	}
	if _, err := routes.NewService(scheme); err != nil {
		return nil, fmt.Errorf("url: shoutrrr knows no service %q", scheme)
	}
	if _, err := routes.Locate(to); err != nil {
		return nil, fmt.Errorf("url: %s", scrubber{}.with(to).clean(err.Error()))
	}
	return byShoutrrr(func(string, Message) (string, error) { return to, nil }), nil
}

func newEmail(o *options) (sendFunc, error) {
	host, port, from := o.text("host"), or(o.text("port"), "25"), o.text("from")
	user, password := o.text("username"), o.secret("password")
	insecure, html := o.flag("insecure_skip_verify"), o.flag("html")
	if host == "" || from == "" {
		return nil, fmt.Errorf("host and from are needed")
	}
	return byShoutrrr(func(recipient string, m Message) (string, error) {
		list, err := mail.ParseAddressList(recipient)
		if err != nil {
			return "", fmt.Errorf("%q is not an address of mail", shorten(recipient, 80))
		}
		var to []string
		for _, a := range list {
			to = append(to, a.Address)
		}
		query := url.Values{"fromaddress": {from}, "toaddresses": {strings.Join(to, ",")}, "subject": {or(m.Title, "Plumb")}, "usehtml": {yes(html)}, "skiptlsverify": {yes(insecure)}}
		if sender, err := mail.ParseAddress(from); err == nil {
			query.Set("fromaddress", sender.Address)
			if sender.Name != "" {
				query.Set("fromname", sender.Name)
			}
		}
		u := url.URL{Scheme: "smtp", Host: host + ":" + port, Path: "/", RawQuery: query.Encode()}
		if user != "" {
			u.User = url.UserPassword(user, password)
		}
		return u.String(), nil
	}), nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func newTelegram(o *options) (sendFunc, error) {
	token := o.secret("token")
	id, secret, ok := strings.Cut(token, ":")
	if !ok {
		return nil, fmt.Errorf("token is not the token of a bot (123456:ABC…)")
	}
	return byShoutrrr(func(recipient string, _ Message) (string, error) {
		if recipient == "" {
			return "", fmt.Errorf("telegram needs a chat as the recipient")
		}
		chat := strings.Replace(recipient, "|", ":", 1) // a thread of a chat
		if !strings.HasPrefix(chat, "-") && !strings.HasPrefix(chat, "@") && strings.Trim(chat, "0123456789:") != "" {
			chat = "@" + chat // as in Argo CD
		}
		u := url.URL{Scheme: "telegram", User: url.UserPassword(id, secret), Host: "telegram", RawQuery: url.Values{"chats": {chat}}.Encode()}
		return u.String(), nil
	}), nil
}

func newOpsgenie(o *options) (sendFunc, error) {
	api, keys := or(o.text("apiUrl"), "api.opsgenie.com"), o.secrets("apiKeys")
	if len(keys) == 0 {
		return nil, fmt.Errorf("apiKeys is empty: name the teams and their keys")
	}
	host := api
	if u, err := url.Parse(api); err == nil && u.Host != "" {
		host = u.Host
	}
	return byShoutrrr(func(recipient string, m Message) (string, error) {
		key, ok := keys[recipient]
		if !ok {
			return "", fmt.Errorf("apiKeys has no %q", recipient)
		}
		query := url.Values{}
		for _, field := range []string{"description", "priority", "alias", "note", "entity", "user"} {
			if v := sectionText(m, field); v != "" {
				query.Set(field, v)
			}
		}
		for _, field := range []string{"tags", "actions"} {
			if listed, ok := m.Section[field].([]any); ok {
				var words []string
				for _, w := range listed {
					words = append(words, fmt.Sprint(w))
				}
				query.Set(field, strings.Join(words, ","))
			}
		}
		u := url.URL{Scheme: "opsgenie", Host: host, Path: "/" + key, RawQuery: query.Encode()}
		return u.String(), nil
	}), nil
}

func newGoogleChat(o *options) (sendFunc, error) {
	hooks := o.secrets("webhooks")
	if len(hooks) == 0 {
		return nil, fmt.Errorf("webhooks is empty: name the spaces and their webhooks")
	}
	for name, hook := range hooks {
		if err := checkURL(hook); err != nil {
			return nil, fmt.Errorf("webhooks.%s: %w", name, err)
		}
	}
	return byShoutrrr(func(recipient string, _ Message) (string, error) {
		hook, ok := hooks[recipient]
		if !ok {
			return "", fmt.Errorf("webhooks has no %q", recipient)
		}
		u, err := url.Parse(hook)
		if err != nil {
			return "", fmt.Errorf("the webhook of %q is not an address", recipient)
		}
		u.Scheme = "googlechat"
		return u.String(), nil
	}), nil
}

func newPushover(o *options) (sendFunc, error) {
	token := o.secret("token")
	if token == "" {
		return nil, fmt.Errorf("token is missing")
	}
	return byShoutrrr(func(recipient string, _ Message) (string, error) {
		u := url.URL{Scheme: "pushover", User: url.UserPassword("shoutrrr", token), Host: recipient, Path: "/"}
		return u.String(), nil
	}), nil
}

func newPagerDuty(o *options) (sendFunc, error) {
	keys := o.secrets("serviceKeys")
	if len(keys) == 0 {
		return nil, fmt.Errorf("serviceKeys is empty: name the services and their integration keys")
	}
	return byShoutrrr(func(recipient string, m Message) (string, error) {
		key, ok := keys[recipient]
		if !ok {
			return "", fmt.Errorf("serviceKeys has no %q", recipient)
		}
		query := url.Values{"severity": {or(sectionText(m, "severity"), "error")}, "source": {or(sectionText(m, "source"), or(m.Event.Application.Key(), "plumb"))}, "action": {"trigger"}}
		u := url.URL{Scheme: "pagerduty", Host: "events.pagerduty.com", Path: "/" + key, RawQuery: query.Encode()}
		return u.String(), nil
	}), nil
}
