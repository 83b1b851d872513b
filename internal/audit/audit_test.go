package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const planted = "c4n4ry-s3cr3t"

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// line is an event as an API server writes it, with a secret where bodies are.
func line(change func(map[string]any)) string {
	e := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "1", "stage": "ResponseComplete",
		"requestURI": "/api/v1/namespaces/shop/configmaps/web?fieldManager=kubectl-edit", "verb": "patch",
		"user":      map[string]any{"username": "ann", "groups": []any{"team", "system:authenticated"}},
		"userAgent": "kubectl/v1.36.3 (linux/amd64) kubernetes/abc", "sourceIPs": []any{"10.0.0.1"},
		"objectRef":      map[string]any{"resource": "configmaps", "namespace": "shop", "name": "web", "apiVersion": "v1"},
		"responseStatus": map[string]any{"metadata": map[string]any{}, "code": 200},
		"requestObject":  map[string]any{"data": map[string]any{"password": planted, "verb": "get"}}, "responseObject": planted,
		"annotations":              map[string]any{"authorization.k8s.io/decision": "allow " + planted},
		"requestReceivedTimestamp": noon.Format(time.RFC3339Nano), "stageTimestamp": noon.Add(20 * time.Millisecond).Format(time.RFC3339Nano),
	}
	if change != nil {
		change(e)
	}
	text, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(text)
}

var web = Object{Resource: "configmaps", Namespace: "shop", Name: "web"}

func part(e map[string]any, name string) map[string]any { return e[name].(map[string]any) }

func TestEvents(t *testing.T) {
	plain := Write{
		User: "ann", Groups: []string{"team"}, Verb: "patch", Manager: "kubectl-edit", Program: "kubectl",
		Began: noon.Local(), Ended: noon.Add(20 * time.Millisecond).Local(),
	}
	with := func(change func(*Write)) *Write {
		w := plain
		change(&w)
		return &w
	}
	cases := map[string]struct {
		reason string
		change func(map[string]any)
		want   *Write
	}{
		"Patch":     {"who, by what means and when is kept", nil, &plain},
		"NoManager": {"the API server takes the client's name for the manager", func(e map[string]any) { e["requestURI"] = "/api/v1/x" }, with(func(w *Write) { w.Manager = "kubectl" })},
		"Impersonated": {"the impersonated user has acted, through the real one", func(e map[string]any) {
			e["impersonatedUser"] = map[string]any{"username": "bob", "groups": []any{"ops"}}
		}, with(func(w *Write) { w.User, w.Groups, w.Through = "bob", []string{"ops"}, "ann" })},
		"Scale":       {"kubectl scale writes a subresource", func(e map[string]any) { part(e, "objectRef")["subresource"] = "scale" }, with(func(w *Write) { w.Subresource = "scale" })},
		"Forced":      {"an apply that takes fields is told apart", func(e map[string]any) { e["requestURI"] = "/x?fieldManager=plumb&force=true" }, with(func(w *Write) { w.Manager, w.Forced = "plumb", true })},
		"Hostile":     {"what a client calls itself cannot paint terminals", func(e map[string]any) { e["userAgent"], e["requestURI"] = "a\x1b[31m\u202eb\nc/1", "/x" }, with(func(w *Write) { w.Manager, w.Program = "a?[31m?b?c", "a?[31m?b?c" })},
		"Applied":     {"an apply may make it", func(e map[string]any) { part(e, "responseStatus")["code"] = 201 }, with(func(w *Write) { w.Verb = "create" })},
		"Read":        {"reading is no writing", func(e map[string]any) { e["verb"] = "get" }, nil},
		"Status":      {"how it fares is not what is declared", func(e map[string]any) { part(e, "objectRef")["subresource"] = "status" }, nil},
		"Refused":     {"what was refused has changed nothing", func(e map[string]any) { part(e, "responseStatus")["code"] = 403 }, nil},
		"DryRun":      {"what was only tried has changed nothing", func(e map[string]any) { e["requestURI"] = "/x?dryRun=All" }, nil},
		"Begun":       {"what is not over may yet fail", func(e map[string]any) { e["stage"] = "RequestReceived" }, nil},
		"NoObject":    {"a request for no object", func(e map[string]any) { delete(e, "objectRef") }, nil},
		"Anonymous":   {"nobody has written", func(e map[string]any) { part(e, "user")["username"] = "" }, nil},
		"NoTime":      {"when is needed to find it", func(e map[string]any) { delete(e, "stageTimestamp") }, nil},
		"Lease":       {"leases are nobody's business", func(e map[string]any) { part(e, "objectRef")["apiGroup"] = "coordination.k8s.io" }, nil},
		"BrokenURI":   {"it may have been a dry run", func(e map[string]any) { e["requestURI"] = "%zz" }, nil},
		"TooOld":      {"an end before the beginning", func(e map[string]any) { e["stageTimestamp"] = noon.Add(-time.Hour).Format(time.RFC3339Nano) }, nil},
		"ManyGroups":  {"groups are bounded", func(e map[string]any) { part(e, "user")["groups"] = many(1000) }, with(func(w *Write) { w.Groups = strings.Fields(strings.Repeat("g ", mostGroups)) })},
		"LongManager": {"names are bounded", func(e map[string]any) { e["requestURI"] = "/x?fieldManager=" + strings.Repeat("m", 1000) }, with(func(w *Write) { w.Manager = strings.Repeat("m", mostWord) })},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := New(Options{})
			text := line(tc.change)
			var counts Counts
			f.take(f.takeLine("", []byte(text), nil, &counts), counts)
			var want []Write
			if tc.want != nil {
				want = []Write{*tc.want}
			}
			if diff := cmp.Diff(want, f.writes(web)); diff != "" {
				t.Errorf("%s: as a line: %s", tc.reason, diff)
			}
			f = New(Options{})
			if err := f.Receive("", strings.NewReader(`{"kind":"EventList","metadata":{"x":["`+planted+`"]},"items":[`+text+`,`+text+`]}`)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, f.writes(web)); diff != "" {
				t.Errorf("%s: sent twice: %s", tc.reason, diff)
			}
			if strings.Contains(fmt.Sprintf("%+v", f.writes(web)), planted) {
				t.Errorf("a body is kept: %+v", f.writes(web))
			}
		})
	}
}

func many(n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = "g"
	}
	return all
}

func TestBrokenLists(t *testing.T) {
	for _, text := range []string{"", "[]", "{", `{"items":{}}`, `{"items":[1]}`, `{"items":[{}`, `{"items":[{}]`, `{"a":`, `"x"`} {
		f := New(Options{})
		if err := f.Receive("", strings.NewReader(text)); !errors.Is(err, errNoEvent) {
			t.Errorf("%s: %v", text, err)
		}
		if c := f.Counts(); c.Invalid != 1 {
			t.Errorf("%s: %+v", text, c)
		}
	}
}

func TestBounds(t *testing.T) {
	f := New(Options{Objects: 3})
	for i := range 5 {
		o := Object{Name: fmt.Sprint(i)}
		f.take([]written{{o, Write{User: "bob", Verb: "create", Ended: noon}}}, Counts{})
		for n := range 10 {
			f.take([]written{{o, Write{User: "ann", Verb: "update", Ended: noon.Add(time.Duration(n) * time.Second)}}}, Counts{})
		}
	}
	if w := f.writes(Object{Name: "0"}); w != nil {
		t.Errorf("the object that was longest not written is kept: %v", w)
	}
	if w := f.writes(Object{Name: "4"}); len(w) != mostWrites+1 || w[0].User != "bob" || !w[mostWrites].Ended.Equal(noon.Add(9*time.Second)) {
		t.Errorf("the latest writes are not those kept: %v", w)
	}
}

func TestWho(t *testing.T) {
	at := func(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }
	write := func(user, verb string, began, ended float64, more ...string) written {
		w := Write{User: user, Verb: verb, Began: at(began), Ended: at(ended)}
		if len(more) > 0 {
			w.Manager = more[0]
		}
		return written{web, w}
	}
	of := func(o Object, w written) written { w.object = o; return w }
	all, shop := web, Object{Resource: "namespaces", Name: "shop"}
	all.Name = ""
	elsewhere := web
	elsewhere.Cluster = "other"
	cases := map[string]struct {
		reason string
		all    []written
		q      Question
		user   string
		others []string
	}{
		"Nobody":         {"nothing was heard", nil, Question{Seen: at(0)}, "", nil},
		"Nearest":        {"the write that was answered when it was seen", []written{write("ann", "update", 0, 0.01), write("bob", "update", 2, 2.01)}, Question{Seen: at(0.02)}, "ann", nil},
		"NotHim":         {"who has put it right", []written{write("ann", "update", 0, 0.01), write("plumb", "patch", 0.02, 0.03)}, Question{Seen: at(0.03), But: "plumb"}, "ann", nil},
		"Late":           {"a slow write counts when it is answered", []written{write("ann", "update", 0, 20), write("bob", "update", 1, 1.01)}, Question{Seen: at(20)}, "ann", nil},
		"TooEarly":       {"an older write is not this change", []written{write("ann", "update", 0, 0.01)}, Question{Seen: at(60)}, "", nil},
		"NotADeletion":   {"who has deleted has not changed", []written{write("ann", "delete", 0, 0.01)}, Question{Seen: at(0)}, "", nil},
		"Elsewhere":      {"clusters are told apart", []written{of(elsewhere, write("ann", "update", 0, 0.01))}, Question{Seen: at(0)}, "", nil},
		"Since":          {"the latest since then, and who else", []written{write("old", "update", -100, -99), write("ann", "update", 0, 0.01), write("bob", "update", 10, 10.1)}, Question{Seen: at(1000), After: at(-50)}, "bob", []string{"ann"}},
		"Manager":        {"the object tells by whose manager and when", []written{write("ann", "patch", 0.2, 0.3, "edit"), write("bob", "patch", 0.4, 0.5, "scale"), write("cy", "patch", 5, 5.1, "edit")}, Question{Seen: at(9), Manager: "edit", Written: at(0)}, "ann", nil},
		"OtherManager":   {"another manager is another change", []written{write("ann", "patch", 0.2, 0.3, "edit")}, Question{Seen: at(0), Manager: "scale", Written: at(0)}, "", nil},
		"Deleted":        {"who has asked for it, long before it was gone", []written{write("ann", "delete", 0, 0.01), write("plumb", "patch", 300, 300.1)}, Question{Seen: at(301), Deleted: true}, "ann", nil},
		"DeletedLongAgo": {"it was another object", []written{write("ann", "delete", 0, 0.01)}, Question{Seen: at(3600), Deleted: true}, "", nil},
		"MadeAgain":      {"what was deleted was made again since", []written{write("ann", "delete", 0, 0.01), write("bob", "create", 1, 1.01)}, Question{Seen: at(10), Deleted: true}, "", nil},
		"Together":       {"all of a kind at once", []written{of(all, write("ann", "deletecollection", 0, 0.01))}, Question{Seen: at(1), Deleted: true}, "ann", nil},
		"Namespace":      {"with its namespace", []written{of(shop, write("ann", "delete", 0, 0.01))}, Question{Seen: at(30), Deleted: true}, "ann", nil},
		"TogetherBefore": {"others were deleted then, and this one now, by whom is not heard", []written{of(all, write("ann", "deletecollection", 0, 0.01)), of(shop, write("ann", "delete", 0, 0.01))}, Question{Seen: at(3600), After: at(-1), AtOnce: true, Deleted: true}, "", nil},
		"TogetherOnce":   {"it was gone already when the server began", []written{of(all, write("ann", "deletecollection", 0, 0.01))}, Question{Seen: at(3600), After: at(-1), Deleted: true}, "ann", nil},
		"DeletedSlowly":  {"what deletion waits for may take long", []written{write("ann", "delete", 0, 0.01)}, Question{Seen: at(3600), After: at(-1), AtOnce: true, Deleted: true}, "ann", nil},
		"Unnamed":        {"the API server has found the name", []written{of(all, write("ann", "create", 0, 0.01))}, Question{Seen: at(0)}, "ann", nil},
		"TwoUnnamed":     {"who of two is not guessed", []written{of(all, write("ann", "create", 0, 0.01)), of(all, write("bob", "create", 0, 0.02))}, Question{Seen: at(0)}, "", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := New(Options{})
			f.take(tc.all, Counts{})
			if tc.q.Object == (Object{}) {
				tc.q.Object = web
			}
			a, ok := f.Who(tc.q)
			if ok != (tc.user != "") || a.User != tc.user || cmp.Diff(tc.others, a.Others) != "" {
				t.Errorf("%s: %+v, want %q with %v", tc.reason, a, tc.user, tc.others)
			}
		})
	}
}

func TestAwait(t *testing.T) {
	f := New(Options{})
	q := Question{Object: web, Seen: noon}
	if _, ok := f.Await(t.Context(), q, time.Now().Add(time.Hour)); ok {
		t.Error("an answer from nowhere")
	}
	f.Expect("")
	if _, ok := f.Await(t.Context(), q, time.Now()); ok {
		t.Error("an answer before anything was heard")
	}
	answered := make(chan string)
	go func() {
		a, _ := f.Await(context.Background(), q, time.Now().Add(time.Minute))
		answered <- a.User
	}()
	f.take([]written{{Object{Name: "other"}, Write{User: "bob", Verb: "update", Ended: noon}}}, Counts{})
	f.take([]written{{web, Write{User: "ann", Verb: "update", Ended: noon}}}, Counts{})
	if user := <-answered; user != "ann" {
		t.Errorf("it was %q", user)
	}
}

// TestAwaitTheNearest has somebody write a moment before somebody else does, of whom it
// is told later.
func TestAwaitTheNearest(t *testing.T) {
	before := map[string]string{"update": "update", "delete": "deletecollection"}
	for verb, earlier := range before {
		t.Run(verb, func(t *testing.T) {
			f := New(Options{})
			f.Expect("")
			object := web
			if verb == "delete" {
				object.Name = ""
			}
			f.take([]written{{object, Write{User: "bob", Verb: earlier, Began: noon.Add(-3 * time.Second), Ended: noon.Add(-3 * time.Second)}}}, Counts{})
			q := Question{Object: web, Seen: noon, Deleted: verb == "delete"}
			if a, ok := f.Await(t.Context(), q, time.Now()); !ok || a.User != "bob" {
				t.Errorf("the clocks may differ: %+v", a)
			}
			answered := make(chan string)
			go func() {
				a, _ := f.Await(context.Background(), q, time.Now().Add(time.Minute))
				answered <- a.User
			}()
			f.take([]written{{Object{Name: "other"}, Write{User: "cy", Verb: "update", Ended: noon}}}, Counts{})
			f.take([]written{{web, Write{User: "ann", Verb: verb, Began: noon, Ended: noon}}}, Counts{})
			if user := <-answered; user != "ann" {
				t.Errorf("it was %q", user)
			}
		})
	}
}

// logged is a log that a test writes.
type logged struct {
	t    *testing.T
	path string
	f    *Feed
}

func newLogged(t *testing.T, before ...string) *logged {
	t.Helper()
	l := &logged{t: t, path: filepath.Join(t.TempDir(), "audit.log")}
	l.append(before...)
	return l
}

func (l *logged) append(parts ...string) {
	l.t.Helper()
	file, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	for _, p := range parts {
		if _, err := file.WriteString(p); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *logged) follow() {
	l.f = New(Options{Logs: []Log{{File: l.path}}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.f.Run(ctx); close(done) }()
	l.t.Cleanup(func() { cancel(); <-done })
	<-l.f.CaughtUp()
}

func (l *logged) tells(user string) {
	l.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, w := range l.f.writes(web) {
			if w.User == user {
				return
			}
		}
	}
	l.t.Fatalf("%s was never heard of: %+v", user, l.f.Counts())
}

func by(user string) string {
	return line(func(e map[string]any) { part(e, "user")["username"] = user }) + "\n"
}

func TestFollow(t *testing.T) {
	l := newLogged(t, by("before"))
	l.follow()
	if len(l.f.writes(web)) != 1 {
		t.Fatal("what was there at first is not known")
	}
	half := by("halves")
	l.append(half[:100])
	l.append(half[100:200])
	l.append(half[200:])
	l.tells("halves")
	l.append("no event\n", by("after-garbage"))
	l.tells("after-garbage")
	l.append(strings.Repeat("x", mostLine+1), "\n", by("after-a-long-line"))
	l.tells("after-a-long-line")

	l.append(by("last-of-the-first"))
	if err := os.Rename(l.path, strings.TrimSuffix(l.path, ".log")+"-2026-03-02T12-00-00.000.log"); err != nil {
		t.Fatal(err)
	}
	l.append(by("rotated"))
	l.tells("rotated")
	l.tells("last-of-the-first")

	if err := os.Truncate(l.path, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { l.append(by("truncated")); return heard(l.f, "truncated") })

	again := New(Options{Logs: []Log{{File: l.path}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { again.Run(ctx); close(done) }()
	<-again.CaughtUp()
	if !heard(again, "truncated") || !heard(again, "last-of-the-first") {
		t.Errorf("after a restart nothing is known of before: %v", again.writes(web))
	}
	cancel()
	<-done
}

func heard(f *Feed, user string) bool {
	for _, w := range f.writes(web) {
		if w.User == user {
			return true
		}
	}
	return false
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came true")
		}
	}
}

func TestFollowWhatIsNotThere(t *testing.T) {
	l := newLogged(t)
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	l.follow()
	l.append(by("first"))
	l.tells("first")

	dir := New(Options{Logs: []Log{{File: t.TempDir()}}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir.Run(ctx) // it must end
}

func TestCatchingUpIsBounded(t *testing.T) {
	l := newLogged(t, by("long-ago"), strings.Repeat(line(func(e map[string]any) { e["verb"] = "get" })+"\n", catchUp/len(line(nil))+100), by("lately"))
	l.follow()
	if heard(l.f, "long-ago") || !heard(l.f, "lately") {
		t.Errorf("known is %v", l.f.writes(web))
	}
}

func FuzzEvent(f *testing.F) {
	for _, text := range []string{line(nil), line(func(e map[string]any) { e["objectRef"] = nil }), "{}", "", `{"verb":"delete","stage":"ResponseComplete"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		feed := New(Options{})
		var counts Counts
		one := feed.takeLine("", text, nil, &counts)
		_ = feed.Receive("", bytes.NewReader(text))
		_ = feed.Receive("", bytes.NewReader([]byte(`{"items":[`+string(text)+`]}`)))
		for _, w := range one {
			names := append([]string{w.write.User, w.write.Through, w.write.Manager, w.write.Program, w.object.Name, w.object.Namespace, w.object.Group, w.object.Resource}, w.write.Groups...)
			for _, name := range names {
				if len(name) > 4*mostUser || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("kept is %q", name)
				}
			}
			feed.take(one, counts)
			feed.Who(Question{Object: w.object, Seen: w.write.Ended})
			feed.Who(Question{Object: w.object, Seen: w.write.Ended, Deleted: true})
		}
	})
}
