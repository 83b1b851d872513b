package window

import (
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func set(t *testing.T, windows ...v1alpha1.SyncWindow) Set {
	t.Helper()
	s, err := Compile(windows)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func allow(schedule, duration string) v1alpha1.SyncWindow {
	return v1alpha1.SyncWindow{Kind: Allow, Schedule: schedule, Duration: duration, Applications: []string{"*"}}
}

func deny(schedule, duration string) v1alpha1.SyncWindow {
	w := allow(schedule, duration)
	w.Kind = Deny
	return w
}

func with(w v1alpha1.SyncWindow, change func(*v1alpha1.SyncWindow)) v1alpha1.SyncWindow {
	change(&w)
	return w
}

func manual(w v1alpha1.SyncWindow) v1alpha1.SyncWindow {
	return with(w, func(w *v1alpha1.SyncWindow) { w.ManualSync = true })
}

func overrun(w v1alpha1.SyncWindow) v1alpha1.SyncWindow {
	return with(w, func(w *v1alpha1.SyncWindow) { w.SyncOverrun = true })
}

func zone(w v1alpha1.SyncWindow, name string) v1alpha1.SyncWindow {
	return with(w, func(w *v1alpha1.SyncWindow) { w.TimeZone = name })
}

func TestState(t *testing.T) {
	night, day := "0 22 * * *", "0 9 * * *"
	cases := map[string]struct {
		reason       string
		windows      []v1alpha1.SyncWindow
		now          string
		open, manual bool
		opens        string
	}{
		"none":                   {"without windows everything may", nil, "2026-01-01T12:00:00Z", true, true, ""},
		"in allow":               {"an open allowance lets through", []v1alpha1.SyncWindow{allow(day, "8h")}, "2026-01-01T12:00:00Z", true, true, ""},
		"before allow":           {"allowances that are not open deny", []v1alpha1.SyncWindow{allow(day, "8h")}, "2026-01-01T08:59:59Z", false, false, "2026-01-01T09:00:00Z"},
		"at its beginning":       {"the beginning belongs to it", []v1alpha1.SyncWindow{allow(day, "8h")}, "2026-01-01T09:00:00Z", true, true, ""},
		"at its end":             {"the end does not", []v1alpha1.SyncWindow{allow(day, "8h")}, "2026-01-01T17:00:00Z", false, false, "2026-01-02T09:00:00Z"},
		"by hand":                {"manualSync lets through what is asked for", []v1alpha1.SyncWindow{manual(allow(day, "8h"))}, "2026-01-01T08:00:00Z", false, true, "2026-01-01T09:00:00Z"},
		"one by hand":            {"all that are in the way must let it", []v1alpha1.SyncWindow{manual(allow(day, "8h")), allow("0 10 * * *", "1h")}, "2026-01-01T08:00:00Z", false, false, "2026-01-01T09:00:00Z"},
		"deny":                   {"a denial in force denies", []v1alpha1.SyncWindow{deny(night, "1h")}, "2026-01-01T22:30:00Z", false, false, "2026-01-01T23:00:00Z"},
		"deny over":              {"and at other times does not", []v1alpha1.SyncWindow{deny(night, "1h")}, "2026-01-01T23:00:00Z", true, true, ""},
		"deny before allow":      {"denials go before allowances", []v1alpha1.SyncWindow{allow("* * * * *", "1h"), deny(night, "1h")}, "2026-01-01T22:30:00Z", false, false, "2026-01-01T23:00:00Z"},
		"deny by hand":           {"a denial that lets by hand does, whatever the allowances say", []v1alpha1.SyncWindow{allow(day, "1h"), manual(deny(night, "1h"))}, "2026-01-01T22:30:00Z", false, true, "2026-01-02T09:00:00Z"},
		"overlapping denials":    {"it opens when the last one ends", []v1alpha1.SyncWindow{deny(night, "1h"), deny("30 22 * * *", "4h")}, "2026-01-01T22:45:00Z", false, false, "2026-01-02T02:30:00Z"},
		"denied for ever":        {"what never opens has no time", []v1alpha1.SyncWindow{deny("* * * * *", "1h")}, "2026-01-01T22:45:00Z", false, false, ""},
		"never":                  {"a day that does not exist never comes", []v1alpha1.SyncWindow{deny("0 0 30 2 *", "1h")}, "2026-01-01T22:45:00Z", true, true, ""},
		"zone":                   {"the schedule is in the zone's time", []v1alpha1.SyncWindow{zone(deny(night, "1h"), "America/New_York")}, "2026-01-02T03:30:00Z", false, false, "2026-01-02T04:00:00Z"},
		"zone in summer":         {"with its summer time", []v1alpha1.SyncWindow{zone(deny(night, "1h"), "America/New_York")}, "2026-07-02T02:30:00Z", false, false, "2026-07-02T03:00:00Z"},
		"hour that does not be":  {"an hour that the clocks leave out does not swallow a window", []v1alpha1.SyncWindow{zone(deny("30 2 * * *", "2h"), "Europe/Berlin")}, "2026-03-29T01:15:00Z", false, false, "2026-03-29T02:30:00Z"},
		"runs into itself":       {"openings that run into each other end with the last", []v1alpha1.SyncWindow{deny("*/30 9-11 * * *", "45m")}, "2026-01-01T09:10:00Z", false, false, "2026-01-01T12:15:00Z"},
		"longer than its period": {"windows that overlap themselves stay open", []v1alpha1.SyncWindow{allow("0 * * * *", "90m")}, "2026-01-01T22:59:00Z", true, true, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := set(t, c.windows...)
			got := s.At(at(t, c.now))
			if (got.Closed == "") != c.open || (got.ManualClosed == "") != c.manual {
				t.Errorf("%s: got %+v", c.reason, got)
			}
			opens := ""
			if !got.Opens.IsZero() {
				opens = got.Opens.Format(time.RFC3339)
			}
			if opens != c.opens {
				t.Errorf("%s: opens at %q, want %q", c.reason, opens, c.opens)
			}
			if !got.Opens.IsZero() && !s.open(got.Opens, false) {
				t.Error("it is open when it is said to open")
			}
		})
	}
}

// The scenarios are those of Argo CD's documentation.
func TestOverrun(t *testing.T) {
	day, late := "0 9 * * *", "0 17 * * *"
	began, now := "2026-01-01T16:55:00Z", "2026-01-01T17:05:00Z"
	cases := map[string]struct {
		windows []v1alpha1.SyncWindow
		began   string
		want    bool
	}{
		"no window, then a deny that lets overrun":      {[]v1alpha1.SyncWindow{overrun(deny(late, "1h"))}, began, true},
		"no window, then a deny that does not":          {[]v1alpha1.SyncWindow{deny(late, "1h")}, began, false},
		"allow with, then deny with":                    {[]v1alpha1.SyncWindow{overrun(allow(day, "8h")), overrun(deny(late, "1h"))}, began, true},
		"allow with, then deny without":                 {[]v1alpha1.SyncWindow{overrun(allow(day, "8h")), deny(late, "1h")}, began, false},
		"allow without, then deny with":                 {[]v1alpha1.SyncWindow{allow(day, "8h"), overrun(deny(late, "1h"))}, began, true},
		"allow without, then deny without":              {[]v1alpha1.SyncWindow{allow(day, "8h"), deny(late, "1h")}, began, false},
		"allow with, and it ends":                       {[]v1alpha1.SyncWindow{overrun(allow(day, "8h"))}, began, true},
		"allow without, and it ends":                    {[]v1alpha1.SyncWindow{allow(day, "8h")}, began, false},
		"several allows with, and all end":              {[]v1alpha1.SyncWindow{overrun(allow(day, "8h")), overrun(allow("0 8 * * *", "9h"))}, began, true},
		"several allows, one without, and all end":      {[]v1alpha1.SyncWindow{overrun(allow(day, "8h")), allow("0 8 * * *", "9h")}, began, false},
		"begun when it was closed already":              {[]v1alpha1.SyncWindow{overrun(deny(late, "1h"))}, "2026-01-01T17:01:00Z", false},
		"begun at a time that is not known":             {[]v1alpha1.SyncWindow{overrun(deny(late, "1h"))}, "", false},
		"several denials, one of which lets no overrun": {[]v1alpha1.SyncWindow{overrun(deny(late, "1h")), deny(late, "2h")}, began, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var start time.Time
			if c.began != "" {
				start = at(t, c.began)
			}
			if got := set(t, c.windows...).MayGoOn(at(t, now), start, false); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestFor(t *testing.T) {
	place := Place{Application: "web-prod", Clusters: []string{"https://kubernetes.default.svc", "in-cluster"}, Namespace: "shop"}
	w := func(apps, clusters, namespaces []string, and bool) v1alpha1.SyncWindow {
		return v1alpha1.SyncWindow{Kind: Deny, Schedule: "* * * * *", Duration: "1h", Applications: apps, Clusters: clusters, Namespaces: namespaces, UseAndOperator: and}
	}
	l := func(s ...string) []string { return s }
	cases := map[string]struct {
		window v1alpha1.SyncWindow
		want   bool
	}{
		"by name":                {w(l("*-prod"), nil, nil, false), true},
		"by another name":        {w(l("*-test"), nil, nil, false), false},
		"by cluster's name":      {w(nil, l("in-*"), nil, false), true},
		"by cluster's URL":       {w(nil, l("https://kubernetes*"), nil, false), true},
		"by namespace":           {w(nil, nil, l("shop"), false), true},
		"one of several":         {w(l("other"), l("other"), l("shop"), false), true},
		"all asked for":          {w(l("web-*"), nil, l("shop"), true), true},
		"all asked for, one not": {w(l("web-*"), l("other"), l("shop"), true), false},
		"for nobody":             {w(nil, nil, nil, false), false},
		"for nobody, and":        {w(nil, nil, nil, true), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := len(set(t, c.window).For(place)) == 1; got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestCompileNamesTheField(t *testing.T) {
	good := deny("0 1 * * *", "1h")
	cases := map[string]struct {
		bad  v1alpha1.SyncWindow
		want string
	}{
		"kind":       {with(good, func(w *v1alpha1.SyncWindow) { w.Kind = "maybe" }), `spec.syncWindows[1].kind: "maybe"`},
		"schedule":   {with(good, func(w *v1alpha1.SyncWindow) { w.Schedule = "0 25 * * *" }), "spec.syncWindows[1].schedule: \"0 25 * * *\" is no cron"},
		"descriptor": {with(good, func(w *v1alpha1.SyncWindow) { w.Schedule = "@daily" }), "spec.syncWindows[1].schedule"},
		"TZ":         {with(good, func(w *v1alpha1.SyncWindow) { w.Schedule = "TZ=UTC 0 1 * * *" }), "timeZone"},
		"duration":   {with(good, func(w *v1alpha1.SyncWindow) { w.Duration = "1d" }), "spec.syncWindows[1].duration"},
		"negative":   {with(good, func(w *v1alpha1.SyncWindow) { w.Duration = "-1h" }), "spec.syncWindows[1].duration"},
		"zone":       {with(good, func(w *v1alpha1.SyncWindow) { w.TimeZone = "Mars/Olympus" }), "spec.syncWindows[1].timeZone"},
		"glob":       {with(good, func(w *v1alpha1.SyncWindow) { w.Clusters = []string{"[a"} }), "spec.syncWindows[1].clusters"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(v1alpha1.SyncWindows{good, c.bad})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestWhyNamesTheWindow(t *testing.T) {
	s := set(t, with(zone(deny("0 22 * * *", "1h"), "Europe/Oslo"), func(w *v1alpha1.SyncWindow) { w.Description = "nightly batch" }))
	got := s.At(at(t, "2026-01-01T21:30:00Z")).Closed
	if want := "deny window 0 (0 22 * * * for 1h, Europe/Oslo, nightly batch) is in force"; got != want {
		t.Errorf("got %q", got)
	}
}
