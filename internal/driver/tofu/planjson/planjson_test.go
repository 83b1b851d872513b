package planjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/plumb-dev/plumb/internal/driver/tofu/planjson"
	"github.com/plumb-dev/plumb/internal/plan"
)

const canary = "canary-Zx81-secret"

func parse(t *testing.T, text string) *tfjson.Plan {
	t.Helper()
	p, err := planjson.ParsePlan([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// change is the JSON of a plan with one change.
func change(text string) string {
	return `{"format_version":"1.2","resource_changes":[{"address":"module.net[\"a.b\"].x_thing.it","mode":"managed","type":"x_thing","name":"it",` + text + `}]}`
}

func TestConvert(t *testing.T) {
	ref := plan.Ref{Kind: "x_thing", Name: `module.net["a.b"].x_thing.it`}
	type object = map[string]any
	cases := map[string]struct {
		reason string
		plan   string
		want   plan.Change
		note   string
	}{
		"NoOp": {"what stays is no change", change(`"change":{"actions":["no-op"],"before":{"a":1},"after":{"a":1}}`), nil, ""},
		"Create": {"unknown and sensitive values are marked, unset ones left out",
			change(`"change":{"actions":["create"],"before":null,"after":{"name":"n","password":"` + canary + `","none":null,"tags":[{"k":"v"}]},"after_unknown":{"id":true,"tags":[{"k":false,"arn":true}]},"after_sensitive":{"password":true,"tags":[{}]}}`),
			plan.Create{Resource: ref, After: plan.State{Object: object{"name": "n", "password": planjson.Sensitive, "id": planjson.Unknown, "tags": []any{object{"k": "v", "arn": planjson.Unknown}}}}}, ""},
		"UnknownSecret": {"a value may be both", change(`"change":{"actions":["create"],"before":null,"after":{},"after_unknown":{"p":true},"after_sensitive":{"p":true}}`),
			plan.Create{Resource: ref, After: plan.State{Object: object{"p": planjson.Sensitive}}}, ""},
		"Update": {"an ordinary change", change(`"change":{"actions":["update"],"before":{"a":1},"after":{"a":2}}`),
			plan.Update{Resource: ref, Before: plan.State{Object: object{"a": json.Number("1")}}, After: plan.State{Object: object{"a": json.Number("2")}}}, ""},
		"Replace": {"with the attributes that ask for it",
			change(`"action_reason":"replace_because_cannot_update","change":{"actions":["create","delete"],"before":{"a":1},"after":{"a":2},"replace_paths":[["disk",0,"size"],["a"]]}`),
			plan.Replace{Resource: ref, Before: plan.State{Object: object{"a": json.Number("1")}}, After: plan.State{Object: object{"a": json.Number("2")}},
				Reason: "can't be changed in place: a, disk[0].size; the new one is made first"}, ""},
		"Tainted": {"what was left incomplete", change(`"action_reason":"replace_because_tainted","change":{"actions":["delete","create"],"before":{},"after":{}}`),
			plan.Replace{Resource: ref, Before: plan.State{Object: object{}}, After: plan.State{Object: object{}}, Reason: "an earlier run has left it incomplete (tainted)"}, ""},
		"Delete": {"with the reason", change(`"action_reason":"delete_because_each_key","change":{"actions":["delete"],"before":{"p":"` + canary + `"},"after":null,"before_sensitive":{"p":true},"after_sensitive":false}`),
			plan.Delete{Resource: ref, Before: plan.State{Object: object{"p": planjson.Sensitive}}}, "its key is not in for_each any more"},
		"Deposed": {"what a failed replacement has left has a name of its own", change(`"deposed":"12ab","change":{"actions":["delete"],"before":{},"after":null}`),
			plan.Delete{Resource: plan.Ref{Kind: "x_thing", Name: ref.Name + " (deposed 12ab)"}, Before: plan.State{Object: object{}}}, "an earlier replacement has left it"},
		"Import": {"an import changes nothing else", change(`"change":{"actions":["no-op"],"before":{},"after":{},"importing":{"id":"i-1"}}`),
			plan.Update{Resource: ref, Before: plan.State{Object: object{}}, After: plan.State{Object: object{}}, Import: "i-1"}, ""},
		"Move": {"nor does a move", change(`"previous_address":"module.old[\"c.d\"].y_thing.was[0]","change":{"actions":["no-op"],"before":{},"after":{}}`),
			plan.Update{Resource: ref, Before: plan.State{Object: object{}}, After: plan.State{Object: object{}}, From: `y_thing/module.old["c.d"].y_thing.was[0]`}, ""},
		"Forget": {"what is let go is not deleted", change(`"change":{"actions":["forget"],"before":{},"after":null}`),
			plan.Forget{Resource: ref, Before: plan.State{Object: object{}}}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := planjson.Convert(parse(t, tc.plan), planjson.Options{})
			var got plan.Change
			if len(r.Plan.Steps) == 1 {
				got = r.Plan.Steps[0].Change
			}
			hashless := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Hash" }, cmp.Ignore())
			if diff := cmp.Diff(tc.want, got, hashless); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if tc.want != nil && r.Notes[got.Target().Address()] != tc.note {
				t.Errorf("%s: note %q", tc.reason, r.Notes[got.Target().Address()])
			}
			if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), canary) {
				t.Errorf("%s: %s, %v", tc.reason, text, err)
			}
		})
	}
}

func TestDrift(t *testing.T) {
	with := func(recorded, live, planned, unknown string) string {
		return `{"format_version":"1.2","resource_drift":[{"address":"x.it","mode":"managed","type":"x","name":"it","change":{"actions":["update"],"before":` + recorded + `,"after":` + live + `}}],
"resource_changes":[{"address":"x.it","mode":"managed","type":"x","name":"it","change":{"actions":["update"],"before":` + live + `,"after":` + planned + `,"after_unknown":` + unknown + `}}]}`
	}
	cases := map[string]struct {
		reason, plan string
		want         bool
	}{
		"Undone":   {"the plan puts back what was", with(`{"a":1,"e":"x"}`, `{"a":2,"e":"y"}`, `{"a":1}`, `{"e":true}`), true},
		"Declared": {"Git says something new", with(`{"a":1}`, `{"a":2}`, `{"a":3}`, `{}`), false},
		"Both":     {"Git says something new of another attribute", with(`{"a":1,"b":1}`, `{"a":2,"b":1}`, `{"a":1,"b":2}`, `{}`), false},
		"Computed": {"what drifted is of no matter, what is declared has changed", with(`{"a":1,"n":1}`, `{"a":1,"n":2}`, `{"a":3,"n":2}`, `{}`), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := planjson.Convert(parse(t, tc.plan), planjson.Options{})
			if u, ok := r.Plan.Steps[0].Change.(plan.Update); !ok || u.Drift != tc.want {
				t.Errorf("%s: %+v", tc.reason, r.Plan.Steps[0])
			}
			if len(r.Drift) != 1 || r.Drift[0].Deleted || r.Drift[0].Recorded.Hash == r.Drift[0].Live.Hash {
				t.Errorf("%s: %+v", tc.reason, r.Drift)
			}
		})
	}
}

// TestHashes tells states apart that look alike.
func TestHashes(t *testing.T) {
	with := func(secret string) plan.Create {
		p := parse(t, change(`"change":{"actions":["create"],"before":null,"after":{"p":"`+secret+`"},"after_sensitive":{"p":true}}`))
		return planjson.Convert(p, planjson.Options{Salt: []byte("salt")}).Plan.Steps[0].Change.(plan.Create)
	}
	a, b := with("one"), with("two")
	if a.After.Hash == b.After.Hash || a.After.Hash != with("one").After.Hash {
		t.Error("the hash does not stand for the hidden values")
	}
	if diff := cmp.Diff(a.After.Object, b.After.Object); diff != "" {
		t.Errorf("they look different: %s", diff)
	}
}

func TestReadsAndOutputs(t *testing.T) {
	r := planjson.Convert(parse(t, `{"format_version":"1.2","resource_changes":[{"address":"data.x.it","mode":"data","type":"x","name":"it","action_reason":"read_because_config_unknown","change":{"actions":["read"],"before":null,"after":{}}}],
"output_changes":{"a":{"actions":["create"],"before":null,"after_unknown":true},"b":{"actions":["update"],"before":"`+canary+`","after":"other","before_sensitive":true,"after_sensitive":true},"c":{"actions":["no-op"],"before":1,"after":1}}}`), planjson.Options{})
	want := planjson.Result{
		Plan: plan.New(nil), Notes: map[plan.Address]string{}, Changed: map[plan.Address][]string{},
		Reads: []planjson.Read{{Ref: plan.Ref{Kind: "x", Name: "data.x.it"}, Reason: "what it asks for is known after apply"}},
		Outputs: []planjson.OutputChange{
			{Name: "a", Action: plan.ActionCreate, After: planjson.Unknown},
			{Name: "b", Action: plan.ActionUpdate, Before: planjson.Sensitive, After: planjson.Sensitive, Sensitive: true},
		},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestResources(t *testing.T) {
	s, err := planjson.ParseState([]byte(`{"format_version":"1.0","values":{"outputs":{"o":{"sensitive":true,"value":"` + canary + `"}},"root_module":{"child_modules":[{"address":"module.a","resources":[
{"address":"module.a.x.it[0]","mode":"managed","type":"x","name":"it","index":0,"provider_name":"r/h/x","values":{"id":"i-1","p":"` + canary + `"},"sensitive_values":{"p":true},"depends_on":["y.it"],"tainted":true}]}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := planjson.Resources(s, planjson.Options{})
	want := []planjson.Resource{{
		Ref: plan.Ref{Kind: "x", Name: "module.a.x.it[0]"}, State: plan.State{Hash: got[0].State.Hash, Object: map[string]any{"id": "i-1", "p": planjson.Sensitive}},
		ID: "i-1", Provider: "r/h/x", Module: "module.a", Tainted: true, DependsOn: []string{"y.it"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if out := planjson.Outputs(s, planjson.Options{}); len(out) != 1 || out[0].Value != planjson.Sensitive || out[0].Hash == "" {
		t.Errorf("outputs: %+v", out)
	}
}
