package notify

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// Config is what is configured: services, templates, triggers, subscriptions.
// It holds credentials, and is never printed.
type Config struct {
	services        map[string]*service
	templates       map[string]*tmpl
	triggers        map[string][]condition
	subscriptions   []standing
	defaultTriggers []string
	serviceDefaults map[string][]string
	context         map[string]string
	grouping        Grouping
	hide            scrubber
	// namespaces are the configurations of teams, for the Applications of their
	// own namespaces.
	namespaces map[string]Config
}

// Problem says what of a configuration or annotation is not used, and why.
type Problem struct {
	// Where is the key of the ConfigMap, or the annotation.
	Where string
	What  string
}

func (p Problem) String() string { return p.Where + ": " + p.What }

// Grouping says how long messages of one channel wait for others.
type Grouping struct {
	// Idle is how long it must be quiet before what has gathered is sent, and
	// Max how long anything waits.
	Idle, Max time.Duration
	// PerMinute is how many messages a channel gets at most, after a first few.
	PerMinute int
}

func (g Grouping) orDefault() Grouping {
	if g.Idle <= 0 {
		g.Idle = 10 * time.Second
	}
	if g.Max <= 0 {
		g.Max = time.Minute
	}
	if g.PerMinute <= 0 {
		g.PerMinute = 6
	}
	return g
}

// standing is a subscription of the ConfigMap, for Applications with labels.
type standing struct {
	recipients, triggers []string
	selector             labels.Selector
}

// String keeps credentials out of whatever prints a configuration.
func (c Config) String() string {
	return fmt.Sprintf("%d services, %d templates, %d triggers", len(c.services), len(c.templates), len(c.triggers))
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// ParseArgo reads the content of argocd-notifications-cm and
// argocd-notifications-secret. What cannot be used is a problem that names its
// key; the rest is used nevertheless.
func ParseArgo(cm map[string]string, secret map[string][]byte) (Config, []Problem) {
	c := Config{
		services: map[string]*service{}, templates: map[string]*tmpl{}, triggers: map[string][]condition{},
		serviceDefaults: map[string][]string{}, context: map[string]string{},
	}
	for _, value := range secret {
		c.hide = c.hide.with(string(value))
	}
	var problems []Problem
	for _, key := range slices.Sorted(maps.Keys(cm)) {
		for _, what := range c.read(key, cm[key], secret) {
			problems = append(problems, Problem{Where: key, What: c.hide.clean(what)})
		}
	}
	return c, problems
}

// read takes one key of the ConfigMap, and says what is wrong with it.
func (c *Config) read(key, value string, secret map[string][]byte) []string {
	kind, name, _ := strings.Cut(key, ".")
	switch kind {
	case "service":
		return c.readService(name, value, secret)
	case "template":
		t, notes := parseTemplate(name, value)
		if t != nil {
			c.templates[name] = t
		}
		return notes
	case "trigger":
		conditions, err := parseTrigger(value)
		if err != nil {
			return []string{err.Error()}
		}
		c.triggers[name] = conditions
		return nil
	case "defaultTriggers":
		var list []string
		if err := yaml.Unmarshal([]byte(value), &list); err != nil {
			return []string{fmt.Sprintf("not a list of triggers: %v", err)}
		}
		if name == "" {
			c.defaultTriggers = list
		} else {
			c.serviceDefaults[name] = list
		}
		return nil
	}
	return c.readSetting(key, value)
}

func (c *Config) readSetting(key, value string) []string {
	var err error
	switch key {
	case "context":
		err = yaml.Unmarshal([]byte(value), &c.context)
	case "subscriptions":
		return c.readSubscriptions(value)
	case "grouping":
		c.grouping, err = parseGrouping(value)
	case "config.yaml":
		return []string{"the form of Argo CD before 2.0 is not read: use service.*, template.* and trigger.*"}
	default:
		return []string{"the key is not understood"}
	}
	if err != nil {
		return []string{err.Error()}
	}
	return nil
}

func parseGrouping(value string) (Grouping, error) {
	var raw struct {
		Idle      string `json:"idle"`
		Max       string `json:"max"`
		PerMinute int    `json:"perMinute"`
	}
	if err := yaml.UnmarshalStrict([]byte(value), &raw); err != nil {
		return Grouping{}, fmt.Errorf("not idle, max and perMinute: %w", err)
	}
	g := Grouping{PerMinute: raw.PerMinute}
	for text, into := range map[*string]*time.Duration{&raw.Idle: &g.Idle, &raw.Max: &g.Max} {
		if *text == "" {
			continue
		}
		d, err := time.ParseDuration(*text)
		if err != nil || d <= 0 || d > time.Hour {
			return Grouping{}, fmt.Errorf("%q is not a duration between 0 and 1h", *text)
		}
		*into = d
	}
	return g, nil
}

func (c *Config) readSubscriptions(value string) []string {
	var raw []struct {
		Recipients []string `json:"recipients"`
		Triggers   []string `json:"triggers"`
		Selector   string   `json:"selector"`
	}
	if err := yaml.Unmarshal([]byte(value), &raw); err != nil {
		return []string{fmt.Sprintf("not a list of recipients, triggers and selector: %v", err)}
	}
	var notes []string
	for i, r := range raw {
		selector, err := labels.Parse(r.Selector)
		if err != nil {
			notes = append(notes, fmt.Sprintf("entry %d: selector: %v", i+1, err))
			continue
		}
		c.subscriptions = append(c.subscriptions, standing{recipients: r.Recipients, triggers: r.Triggers, selector: selector})
	}
	return notes
}

var reference = regexp.MustCompile(`[$][\w-]+`)

func (c *Config) readService(name, value string, secret map[string][]byte) []string {
	kind, own, named := strings.Cut(name, ".")
	if !named {
		own = kind
	}
	if own == "" || strings.Contains(own, ".") {
		return []string{"the key is not service.<type> or service.<type>.<name>"}
	}
	var raw any
	if err := yaml.Unmarshal([]byte(value), &raw); err != nil {
		return []string{"not YAML"}
	}
	var notes []string
	filled := fill(raw, func(text string) string {
		return reference.ReplaceAllStringFunc(text, func(ref string) string {
			found, ok := secret[ref[1:]]
			if !ok {
				notes = append(notes, fmt.Sprintf("%s is not in the Secret", ref))
				return ref
			}
			return strings.TrimRight(string(found), "\r\n")
		})
	})
	values, ok := filled.(map[string]any)
	if filled == nil {
		values, ok = map[string]any{}, true
	}
	if !ok {
		return append(notes, "not a map of options")
	}
	o := &options{values: values}
	s, err := newService(kind, own, o)
	if err != nil {
		return append(notes, err.Error())
	}
	for _, field := range o.unused() {
		notes = append(notes, fmt.Sprintf("%s is not used", field))
	}
	s.hide = c.hide.with(o.sensitive...)
	c.services[own] = s
	return notes
}

// fill replaces all texts in a value.
func fill(v any, by func(string) string) any {
	switch v := v.(type) {
	case string:
		return by(v)
	case map[string]any:
		for key, value := range v {
			v[key] = fill(value, by)
		}
	case []any:
		for i, value := range v {
			v[i] = fill(value, by)
		}
	}
	return v
}

// Over puts this configuration over another: what both have, this one says.
// Subscriptions of both hold.
func (c Config) Over(under Config) Config {
	out := Config{
		services: over(c.services, under.services), templates: over(c.templates, under.templates), triggers: over(c.triggers, under.triggers),
		serviceDefaults: over(c.serviceDefaults, under.serviceDefaults), context: over(c.context, under.context), namespaces: over(c.namespaces, under.namespaces),
		subscriptions:   append(slices.Clone(under.subscriptions), c.subscriptions...),
		defaultTriggers: c.defaultTriggers, grouping: c.grouping,
		hide: under.hide.with(c.hide.texts...),
	}
	if out.defaultTriggers == nil {
		out.defaultTriggers = under.defaultTriggers
	}
	if out.grouping == (Grouping{}) {
		out.grouping = under.grouping
	}
	return out
}

func over[V any](top, bottom map[string]V) map[string]V {
	out := make(map[string]V, len(top)+len(bottom))
	maps.Copy(out, bottom)
	maps.Copy(out, top)
	return out
}

// WithNamespace adds the configuration that a team has in its own namespace: it
// is used for the Applications there, beside the common one.
func (c Config) WithNamespace(namespace string, own Config) Config {
	c.namespaces = over(map[string]Config{namespace: own}, c.namespaces)
	return c
}

// trigger gives the conditions of a trigger, and whether they were configured
// rather than built in.
func (c Config) trigger(name string) (conditions []condition, configured, ok bool) {
	if conditions, ok = c.triggers[name]; ok {
		return conditions, true, true
	}
	conditions, ok = catalogue().triggers[name]
	return conditions, false, ok
}

func (c Config) template(name string) *tmpl {
	if t, ok := c.templates[name]; ok {
		return t
	}
	return catalogue().templates[name]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Named is a thing that is configured, for people to read.
type Named struct {
	Name, Kind, Description string
	// BuiltIn tells that it is there without configuration.
	BuiltIn bool
}

// Services lists the services by name.
func (c Config) Services() []Named {
	var out []Named
	for _, name := range sortedKeys(c.services) {
		out = append(out, Named{Name: name, Kind: c.services[name].kind})
	}
	return out
}

// Triggers lists the triggers by name, those built in among them.
func (c Config) Triggers() []Named {
	all := over(c.triggers, catalogue().triggers)
	var out []Named
	for _, name := range sortedKeys(all) {
		_, own := c.triggers[name]
		n := Named{Name: name, BuiltIn: !own}
		if len(all[name]) > 0 {
			n.Description = all[name][0].Description
		}
		out = append(out, n)
	}
	return out
}

// Templates lists the templates by name, those built in among them.
func (c Config) Templates() []Named {
	var out []Named
	for _, name := range sortedKeys(over(c.templates, catalogue().templates)) {
		_, own := c.templates[name]
		out = append(out, Named{Name: name, BuiltIn: !own})
	}
	return out
}

// TemplateSource gives a template as it is configured.
func (c Config) TemplateSource(name string) (string, bool) {
	if t := c.template(name); t != nil {
		return t.source, true
	}
	return "", false
}
