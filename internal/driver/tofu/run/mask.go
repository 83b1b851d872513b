package run

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/hclfile"
)

// Masked is what stands in place of a secret.
const Masked = "(sensitive value)"

// minSecret is the least length of what is masked: shorter values turn up
// everywhere by chance.
const minSecret = 4

// Masker replaces secrets in texts: as they are, quoted as in JSON or a URL, in
// base64, and each line of those that have several. It learns more of them as
// they become known. The zero value and nil mask nothing.
type Masker struct {
	mu       sync.Mutex
	known    map[string]bool
	replacer *strings.Replacer
}

// NewMasker returns a Masker of secrets.
func NewMasker(secrets ...string) *Masker {
	m := &Masker{}
	m.Add(secrets...)
	return m
}

// Add adds secrets.
func (m *Masker) Add(secrets ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range secrets {
		m.add(s)
		if strings.ContainsAny(s, "\r\n") {
			for line := range strings.Lines(s) {
				m.add(strings.TrimSpace(line))
			}
		}
	}
}

func (m *Masker) add(secret string) {
	trimmed := strings.TrimSpace(secret)
	if len(trimmed) < minSecret || slices.Contains([]string{"true", "false", "null"}, trimmed) || m.known[secret] {
		return
	}
	if m.known == nil {
		m.known = map[string]bool{}
	}
	m.known[secret] = true
	m.replacer = nil
	if trimmed != secret {
		m.add(trimmed)
	}
}

// forms of a secret in which it may turn up.
func forms(secret string) []string {
	all := []string{secret}
	if quoted, err := json.Marshal(secret); err == nil {
		all = append(all, strings.Trim(string(quoted), `"`))
	}
	quoted := strconv.Quote(secret)
	all = append(all, quoted[1:len(quoted)-1], url.QueryEscape(secret), url.PathEscape(secret))
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		all = append(all, e.EncodeToString([]byte(secret)))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Mask returns a text without the secrets.
func (m *Masker) Mask(text string) string {
	if m == nil || text == "" {
		return text
	}
	m.mu.Lock()
	if m.replacer == nil && len(m.known) > 0 {
		m.replacer = newReplacer(m.known)
	}
	replacer := m.replacer
	m.mu.Unlock()
	if replacer == nil {
		return text
	}
	return replacer.Replace(text)
}

func newReplacer(known map[string]bool) *strings.Replacer {
	var all []string
	for secret := range known {
		all = append(all, forms(secret)...)
	}
	slices.SortFunc(all, func(a, b string) int { // the longest that fits wins
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	pairs := make([]string, 0, 2*len(all))
	for _, form := range slices.Compact(all) {
		pairs = append(pairs, form, Masked)
	}
	return strings.NewReplacer(pairs...)
}

// AddSensitive adds what is marked in a value: marks has the shape of the value,
// with true in place of what is sensitive, as the JSON of plans and states has it.
func (m *Masker) AddSensitive(value, marks any) {
	switch marks := marks.(type) {
	case bool:
		if marks {
			m.addAll(value)
		}
	case map[string]any:
		object, _ := value.(map[string]any)
		for key, mark := range marks {
			m.AddSensitive(object[key], mark)
		}
	case []any:
		list, _ := value.([]any)
		for i := range min(len(list), len(marks)) {
			m.AddSensitive(list[i], marks[i])
		}
	}
}

func (m *Masker) addAll(value any) {
	switch value := value.(type) {
	case string:
		m.Add(value)
	case json.Number:
		m.Add(value.String())
	case float64:
		m.Add(strconv.FormatFloat(value, 'f', -1, 64))
	case map[string]any:
		for _, v := range value {
			m.addAll(v)
		}
	case []any:
		for _, v := range value {
			m.addAll(v)
		}
	}
}

// addValue adds all literals of a variable's value.
func (m *Masker) addValue(v Value) {
	m.Add(v.Text)
	if v.Form == Literal {
		return
	}
	expr, diags := hclfile.ParseExpression([]byte(v.Text), "")
	if diags.HasErrors() {
		return
	}
	if value, diags := expr.Value(nil); !diags.HasErrors() && value.IsWhollyKnown() {
		_ = cty.Walk(value, func(_ cty.Path, leaf cty.Value) (bool, error) {
			if !leaf.IsNull() && leaf.Type() == cty.String {
				m.Add(leaf.AsString())
			}
			return true, nil
		})
	}
}

// AddPlan adds all that a plan marks as sensitive: in its changes, in what was
// before and will be, in outputs and in variables.
func (m *Masker) AddPlan(p *tfjson.Plan) {
	if p == nil {
		return
	}
	for _, changes := range [][]*tfjson.ResourceChange{p.ResourceChanges, p.ResourceDrift} {
		for _, c := range changes {
			if c != nil {
				m.addChange(c.Change)
			}
		}
	}
	for _, c := range p.OutputChanges {
		m.addChange(c)
	}
	if p.Config != nil && p.Config.RootModule != nil {
		for name, v := range p.Config.RootModule.Variables {
			if given := p.Variables[name]; v != nil && v.Sensitive && given != nil {
				m.addAll(given.Value)
			}
		}
	}
	m.addStateValues(p.PlannedValues)
	m.AddState(p.PriorState)
}

func (m *Masker) addChange(c *tfjson.Change) {
	if c == nil {
		return
	}
	m.AddSensitive(c.Before, c.BeforeSensitive)
	m.AddSensitive(c.After, c.AfterSensitive)
}

// AddState adds all that a state marks as sensitive.
func (m *Masker) AddState(s *tfjson.State) {
	if s != nil {
		m.addStateValues(s.Values)
	}
}

func (m *Masker) addStateValues(v *tfjson.StateValues) {
	if v == nil {
		return
	}
	for _, o := range v.Outputs {
		if o != nil && o.Sensitive {
			m.addAll(o.Value)
		}
	}
	m.addModule(v.RootModule)
}

func (m *Masker) addModule(module *tfjson.StateModule) {
	if module == nil {
		return
	}
	for _, resource := range module.Resources {
		var marks any
		if json.Unmarshal(resource.SensitiveValues, &marks) == nil {
			m.AddSensitive(resource.AttributeValues, marks)
		}
	}
	for _, child := range module.ChildModules {
		m.addModule(child)
	}
}
