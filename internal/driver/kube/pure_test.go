package kube

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

func decode(t testing.TB, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := decodeJSON([]byte(s), &m); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return m
}

func TestWalkFields(t *testing.T) {
	cases := map[string]struct {
		reason, fields, object string
		skip                   skipSet
		want                   []string
	}{
		"scalar": {reason: "a leaf is its value", fields: `{"f:spec":{"f:replicas":{}}}`, object: `{"spec":{"replicas":3}}`,
			want: []string{"f:spec f:replicas @/spec/replicas=3"}},
		"missing": {reason: "what is owned and not there is told of", fields: `{"f:spec":{"f:replicas":{}}}`, object: `{}`,
			want: []string{"f:spec f:replicas @/spec/replicas absent"}},
		"keyed": {reason: "list items are found by key, wherever they are", fields: `{"f:c":{"k:{\"name\":\"b\"}":{".":{},"f:v":{}}}}`,
			object: `{"c":[{"name":"a","v":1},{"name":"b","v":2}]}`,
			want:   []string{`f:c k:{"name":"b"} . @/c/1=null`, `f:c k:{"name":"b"} f:v @/c/1/v=2`}},
		"keyed by number": {reason: "keys keep their type", fields: `{"f:p":{"k:{\"port\":80}":{"f:v":{}}}}`, object: `{"p":[{"port":80,"v":"x"}]}`,
			want: []string{`f:p k:{"port":80} f:v @/p/0/v="x"`}},
		"set":   {reason: "set items are found by value", fields: `{"f:l":{"v:\"x\"":{}}}`, object: `{"l":["y","x"]}`, want: []string{`f:l v:"x" @/l/1="x"`}},
		"index": {reason: "items by place", fields: `{"f:l":{"i:1":{}}}`, object: `{"l":["y","x"]}`, want: []string{`f:l i:1 @/l/1="x"`}},
		"skip":  {reason: "what is skipped is not told of", fields: `{"f:a":{},"f:b":{"f:c":{}}}`, object: `{"a":1,"b":{"c":2}}`, skip: skipSet{"/b": {}}, want: []string{"f:a @/a=1"}},
		"escaped": {reason: "pointers are escaped", fields: `{"f:x/y~z":{}}`, object: `{"x/y~z":1}`,
			want: []string{"f:x/y~z @/x~1y~0z=1"}},
		"nonsense": {reason: "what is not understood is left out", fields: `{"q:x":{},"f:a":{"k:nonsense":{},"i:9":{}}}`, object: `{"a":[1]}`,
			want: []string{"f:a i:9 @/a/-1 absent", "f:a k:nonsense @/a/-1 absent"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			walkFields(decode(t, c.fields), decode(t, c.object), c.skip, func(path []string, pointer string, v any, present bool) {
				line := strings.Join(path, " ") + " @" + pointer
				if present {
					b, _ := json.Marshal(v)
					line += "=" + string(b)
				} else {
					line += " absent"
				}
				got = append(got, line)
			})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func managed(fields, object string) map[string]any {
	var o, f map[string]any
	_ = decodeJSON([]byte(object), &o)
	_ = decodeJSON([]byte(fields), &f)
	o["metadata"] = map[string]any{"managedFields": []any{map[string]any{"manager": FieldManager, "operation": "Apply", "fieldsV1": f}}}
	return o
}

func TestProjection(t *testing.T) {
	base := managed(`{"f:spec":{"f:a":{},"f:b":{}}}`, `{"spec":{"a":1,"b":2,"c":3}}`)
	cases := map[string]struct {
		reason string
		object map[string]any
		skip   skipSet
		same   bool
	}{
		"other fields":      {"what others own does not count", managed(`{"f:spec":{"f:a":{},"f:b":{}}}`, `{"spec":{"a":1,"b":2,"c":9,"d":1},"status":{"x":1}}`), nil, true},
		"a value":           {"a changed value counts", managed(`{"f:spec":{"f:a":{},"f:b":{}}}`, `{"spec":{"a":2,"b":2}}`), nil, false},
		"lost ownership":    {"a field that was taken counts, even at the same value", managed(`{"f:spec":{"f:a":{}}}`, `{"spec":{"a":1,"b":2}}`), nil, false},
		"a removed field":   {"a removed field counts", managed(`{"f:spec":{"f:a":{},"f:b":{}}}`, `{"spec":{"a":1}}`), nil, false},
		"another's entries": {"nothing owned is nothing", map[string]any{"spec": map[string]any{"a": int64(1)}}, nil, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := (hasher{}).projection(base, c.skip) == (hasher{}).projection(c.object, c.skip); got != c.same {
				t.Errorf("%s: same is %t", c.reason, got)
			}
		})
	}
	taken := managed(`{"f:spec":{"f:a":{}}}`, `{"spec":{"a":1,"b":7}}`)
	skip := skipSet{"/spec/b": {}}
	if (hasher{}).projection(base, skip) != (hasher{}).projection(taken, skip) {
		t.Error("an ignored field counts neither by value nor by owner")
	}
	if (hasher{}).projection(base, nil) == (hasher{[]byte("k")}).projection(base, nil) {
		t.Error("a key changes the marks")
	}
}

func FuzzWalkFields(f *testing.F) {
	f.Add([]byte(`{"f:a":{"k:{\"name\":\"b\"}":{".":{}},"v:1":{},"i:0":{}}}`), []byte(`{"a":[{"name":"b"},1]}`))
	f.Add([]byte(`{"f:":{"k:":{},"v:":{},"i:-1":{},":":{},"":{}}}`), []byte(`{"":null}`))
	f.Fuzz(func(t *testing.T, fields, object []byte) {
		var fm map[string]any
		var o any
		if decodeJSON(fields, &fm) != nil || decodeJSON(object, &o) != nil {
			t.Skip()
		}
		var first, second []string
		for _, out := range []*[]string{&first, &second} {
			walkFields(fm, o, nil, func(path []string, pointer string, _ any, _ bool) {
				*out = append(*out, strings.Join(path, "\x00")+pointer)
			})
		}
		if !slices.Equal(first, second) {
			t.Error("the order is not stable")
		}
	})
}

func TestParseHook(t *testing.T) {
	cases := map[string]struct {
		reason      string
		annotations map[string]string
		want        *driver.Hook
		skip        bool
		wave        int
	}{
		"none":        {reason: "an ordinary object", annotations: map[string]string{"argocd.argoproj.io/sync-wave": "-3"}, wave: -3},
		"argo":        {reason: "lists", annotations: map[string]string{"argocd.argoproj.io/hook": "PostSync, PreSync"}, want: &driver.Hook{Phases: []plan.Phase{plan.PreSync, plan.PostSync}, Policies: []string{BeforeHookCreation}}},
		"own prefix":  {reason: "Plumb's own words come first", annotations: map[string]string{"plumb.dev/hook": "Sync", "argocd.argoproj.io/hook": "PreSync"}, want: &driver.Hook{Phases: []plan.Phase{plan.Sync}, Policies: []string{BeforeHookCreation}}},
		"skip":        {reason: "never made", annotations: map[string]string{"argocd.argoproj.io/hook": "Skip"}, skip: true},
		"policies":    {reason: "as named", annotations: map[string]string{"argocd.argoproj.io/hook": "SyncFail", "argocd.argoproj.io/hook-delete-policy": "HookSucceeded,HookFailed"}, want: &driver.Hook{Phases: []plan.Phase{plan.SyncFail}, Policies: []string{HookSucceeded, HookFailed}}},
		"helm":        {reason: "install and upgrade are one phase; the weight is a wave", annotations: map[string]string{"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": "5", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}, want: &driver.Hook{Phases: []plan.Phase{plan.PreSync}, Policies: []string{BeforeHookCreation, HookSucceeded}}, wave: 5},
		"helm delete": {reason: "deletion", annotations: map[string]string{"helm.sh/hook": "pre-delete,post-delete"}, want: &driver.Hook{Phases: []plan.Phase{plan.PreDelete, plan.PostDelete}, Policies: []string{BeforeHookCreation}}},
		"helm test":   {reason: "tests are not run", annotations: map[string]string{"helm.sh/hook": "test"}, want: &driver.Hook{Policies: []string{BeforeHookCreation}}, skip: true},
		"crd-install": {reason: "an ordinary object", annotations: map[string]string{"helm.sh/hook": "crd-install"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, skip := parseHook(c.annotations)
			if diff := cmp.Diff(c.want, got); diff != "" || skip != c.skip || waveOf(c.annotations) != c.wave {
				t.Errorf("%s: skip %t, wave %d (-want +got):\n%s", c.reason, skip, waveOf(c.annotations), diff)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	order := []plan.Ref{{Kind: "Namespace"}, {Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}, {Kind: "Secret"},
		{Group: "apps", Kind: "Deployment"}, {Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}}
	for i := 1; i < len(order); i++ {
		if tierOf(order[i-1]) >= tierOf(order[i]) {
			t.Errorf("%s is made before %s", order[i-1].Kind, order[i].Kind)
		}
		if deletionTier(order[i-1]) <= deletionTier(order[i]) {
			t.Errorf("%s is deleted after %s", order[i-1].Kind, order[i].Kind)
		}
		if deletionTier(order[i]) < tierDelete {
			t.Errorf("%s is deleted before all is made", order[i].Kind)
		}
	}
}

func TestGuard(t *testing.T) {
	cases := map[string]struct {
		reason      string
		app         []string
		annotations map[string]string
		deleting    bool
		approved    bool
		want        string
	}{
		"none":           {reason: "nothing keeps it"},
		"prune false":    {reason: "by annotation", annotations: map[string]string{"argocd.argoproj.io/sync-options": "Prune=false"}, want: "Prune=false"},
		"not on delete":  {reason: "pruning is not deleting", annotations: map[string]string{"argocd.argoproj.io/sync-options": "Prune=false"}, deleting: true},
		"app":            {reason: "for all", app: []string{"Prune=false"}, want: "Prune=false"},
		"resource wins":  {reason: "the resource's word counts", app: []string{"Prune=false"}, annotations: map[string]string{"argocd.argoproj.io/sync-options": "Prune=true"}},
		"confirm":        {reason: "asks", annotations: map[string]string{"argocd.argoproj.io/sync-options": "Delete=confirm"}, deleting: true, want: "Delete=confirm"},
		"confirmed":      {reason: "has been answered", annotations: map[string]string{"argocd.argoproj.io/sync-options": "Delete=confirm"}, deleting: true, approved: true},
		"false approved": {reason: "false is not a question", annotations: map[string]string{"argocd.argoproj.io/sync-options": "Delete=false"}, deleting: true, approved: true, want: "Delete=false"},
		"helm":           {reason: "Helm's way to say it", annotations: map[string]string{"helm.sh/resource-policy": "keep"}, want: "helm.sh/resource-policy: keep"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := (syncOptions{}).with(c.app).of(c.annotations).guard(c.deleting, c.approved); got != c.want {
				t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

func TestRules(t *testing.T) {
	deployment := plan.Ref{Group: "apps", Kind: "Deployment", Namespace: "ns", Name: "web"}
	set, err := compileRules(hasher{}, []v1alpha1.ResourceIgnoreDifferences{
		{Group: "apps", Kind: "Deployment", Name: "web", JSONPointers: []string{"/spec/replicas"}},
		{Group: "*", Kind: "*", JQPathExpressions: []string{`.spec.containers[] | select(.name == "b") | .image`, ".nonsense[].x"}},
		{Kind: "Secret", JSONPointers: []string{"/data"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	object := decode(t, `{"spec":{"replicas":1,"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]}}`)
	skip := set.of(deployment).skip(object)
	for _, p := range []string{"/spec/replicas", "/spec/containers/1/image"} {
		if !skip.has(p) {
			t.Errorf("%s is not ignored: %v", p, skip)
		}
	}
	if skip.has("/data") || skip.has("/spec/containers/0/image") {
		t.Errorf("too much is ignored: %v", skip)
	}
	skip.remove(object)
	if diff := cmp.Diff(decode(t, `{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b"}]}}`), object); diff != "" {
		t.Error(diff)
	}
	if _, err := compileRules(hasher{}, []v1alpha1.ResourceIgnoreDifferences{{Kind: "X", JQPathExpressions: []string{".a["}}}, nil); err == nil || !strings.Contains(err.Error(), "ignoreDifferences[0]") {
		t.Errorf("a bad expression is an error that names it: %v", err)
	}
	endless, err := compileRules(hasher{}, []v1alpha1.ResourceIgnoreDifferences{{Group: "*", Kind: "*", JQPathExpressions: []string{"last(repeat(.))"}}}, nil)
	if err == nil {
		endless.of(deployment).skip(object) // ends
	}
}

func TestMaskSecrets(t *testing.T) {
	before := decode(t, `{"metadata":{"annotations":{"note":"fine","copy":"has hunter22 in it"}},"data":{"same":"aHVudGVyMjI=","changed":"b2xkLXZhbHVl","gone":"Z29uZS12YWx1ZQ=="}}`)
	after := decode(t, `{"data":{"same":"aHVudGVyMjI=","changed":"bmV3LXZhbHVl","new":"bmV3LXZhbHVl"},"stringData":{"x":"plain"}}`)
	maskSecrets(before, after)
	want := decode(t, `{"data":{"same":"++++++++","changed":"++++++++ (changed)","new":"++++++++"},"stringData":{"x":"++++++++"}}`)
	if diff := cmp.Diff(want, after); diff != "" {
		t.Error(diff)
	}
	want = decode(t, `{"metadata":{"annotations":{"note":"fine","copy":"++++++++"}},"data":{"same":"++++++++","changed":"++++++++","gone":"++++++++"}}`)
	if diff := cmp.Diff(want, before); diff != "" {
		t.Error(diff)
	}
	maskSecrets(nil, nil)
}
