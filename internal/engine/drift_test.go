package engine

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestBoundedDrift(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	var all []v1alpha1.DriftStatus
	for i := range 30 {
		all = append(all, v1alpha1.DriftStatus{Name: fmt.Sprint("ended", i), Until: &at}, v1alpha1.DriftStatus{Name: fmt.Sprint("lasting", i)})
	}
	ended, lasting := []string{}, []string{}
	for _, d := range boundedDrift(all, 10) {
		if d.Until != nil {
			ended = append(ended, d.Name)
		} else {
			lasting = append(lasting, d.Name)
		}
	}
	if len(ended) != mostEnded || ended[len(ended)-1] != "ended29" {
		t.Errorf("the latest that have ended are kept: %v", ended)
	}
	if len(lasting) != 10 || lasting[0] != "lasting0" {
		t.Errorf("the first that last are kept: %v", lasting)
	}
}

// fakeWitnesses know after a while who it was.
type fakeWitnesses struct {
	who   Witnessed
	heard bool
	asked []Trace
}

func (f *fakeWitnesses) Who(t Trace) (Witnessed, bool) {
	f.asked = append(f.asked, t)
	if !f.heard {
		return Witnessed{}, true
	}
	return f.who, false
}

// TestWhoDrifts looks whether drift is told with who has made it, also where that
// is known later only, and whether nobody is asked without end.
func TestWhoDrifts(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	cases := map[string]struct {
		reason string
		came   []v1alpha1.DriftStatus
		want   Witnessed
	}{
		"User":    {"the user", []v1alpha1.DriftStatus{{User: "ann", ImpersonatedBy: "bob", Manager: "m"}}, Witnessed{"ann", "bob"}},
		"Manager": {"the manager is no proof", []v1alpha1.DriftStatus{{Manager: "m"}, {Manager: "m"}}, Witnessed{User: "manager:m"}},
		"Two":     {"two are not one", []v1alpha1.DriftStatus{{User: "ann"}, {User: "bob"}}, Witnessed{User: "unknown"}},
		"Partly":  {"one of two is not both", []v1alpha1.DriftStatus{{User: "ann"}, {}}, Witnessed{User: "unknown"}},
	}
	for name, tc := range cases {
		if got := whoDrifts(tc.came); got != tc.want {
			t.Errorf("%s: %s: %+v", name, tc.reason, got)
		}
	}
	clock := &fakeClock{now: at.Time.Add(time.Second)}
	f := &fakeWitnesses{who: Witnessed{User: "ann"}}
	e := New(Options{Witnesses: f, Clock: clock})
	p := &pass{e: e, app: &v1alpha1.Application{}, st: &state{drifts: []v1alpha1.DriftStatus{{Kind: "ConfigMap", Name: "one", Manager: "m", Since: at}}}}
	p.target.Server, p.cluster = "https://far", "far"
	p.identify()
	if len(f.asked) != 1 || f.asked[0].Manager != "m" || f.asked[0].Cluster != "far" || !f.asked[0].Found.Equal(at.Time) {
		t.Errorf("asked was %+v", f.asked)
	}
	f.heard = true
	p.identify()
	if d := p.st.drifts[0]; d.User != "ann" || d.By() != "ann (m)" {
		t.Errorf("what is known later is not told: %+v", d)
	}
	p.identify()
	p.st.drifts[0].User = ""
	clock.now = at.Time.Add(time.Hour)
	p.identify()
	if len(f.asked) != 2 {
		t.Errorf("asked was %d times", len(f.asked))
	}
	var gone endedDrift
	later := metav1.NewTime(at.Time.Add(3 * time.Second))
	gone.add(v1alpha1.DriftStatus{Kind: "ConfigMap", Name: "one", User: "ann", Since: at, Until: &later})
	if gone.texts[0] != "ConfigMap/one (after 3s, changed by ann)" || len(gone.by) != 1 {
		t.Errorf("the end is told as %v", gone)
	}
}
