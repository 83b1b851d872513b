package guard

import (
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// module gathers what one module's files say of providers.
type module struct {
	*checker
	// required are the sources of providers by their local names: all that the
	// files give, since it takes the programs' own rules to tell which of them
	// overrides which.
	required map[string][]required
	// used are the local names in use that need not be required.
	used  []use
	calls []call
}

// required is where a provider is said to come from.
type required struct {
	source string
	at     hcl.Range
}

// use of a provider by its local name.
type use struct {
	name string
	at   hcl.Range
}

var (
	fileSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "terraform"},
		{Type: "provider", LabelNames: []string{"name"}},
		{Type: "module", LabelNames: []string{"name"}},
		{Type: "resource", LabelNames: []string{"type", "name"}},
		{Type: "data", LabelNames: []string{"type", "name"}},
		{Type: "ephemeral", LabelNames: []string{"type", "name"}},
		{Type: "action", LabelNames: []string{"type", "name"}},
		{Type: "check", LabelNames: []string{"name"}},
		{Type: "removed"},
	}}
	terraformSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "backend", LabelNames: []string{"type"}},
		{Type: "cloud"},
		{Type: "required_providers"},
		{Type: "encryption"},
	}}
	encryptionSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "key_provider", LabelNames: []string{"type", "name"}},
		{Type: "method", LabelNames: []string{"type", "name"}},
	}}
	moduleSchema   = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
	backendSchema  = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "path"}, {Name: "workspace_dir"}}}
	resourceSchema = &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "provider"}, {Name: "backend"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "provisioner", LabelNames: []string{"type"}}},
	}
	checkSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "data", LabelNames: []string{"type", "name"}}}}
)

// content reads what a schema asks for. What can't be read is refused.
func (m *module) content(body hcl.Body, schema *hcl.BodySchema) *hcl.BodyContent {
	content, _, diags := body.PartialContent(schema)
	m.diagnose(diags)
	return content
}

func (m *module) file(file *hcl.File) {
	for _, block := range m.content(file.Body, fileSchema).Blocks {
		if m.full() {
			return
		}
		switch block.Type {
		case "terraform":
			m.terraform(block)
		case "provider":
			m.uses(block.Labels[0], block.DefRange)
		case "module":
			m.call(block)
		case "removed":
			m.provisioners(m.content(block.Body, &hcl.BodySchema{Blocks: resourceSchema.Blocks}))
		case "check":
			for _, data := range m.content(block.Body, checkSchema).Blocks {
				m.resource(data)
			}
		default:
			m.resource(block)
		}
	}
}

func (m *module) terraform(block *hcl.Block) {
	for _, inner := range m.content(block.Body, terraformSchema).Blocks {
		switch inner.Type {
		case "backend":
			m.backend(inner.Labels[0], inner.DefRange)
			if inner.Labels[0] == "local" {
				m.localBackend(inner)
			}
		case "cloud":
			m.backend("cloud", inner.DefRange)
		case "encryption":
			for _, part := range m.content(inner.Body, encryptionSchema).Blocks {
				if part.Labels[0] == "external" && !m.policy.LocalExec {
					m.deny(LocalExec, part.DefRange, "%s %q runs a program on Plumb's machine", part.Type, "external")
				}
			}
		case "required_providers":
			m.require(inner)
		}
	}
}

func (m *module) backend(kind string, at hcl.Range) {
	if m.policy.Backends != nil && !slices.Contains(m.policy.Backends, kind) && !slices.Contains(m.policy.Backends, "*") {
		m.deny(Backend, at, "the state is kept in a backend %q", kind)
	}
}

// localBackend refuses state files on Plumb's machine outside the module.
func (m *module) localBackend(block *hcl.Block) {
	for name, attr := range m.content(block.Body, backendSchema).Attributes {
		text, ok := literal(attr.Expr)
		if !ok || path.IsAbs(text) || filepath.IsAbs(text) || slices.Contains(strings.Split(filepath.ToSlash(text), "/"), "..") {
			m.refuse(Backend, attr.Range, "the %s of the backend \"local\" has to be a plain path within the module: it names a file on Plumb's machine", name)
		}
	}
}

// require notes the sources of providers.
func (m *module) require(block *hcl.Block) {
	attrs, diags := block.Body.JustAttributes()
	m.diagnose(diags)
	for name, attr := range attrs {
		at := len(m.required[name])
		m.required[name] = append(m.required[name], required{"hashicorp/" + name, attr.Range})
		pairs, diags := hcl.ExprMap(attr.Expr)
		if diags.HasErrors() {
			continue // the old form: a version alone
		}
		for _, pair := range pairs {
			key, ok := keyword(pair.Key)
			if !ok {
				m.refuse(Provider, attr.Range, "the source of the provider %q is not a plain text, so nobody knows what it is", name)
				continue
			}
			if key != "source" {
				continue
			}
			source, ok := literal(pair.Value)
			if !ok {
				m.refuse(Provider, attr.Range, "the source of the provider %q is not a plain text, so nobody knows what it is", name)
				continue
			}
			m.required[name][at].source = source
		}
	}
}

// keyword is a key of an object: a bare word or a text.
func keyword(expr hcl.Expression) (string, bool) {
	if word := hcl.ExprAsKeyword(expr); word != "" {
		return word, true
	}
	if key, ok := expr.(interface{ UnwrapExpression() hcl.Expression }); ok {
		return literal(key.UnwrapExpression())
	}
	if wrapped := hcl.UnwrapExpression(expr); wrapped != expr {
		return literal(wrapped)
	}
	return literal(expr)
}

func (m *module) uses(name string, at hcl.Range) { m.used = append(m.used, use{name, at}) }

func (m *module) resource(block *hcl.Block) {
	kind := block.Labels[0]
	content := m.content(block.Body, resourceSchema)
	name, _, _ := strings.Cut(kind, "_")
	if attr := content.Attributes["provider"]; attr != nil {
		if given := providerName(attr.Expr); given != "" {
			name = given
		}
	}
	if kind == "terraform_remote_state" && block.Type == "data" {
		m.remoteState(block, content)
	}
	if kind == "external" && block.Type == "data" && !m.policy.External {
		m.deny(External, block.DefRange, "data %q runs a program on Plumb's machine", "external")
	}
	m.uses(name, block.DefRange)
	m.provisioners(content)
}

// providerName is the local name in the argument provider: aws.west, "aws.west".
func providerName(expr hcl.Expression) string {
	if traversal, diags := hcl.AbsTraversalForExpr(expr); !diags.HasErrors() {
		return traversal.RootName()
	}
	text, _ := literal(expr)
	name, _, _ := strings.Cut(text, ".")
	return strings.TrimSpace(name)
}

// remoteState reads another state: its backend is bound like the module's own.
func (m *module) remoteState(block *hcl.Block, content *hcl.BodyContent) {
	attr := content.Attributes["backend"]
	if attr == nil || m.policy.Backends == nil {
		return
	}
	kind, ok := literal(attr.Expr)
	if !ok {
		m.refuse(Backend, attr.Range, "the backend of this state is not a plain text, so nobody knows what it is")
		return
	}
	m.backend(kind, block.DefRange)
}

func (m *module) provisioners(content *hcl.BodyContent) {
	for _, block := range content.Blocks {
		switch kind := block.Labels[0]; kind {
		case "remote-exec", "file":
			if !m.policy.RemoteExec {
				m.deny(RemoteExec, block.DefRange, "provisioner %q changes a machine behind the provider's back", kind)
			}
		default: // any other is a program, too
			if !m.policy.LocalExec {
				m.deny(LocalExec, block.DefRange, "provisioner %q runs a program on Plumb's machine", kind)
			}
		}
	}
}

func (m *module) call(block *hcl.Block) {
	attr := m.content(block.Body, moduleSchema).Attributes["source"]
	if attr == nil {
		return
	}
	source, ok := literal(attr.Expr)
	switch {
	case !ok: // CheckInstalled sees it
	case strings.HasPrefix(source, "./"), strings.HasPrefix(source, "../"):
		dir, _, _ := strings.Cut(source, "?")
		m.calls = append(m.calls, call{strings.ReplaceAll(dir, "//", "/"), attr.Range})
	case path.IsAbs(source), filepath.IsAbs(source), strings.HasPrefix(source, `\`), strings.HasPrefix(source, "~"),
		strings.Contains(source, "::/"), strings.Contains(strings.ToLower(source), "file:"):
		m.refuse(Source, attr.Range, "the module %q is a folder of Plumb's machine: modules come from the repository, by a relative path, from registries and from Git", source)
	}
}

// providers checks all providers of the module against the list.
func (m *module) providers() {
	told := map[string]bool{}
	check := func(source string, at hcl.Range) {
		full := m.address(source)
		if told[full] || full == builtin {
			return
		}
		told[full] = true
		switch {
		case strings.HasSuffix(full, "/external") && !m.policy.External:
			m.deny(External, at, "the provider %s runs programs on Plumb's machine", full)
		case !m.allowed(full):
			m.deny(Provider, at, "the provider %s is not on the list", full)
		}
	}
	for _, all := range m.required {
		for _, r := range all {
			check(r.source, r.at)
		}
	}
	for _, u := range m.used {
		if _, ok := m.required[u.name]; ok {
			continue
		}
		if u.name == "terraform" {
			continue
		}
		check("hashicorp/"+u.name, u.at)
	}
}

// builtin is a part of the programs themselves.
const builtin = "terraform.io/builtin/terraform"

// address is a source with all of its three parts: host, namespace, name.
func (m *module) address(source string) string {
	host := m.policy.DefaultHost
	if host == "" {
		host = "registry.opentofu.org"
	}
	source = strings.ToLower(strings.TrimSpace(source))
	switch strings.Count(source, "/") {
	case 0:
		return host + "/hashicorp/" + source
	case 1:
		return host + "/" + source
	default:
		return source
	}
}

func (m *module) allowed(full string) bool {
	if m.policy.Providers == nil {
		return true
	}
	return slices.ContainsFunc(m.policy.Providers, func(pattern string) bool {
		if pattern == "*" {
			return true
		}
		ok, err := path.Match(m.address(pattern), full)
		return err == nil && ok
	})
}

// literal is the text of an expression that is nothing but a text.
func literal(expr hcl.Expression) (string, bool) {
	switch e := expr.(type) {
	case *hclsyntax.TemplateExpr:
		if len(e.Parts) == 0 {
			return "", true
		}
		if part, ok := e.Parts[0].(*hclsyntax.LiteralValueExpr); ok && len(e.Parts) == 1 {
			return literal(part)
		}
		return "", false
	case *hclsyntax.LiteralValueExpr:
		if e.Val.IsNull() || !e.Val.IsKnown() || e.Val.Type().FriendlyName() != "string" {
			return "", false
		}
		return e.Val.AsString(), true
	}
	if hcljson.IsJSONExpression(expr) {
		v, diags := expr.Value(nil) // a text as it is written: nothing is evaluated
		if diags.HasErrors() || v.IsNull() || !v.IsWhollyKnown() || v.Type().FriendlyName() != "string" {
			return "", false
		}
		text := v.AsString()
		return text, !strings.Contains(text, "${") && !strings.Contains(text, "%{")
	}
	return "", false
}
