package plan

import (
	"encoding/json"
	"math/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddress(t *testing.T) {
	cases := map[string]struct {
		reason string
		ref    Ref
		want   Address
	}{
		"Namespaced":    {"group, kind, namespace and name are all of it; the version is not", Ref{"apps", "v1", "Deployment", "shop", "web"}, "apps/Deployment/shop/web"},
		"Core":          {"the core group has no name", Ref{"", "v1", "ConfigMap", "shop", "a"}, "ConfigMap/shop/a"},
		"ClusterScoped": {"no namespace", Ref{"rbac.authorization.k8s.io", "v1", "ClusterRole", "", "view"}, "rbac.authorization.k8s.io/ClusterRole/view"},
		"CoreCluster":   {"neither", Ref{"", "v1", "Namespace", "", "shop"}, "Namespace/shop"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.ref.Address(); got != tc.want {
				t.Errorf("%s: Address() = %q, want %q", tc.reason, got, tc.want)
			}
			back, ok := ParseAddress(tc.want)
			tc.ref.Version = ""
			if !ok || back != tc.ref {
				t.Errorf("ParseAddress(%q) = %+v, %v, want %+v", tc.want, back, ok, tc.ref)
			}
		})
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"", "/", "apps/Deployment/shop/web", "Namespace/shop", "a/b/c/d/e", "Ä/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, ok := ParseAddress(Address(s)); ok && string(r.Address()) != strings.Trim(s, "/") && !strings.Contains(s, "//") && !strings.HasPrefix(s, "/") {
			t.Errorf("%q parses as %+v, which is %q", s, r, r.Address())
		}
	})
}

func create(kind, name string) Change {
	return Create{Resource: Ref{Kind: kind, Namespace: "shop", Name: name}, After: State{Hash: name}}
}

func TestPlanIsTheSameInWhateverOrderItsStepsCome(t *testing.T) {
	steps := []Step{
		{Change: create("A", "a"), Phase: PostSync, Hook: true},
		{Change: create("B", "b"), Phase: Sync, Wave: 1},
		{Change: create("C", "c"), Phase: Sync, Wave: -1, Tier: 1},
		{Change: create("D", "d"), Phase: Sync, Wave: -1},
		{Change: Delete{Resource: Ref{Kind: "E", Name: "e"}}, Phase: Sync},
	}
	want := New(steps)
	for range 20 {
		rand.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		got := New(steps)
		if got.Digest() != want.Digest() {
			t.Fatalf("digests differ by the order of steps")
		}
	}
	var order []Address
	for _, s := range want.Steps {
		order = append(order, s.Address())
	}
	if diff := cmp.Diff([]Address{"D/shop/d", "C/shop/c", "E/e", "B/shop/b", "A/shop/a"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Counts{Create: 3, Delete: 1, Hooks: 1}, want.Count()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestDigestSeesWhatHides(t *testing.T) {
	masked := map[string]any{"data": "++++"}
	a := New([]Step{{Change: Update{Resource: Ref{Kind: "Secret", Name: "s"}, After: State{Hash: "1", Object: masked}}}})
	b := New([]Step{{Change: Update{Resource: Ref{Kind: "Secret", Name: "s"}, After: State{Hash: "2", Object: masked}}}})
	if a.Digest() == b.Digest() {
		t.Error("two plans that look alike but hide different values have one digest")
	}
}

func TestStepJSON(t *testing.T) {
	b, err := json.Marshal(New([]Step{{Change: create("A", "a"), Phase: PreSync, Hook: true}}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"steps":[{"action":"create","phase":"PreSync","hook":true,"change":{"resource":{"kind":"A","namespace":"shop","name":"a"},"after":{"hash":"a"}}}]}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEmpty(t *testing.T) {
	if !New([]Step{{Change: create("A", "a"), Hook: true}}).Empty() {
		t.Error("a plan of hooks alone changes nothing")
	}
	if New([]Step{{Change: create("A", "a")}}).Empty() {
		t.Error("a plan with a change is not empty")
	}
}
