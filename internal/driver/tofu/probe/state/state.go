// Package state reads states of OpenTofu and Terraform, as "tofu state pull"
// prints them: format 4. It knows nothing of providers' schemas: attributes
// stay JSON.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// State is what one state holds that can be read from providers.
type State struct {
	// ToolVersion is the version of the program that wrote it.
	ToolVersion string
	Lineage     string
	Serial      uint64
	// Managed are the objects of managed resources, deposed ones too.
	Managed []Instance
	// Data are the addresses of the instances of data sources.
	Data []string
}

// Instance is one object of a managed resource.
type Instance struct {
	Address  string
	Type     string
	Provider ProviderRef
	// Tainted objects are replaced by the next plan, Deposed ones destroyed.
	Tainted bool
	Deposed string

	SchemaVersion int64
	Attributes    json.RawMessage
	// Flat are attributes as they were before Terraform 0.12.
	Flat      map[string]string
	Sensitive []cty.Path
	Private   []byte

	Identity        json.RawMessage
	IdentityVersion int64
}

// Texts are all texts in the attributes.
func (i *Instance) Texts() []string {
	var texts []string
	for _, text := range i.Flat {
		texts = append(texts, text)
	}
	decoder := json.NewDecoder(bytes.NewReader(i.Attributes))
	for {
		token, err := decoder.Token()
		if err != nil {
			return texts
		}
		if text, ok := token.(string); ok {
			texts = append(texts, text)
		}
	}
}

// ProviderRef names a configuration of a provider.
type ProviderRef struct {
	// Module is the address of the module whose configuration it is, such as
	// module.a.module.b; empty for the root.
	Module string
	// Source is host/namespace/type.
	Source string
	Alias  string
	// Key is the key of a configuration with for_each, as it is written.
	Key string
}

func (r ProviderRef) String() string {
	text := fmt.Sprintf("provider[%q]", r.Source)
	if r.Module != "" {
		text = r.Module + "." + text
	}
	if r.Alias != "" {
		text += "." + r.Alias
	}
	if r.Key != "" {
		text += "[" + r.Key + "]"
	}
	return text
}

type file struct {
	Version          int        `json:"version"`
	TerraformVersion string     `json:"terraform_version"`
	Serial           uint64     `json:"serial"`
	Lineage          string     `json:"lineage"`
	Resources        []resource `json:"resources"`
	Encrypted        string     `json:"encrypted_data"`
}

type resource struct {
	Module    string   `json:"module"`
	Mode      string   `json:"mode"`
	Type      string   `json:"type"`
	Name      string   `json:"name"`
	Provider  string   `json:"provider"`
	Instances []object `json:"instances"`
}

type object struct {
	IndexKey        json.RawMessage   `json:"index_key"`
	Status          string            `json:"status"`
	Deposed         string            `json:"deposed"`
	Provider        string            `json:"provider"`
	SchemaVersion   int64             `json:"schema_version"`
	Attributes      json.RawMessage   `json:"attributes"`
	Flat            map[string]string `json:"attributes_flat"`
	Sensitive       json.RawMessage   `json:"sensitive_attributes"`
	Private         []byte            `json:"private"`
	Identity        json.RawMessage   `json:"identity"`
	IdentityVersion int64             `json:"identity_schema_version"`
}

// Parse reads a state. An empty one, of a module that was never applied, is no
// error.
func Parse(text []byte) (*State, error) {
	if len(text) == 0 {
		return &State{}, nil
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("understand the state: %w", err)
	}
	if f.Encrypted != "" {
		return nil, errors.New("the state is encrypted: pass what \"tofu state pull\" prints")
	}
	if f.Version > 4 {
		return nil, fmt.Errorf("the state has format %d, which is newer than what is understood (4): use a newer version of Plumb, or a copy of the state from before", f.Version)
	}
	if f.Version != 4 {
		return nil, fmt.Errorf("the state has format %d, and only format 4 is understood: apply the module once with a current OpenTofu", f.Version)
	}
	s := &State{ToolVersion: f.TerraformVersion, Lineage: f.Lineage, Serial: f.Serial}
	for _, r := range f.Resources {
		for _, o := range r.Instances {
			if err := s.add(r, o); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *State) add(r resource, o object) error {
	address, err := r.address(o)
	if err != nil {
		return err
	}
	if r.Mode == "data" {
		s.Data = append(s.Data, address)
		return nil
	}
	if r.Mode != "managed" {
		return fmt.Errorf("%s: the state has a resource of mode %q, which is not known", address, r.Mode)
	}
	name := o.Provider
	if name == "" {
		name = r.Provider
	}
	ref, err := parseProvider(name)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	sensitive, err := parsePaths(o.Sensitive)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if string(o.Identity) == "null" {
		o.Identity = nil
	}
	s.Managed = append(s.Managed, Instance{
		Address: address, Type: r.Type, Provider: ref, Tainted: o.Status == "tainted", Deposed: o.Deposed,
		SchemaVersion: o.SchemaVersion, Attributes: o.Attributes, Flat: o.Flat, Sensitive: sensitive, Private: o.Private,
		Identity: o.Identity, IdentityVersion: o.IdentityVersion,
	})
	return nil
}

func (r resource) address(o object) (string, error) {
	address := r.Type + "." + r.Name
	if r.Mode == "data" {
		address = "data." + address
	}
	if r.Module != "" {
		address = r.Module + "." + address
	}
	if len(o.IndexKey) == 0 || string(o.IndexKey) == "null" {
		return address, nil
	}
	var text string
	if json.Unmarshal(o.IndexKey, &text) == nil {
		return address + "[" + quote(text) + "]", nil
	}
	number, err := strconv.ParseInt(string(o.IndexKey), 10, 64)
	if err != nil {
		return "", fmt.Errorf("%s: the state has the key %s, which is neither text nor a whole number", address, o.IndexKey)
	}
	return fmt.Sprintf("%s[%d]", address, number), nil
}

// quote writes a key as OpenTofu does in addresses.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range text {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case (r == '$' || r == '%') && strings.HasPrefix(text[i+1:], "{"):
			b.WriteRune(r)
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 1<<16:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

var providerForm = regexp.MustCompile(`^(?:(module\..+)\.)?provider\["([^"]+)"\](?:\.([^.\[\]]+))?(?:\[(.+)\])?$`)

func parseProvider(text string) (ProviderRef, error) {
	m := providerForm.FindStringSubmatch(text)
	if m == nil {
		return ProviderRef{}, fmt.Errorf("the state names the provider %q, which is not of the form provider[\"host/namespace/type\"]", text)
	}
	return ProviderRef{Module: m[1], Source: m[2], Alias: m[3], Key: m[4]}, nil
}

func parsePaths(text json.RawMessage) ([]cty.Path, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	var steps [][]struct {
		Type  string          `json:"type"`
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(text, &steps); err != nil {
		return nil, fmt.Errorf("understand sensitive_attributes: %w", err)
	}
	var paths []cty.Path
	for _, from := range steps {
		var path cty.Path
		for _, step := range from {
			switch step.Type {
			case "get_attr":
				var name string
				if err := json.Unmarshal(step.Value, &name); err != nil {
					return nil, fmt.Errorf("understand sensitive_attributes: %w", err)
				}
				path = path.GetAttr(name)
			case "index":
				key, err := ctyjson.Unmarshal(step.Value, cty.DynamicPseudoType)
				if err != nil {
					return nil, fmt.Errorf("understand sensitive_attributes: %w", err)
				}
				path = path.Index(key)
			default:
				return nil, fmt.Errorf("sensitive_attributes has a step of the type %q, which is not known", step.Type)
			}
		}
		paths = append(paths, path)
	}
	return paths, nil
}
