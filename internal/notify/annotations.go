package notify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The prefixes of annotations that subscribe: Argo CD's, and Plumb's own.
var annotationPrefixes = []string{"notifications.argoproj.io/", "notifications.plumb.dev/"}

// What an Application or project may ask for.
const (
	maxSubscriptions = 200
	maxRecipient     = 512
	maxAnnotation    = 16 << 10
)

// Subscription is one wish of an Application's or project's annotations.
type Subscription struct {
	// Trigger to wait for; empty means the default triggers.
	Trigger   string
	Service   string
	Recipient string
	// Annotation is where it stands.
	Annotation string
}

// ParseSubscriptions reads the annotations that subscribe, in all forms that
// Argo CD documents:
//
//	notifications.argoproj.io/subscribe.<trigger>.<service>: recipient;recipient
//	notifications.argoproj.io/subscribe.<service>: recipient
//	notifications.argoproj.io/subscriptions: |
//	  - trigger: [on-sync-failed]
//	    destinations:
//	      - service: slack
//	        recipients: [shop]
//
// An annotation names services that are configured elsewhere, and never an
// address of its own. The order is that of the annotations' names.
func ParseSubscriptions(annotations map[string]string) ([]Subscription, []Problem) {
	var out []Subscription
	var problems []Problem
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		rest, ok := subscribing(key)
		if !ok {
			continue
		}
		value := annotations[key]
		if len(value) > maxAnnotation {
			problems = append(problems, Problem{key, fmt.Sprintf("the annotation is longer than %d bytes: subscribe by the project or the ConfigMap instead", maxAnnotation)})
			continue
		}
		var found []Subscription
		var err error
		if short, isShort := strings.CutPrefix(rest, "subscribe."); isShort {
			found, err = parseShort(short, value)
		} else {
			found, err = parseLong(value)
		}
		if err != nil {
			problems = append(problems, Problem{key, err.Error()})
		}
		for _, s := range found {
			if len(out) >= maxSubscriptions {
				return out, append(problems, Problem{key, fmt.Sprintf("there are more than %d subscriptions: the others are left out", maxSubscriptions)})
			}
			s.Annotation = key
			out = append(out, s)
		}
	}
	return out, problems
}

// subscribing gives what stands after the prefix of an annotation that
// subscribes.
func subscribing(key string) (string, bool) {
	for _, prefix := range annotationPrefixes {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			return rest, strings.HasPrefix(rest, "subscribe.") || rest == "subscriptions" || strings.HasPrefix(rest, "subscriptions.")
		}
	}
	return "", false
}

func parseShort(name, value string) ([]Subscription, error) {
	parts := strings.Split(name, ".")
	trigger, service := "", parts[0]
	if len(parts) > 1 {
		trigger, service = parts[0], parts[1]
	}
	if service == "" || len(parts) > 1 && trigger == "" {
		return nil, fmt.Errorf("the name is not subscribe.<trigger>.<service> or subscribe.<service>")
	}
	recipients := []string{""} // some services need none
	if strings.TrimSpace(value) != "" {
		recipients = strings.Split(value, ";")
	}
	return subscriptions(trigger, service, recipients)
}

func parseLong(value string) ([]Subscription, error) {
	var listed []struct {
		Trigger      []string `json:"trigger"`
		Triggers     []string `json:"triggers"` // what people write as well
		Destinations []struct {
			Service    string   `json:"service"`
			Recipients []string `json:"recipients"`
		} `json:"destinations"`
	}
	if err := yaml.Unmarshal([]byte(value), &listed); err != nil {
		return nil, fmt.Errorf("not a list of trigger and destinations: %w", err)
	}
	var out []Subscription
	for i, l := range listed {
		if len(l.Destinations) == 0 {
			return out, fmt.Errorf("entry %d has no destinations", i+1)
		}
		triggers := append(l.Trigger, l.Triggers...)
		if len(triggers) == 0 {
			triggers = []string{""}
		}
		for _, trigger := range triggers {
			for _, d := range l.Destinations {
				recipients := d.Recipients
				if len(recipients) == 0 {
					recipients = []string{""}
				}
				found, err := subscriptions(trigger, d.Service, recipients)
				if err != nil {
					return out, fmt.Errorf("entry %d: %w", i+1, err)
				}
				if out = append(out, found...); len(out) > maxSubscriptions {
					return out, nil
				}
			}
		}
	}
	return out, nil
}

func subscriptions(trigger, service string, recipients []string) ([]Subscription, error) {
	if service == "" {
		return nil, fmt.Errorf("no service is named")
	}
	var out []Subscription
	for _, r := range recipients {
		r = strings.TrimSpace(r)
		if len(r) > maxRecipient || strings.ContainsFunc(r, isControl) {
			return out, fmt.Errorf("a recipient of %s is too long, or holds line breaks", service)
		}
		if r == "" && len(recipients) > 1 {
			continue
		}
		out = append(out, Subscription{Trigger: trigger, Service: service, Recipient: r})
	}
	return out, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
