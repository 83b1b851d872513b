package notify

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"
)

// Message is what a service is to say.
type Message struct {
	// Title is one line, Text is what a person reads.
	Title string `json:"title"`
	Text  string `json:"text"`
	// Section is what the template says for this kind of service alone, with
	// its texts written.
	Section map[string]any `json:"section,omitempty"`
	Event   Event          `json:"event"`
}

// tmpl is a template of the configuration: a text, and for each kind of service
// a section whose texts are templates as well.
type tmpl struct {
	name     string
	message  *leaf
	sections map[string]any // in which strings are *leaf
	source   string         // as it was configured
	mu       sync.Mutex     // a leaf runs once at a time
}

// sections that templates may have, with what is used of them; nil stands for
// whatever there is.
var sections = map[string][]string{
	"email":        {"subject", "body"},
	"slack":        {"username", "icon", "attachments", "blocks"},
	"teams":        {"template", "title", "summary", "text", "themeColor", "facts", "sections", "potentialAction"},
	"mattermost":   {"attachments"},
	"webhook":      nil,
	"opsgenie":     {"description", "priority", "alias", "note", "entity", "user", "tags", "actions"},
	"pagerdutyv2":  {"summary", "severity", "source"},
	"alertmanager": {"labels", "annotations", "generatorURL"},
	"newrelic":     {"revision", "changelog", "description", "user"},
}

// parseTemplate reads the value of template.NAME.
func parseTemplate(name, source string) (*tmpl, []string) {
	var raw map[string]any
	if err := yaml.Unmarshal([]byte(source), &raw); err != nil {
		return nil, []string{fmt.Sprintf("not YAML: %v", err)}
	}
	if strings.Contains(source, ".secrets") {
		return nil, []string{"it uses .secrets: templates do not see secrets; put them into the service's url or headers"}
	}
	t := &tmpl{name: name, sections: map[string]any{}, source: source}
	var notes []string
	for _, key := range sortedKeys(raw) {
		if key == "message" {
			text, _ := raw[key].(string)
			parsed, err := parseLeaf(name, text)
			if err != nil {
				return nil, []string{fmt.Sprintf("message: %v", err)}
			}
			t.message = parsed
			continue
		}
		used, ok := sections[key]
		section, isMap := raw[key].(map[string]any)
		if !ok || !isMap {
			notes = append(notes, fmt.Sprintf("section %s is not used: such messages are the text alone", key))
			continue
		}
		for _, field := range sortedKeys(section) {
			if used != nil && !slices.Contains(used, field) && !inert(section[field]) {
				notes = append(notes, fmt.Sprintf("%s.%s is not used", key, field))
			}
		}
		compiled, err := compileTree(name+"."+key, section)
		if err != nil {
			return nil, []string{fmt.Sprintf("%s: %v", key, err)}
		}
		t.sections[key] = compiled
	}
	return t, notes
}

// inert are values that mean the same as none.
func inert(v any) bool { return v == nil || v == "" || v == false || v == "Post" }

func compileTree(name string, v any) (any, error) {
	switch v := v.(type) {
	case string:
		return parseLeaf(name, v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			compiled, err := compileTree(name+"."+key, value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			out[key] = compiled
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			compiled, err := compileTree(name, value)
			if err != nil {
				return nil, err
			}
			out[i] = compiled
		}
		return out, nil
	}
	return v, nil
}

func executeTree(v any, vars map[string]any) (any, error) {
	switch v := v.(type) {
	case *leaf:
		return v.execute(vars)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			text, err := executeTree(value, vars)
			if err != nil {
				return nil, err
			}
			out[key] = text
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			text, err := executeTree(value, vars)
			if err != nil {
				return nil, err
			}
			out[i] = text
		}
		return out, nil
	}
	return v, nil
}

// render writes the message of one template for one kind of service. Of a
// webhook, name says which section is its own.
func (t *tmpl) render(into *Message, kind, name string, vars map[string]any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.message != nil {
		text, err := t.message.execute(vars)
		if err != nil {
			return fmt.Errorf("template %s: %w", t.name, err)
		}
		if text = strings.TrimSpace(text); text != "" {
			into.Text = text
		}
	}
	section, ok := t.sections[sectionOf(kind)].(map[string]any)
	if ok && kind == "webhook" {
		section, ok = section[name].(map[string]any)
	}
	if ok {
		written, err := executeTree(section, vars)
		if err != nil {
			return fmt.Errorf("template %s: %w", t.name, err)
		}
		if into.Section == nil {
			into.Section = map[string]any{}
		}
		for key, value := range written.(map[string]any) {
			into.Section[key] = value
		}
	}
	// The mail's subject is the best title that there is, for other services too.
	if email, ok := t.sections["email"].(map[string]any); ok {
		if subject, ok := email["subject"].(*leaf); ok {
			if text, err := subject.execute(vars); err == nil && strings.TrimSpace(text) != "" {
				into.Title = shorten(oneLine(text), 200)
			}
		}
	}
	return nil
}

// sectionOf names the section for a kind of service.
func sectionOf(kind string) string {
	if kind == "teams-workflows" {
		return "teams"
	}
	return kind
}
