package state_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumb-dev/plumb/internal/driver/tofu/probe/state"
)

const random = `provider[\"registry.opentofu.org/hashicorp/random\"]`

func file(resources ...string) []byte {
	return []byte(`{"version":4,"terraform_version":"1.12.6","serial":7,"lineage":"l","outputs":{},"resources":[` + strings.Join(resources, ",") + `],"check_results":null}`)
}

func resource(module, provider, instance string) string {
	return fmt.Sprintf(`{"module":%q,"mode":"managed","type":"t","name":"n","provider":"%s","instances":[%s]}`, module, provider, instance)
}

func TestAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		resource, want, reason string
	}{
		"plain":      {resource("", random, `{"attributes":{}}`), "t.n", "the root"},
		"module":     {resource("module.a[0].module.b[\"x\"]", random, `{"attributes":{}}`), `module.a[0].module.b["x"].t.n`, "modules are written as they are"},
		"count":      {resource("", random, `{"index_key":3,"attributes":{}}`), "t.n[3]", "a number"},
		"for_each":   {resource("", random, `{"index_key":"a","attributes":{}}`), `t.n["a"]`, "a text"},
		"quotes":     {resource("", random, `{"index_key":"a\"\\b","attributes":{}}`), `t.n["a\"\\b"]`, "as in a module"},
		"template":   {resource("", random, `{"index_key":"${x}%{y}$z","attributes":{}}`), `t.n["$${x}%%{y}$z"]`, "as in a module"},
		"controls":   {resource("", random, `{"index_key":"\n\r\t\u0001","attributes":{}}`), `t.n["\n\r\t\u0001"]`, "as in a module"},
		"not Latin":  {resource("", random, `{"index_key":"ü 漢","attributes":{}}`), `t.n["ü 漢"]`, "readable"},
		"digits":     {resource("", random, `{"index_key":"0","attributes":{}}`), `t.n["0"]`, "a text of digits is no number"},
		"empty text": {resource("", random, `{"index_key":"","attributes":{}}`), `t.n[""]`, "an empty key is one"},
		"null":       {resource("", random, `{"index_key":null,"attributes":{}}`), `t.n`, "no key"},
	} {
		s, err := state.Parse(file(c.resource))
		if err != nil || len(s.Managed) != 1 || s.Managed[0].Address != c.want {
			t.Errorf("%s: got %+v, %v; want %s: %s", name, s, err, c.want, c.reason)
		}
	}
}

func TestProviders(t *testing.T) {
	for text, want := range map[string]state.ProviderRef{
		`provider["registry.opentofu.org/hashicorp/random"]`: {Source: "registry.opentofu.org/hashicorp/random"},
		`provider["example.com/a/b"].alias`:                  {Source: "example.com/a/b", Alias: "alias"},
		`module.x.provider["example.com/a/b"]`:               {Module: "module.x", Source: "example.com/a/b"},
		`module.x.module.y.provider["example.com/a/b"].z`:    {Module: "module.x.module.y", Source: "example.com/a/b", Alias: "z"},
		`provider["example.com/a/b"].z["eu"]`:                {Source: "example.com/a/b", Alias: "z", Key: `"eu"`},
	} {
		quoted, _ := json.Marshal(text)
		s, err := state.Parse(file(resource("", strings.Trim(string(quoted), `"`), `{"attributes":{}}`)))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, s.Managed[0].Provider); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if s.Managed[0].Provider.String() != text {
			t.Errorf("%s is written as %s", text, s.Managed[0].Provider)
		}
	}
	// The provider of an instance goes before that of its resource.
	s, err := state.Parse(file(resource("", random, `{"attributes":{},"provider":"provider[\"example.com/a/b\"].z[\"eu\"]"}`)))
	if err != nil || s.Managed[0].Provider.Alias != "z" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestObjects(t *testing.T) {
	s, err := state.Parse(file(
		resource("", random, `{"attributes":{"a":1},"status":"tainted","schema_version":2,"private":"YWJj"},{"deposed":"00000001","attributes":{}}`),
		resource("", random, `{"attributes_flat":{"a":"b"},"identity":{"id":"x"},"identity_schema_version":1},{"index_key":1,"attributes":{},"identity":null}`),
		`{"mode":"data","type":"d","name":"n","module":"module.m","provider":"`+random+`","instances":[{"index_key":"k","attributes":{}}]}`,
	))
	if err != nil {
		t.Fatal(err)
	}
	if s.Serial != 7 || s.Lineage != "l" || s.ToolVersion != "1.12.6" || len(s.Managed) != 4 {
		t.Fatalf("got %+v", s)
	}
	if m := s.Managed[0]; !m.Tainted || m.SchemaVersion != 2 || string(m.Private) != "abc" || string(m.Attributes) != `{"a":1}` {
		t.Errorf("got %+v", m)
	}
	if m := s.Managed[1]; m.Deposed != "00000001" || m.Tainted {
		t.Errorf("got %+v", m)
	}
	if m := s.Managed[2]; m.Flat["a"] != "b" || string(m.Identity) != `{"id":"x"}` || m.IdentityVersion != 1 {
		t.Errorf("got %+v", m)
	}
	if m := s.Managed[3]; m.Identity != nil {
		t.Errorf("got %+v", m)
	}
	if diff := cmp.Diff([]string{`module.m.data.d.n["k"]`}, s.Data); diff != "" {
		t.Error(diff)
	}
}

func TestSensitive(t *testing.T) {
	s, err := state.Parse(file(resource("", random, `{"attributes":{},"sensitive_attributes":[
		[{"type":"get_attr","value":"a"}],
		[{"type":"get_attr","value":"b"},{"type":"index","value":{"value":0,"type":"number"}},{"type":"get_attr","value":"c"}],
		[{"type":"get_attr","value":"m"},{"type":"index","value":{"value":"k","type":"string"}}]
	]}`)))
	if err != nil {
		t.Fatal(err)
	}
	want := []cty.Path{cty.GetAttrPath("a"), cty.GetAttrPath("b").IndexInt(0).GetAttr("c"), cty.GetAttrPath("m").IndexString("k")}
	for i, path := range s.Managed[0].Sensitive {
		if !path.Equals(want[i]) {
			t.Errorf("got %#v, want %#v", path, want[i])
		}
	}
	if len(s.Managed[0].Sensitive) != len(want) {
		t.Errorf("got %d paths", len(s.Managed[0].Sensitive))
	}
	for _, none := range []string{"null", "[]"} {
		if s, err := state.Parse(file(resource("", random, `{"attributes":{},"sensitive_attributes":`+none+`}`))); err != nil || len(s.Managed[0].Sensitive) != 0 {
			t.Errorf("%s: %+v, %v", none, s, err)
		}
	}
}

func TestEmpty(t *testing.T) {
	for _, text := range []string{"", `{"version":4,"serial":1}`} {
		if s, err := state.Parse([]byte(text)); err != nil || len(s.Managed) != 0 {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":           {"x", "understand the state"},
		"old":               {`{"version":3}`, "format 3"},
		"newer":             {`{"version":5}`, "format 5"},
		"encrypted":         {`{"encrypted_data":"abc","serial":1}`, "encrypted"},
		"mode":              {string(file(`{"mode":"odd","type":"t","name":"n","provider":"` + random + `","instances":[{}]}`)), "odd"},
		"provider":          {string(file(resource("", "provider.random", `{"attributes":{}}`))), "provider.random"},
		"key":               {string(file(resource("", random, `{"index_key":1.5,"attributes":{}}`))), "1.5"},
		"key of an object":  {string(file(resource("", random, `{"index_key":{"a":1},"attributes":{}}`))), "neither"},
		"step":              {string(file(resource("", random, `{"attributes":{},"sensitive_attributes":[[{"type":"odd","value":1}]]}`))), "odd"},
		"index without one": {string(file(resource("", random, `{"attributes":{},"sensitive_attributes":[[{"type":"index","value":1}]]}`))), "sensitive_attributes"},
		"private":           {string(file(resource("", random, `{"attributes":{},"private":"!"}`))), "understand the state"},
	} {
		if s, err := state.Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %+v, %v; want %q", name, s, err, c.want)
		}
	}
}

func TestTexts(t *testing.T) {
	i := state.Instance{Attributes: json.RawMessage(`{"a":"x","b":["y",{"c":"z"}],"n":1}`), Flat: map[string]string{"f": "w"}}
	for _, want := range []string{"x", "y", "z", "w"} {
		if got := strings.Join(i.Texts(), " "); !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(resource("module.a", random, `{"index_key":"a","attributes":{"a":1},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]}`)))
	f.Add(file(resource("", random, `{"deposed":"x","attributes_flat":{"a":"b"},"private":"YQ=="}`)))
	f.Add([]byte(`{"version":4,"resources":[{"mode":"data","instances":[{}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := state.Parse(text)
		if err != nil {
			return
		}
		for _, i := range s.Managed {
			if i.Address == "" || i.Provider.Source == "" {
				t.Errorf("got %+v", i)
			}
			_ = i.Texts()
		}
	})
}
