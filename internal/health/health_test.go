package health

import "testing"

func TestWorst(t *testing.T) {
	cases := map[string]struct {
		reason string
		in     []Status
		want   Status
	}{
		"None":     {"nothing ails an Application without resources", nil, Healthy},
		"Progress": {"one that is under way makes the whole so", []Status{Healthy, Progressing, Suspended}, Progressing},
		"Missing":  {"what is missing is worse than what is under way", []Status{Progressing, Missing}, Missing},
		"Degraded": {"what is broken is worse than what is missing", []Status{Missing, Degraded, Healthy}, Degraded},
		"Unknown":  {"what is not known may be worse than all else", []Status{Degraded, Unknown}, Unknown},
		"Foreign":  {"a word that is not one of ours is not known", []Status{"Splendid"}, Unknown},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Worst(tc.in...)
			if rank(got) != rank(tc.want) {
				t.Errorf("%s: Worst(%v) = %s, want %s", tc.reason, tc.in, got, tc.want)
			}
		})
	}
}
