package entry

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func full() Entry {
	at := time.Date(2026, 3, 2, 9, 0, 0, 123456789, time.FixedZone("", 3600))
	return Entry{
		Time: at, Kind: SyncFinished, Application: Application{"plumb.dev", "shop", "web", "4711"}, Project: "shop",
		Actor:     Actor{User: "ada@example.org", Groups: []string{"dev", "ops"}, Via: "kubectl"},
		Revisions: []Revision{{"https://git.example.org/shop.git", "abc", "Ada", "ada@example.org", at, Signature{"good", "ABCD", "Ada"}}},
		Plan:      Plan{"web-1", "sha256:12", Counts{1, 2, 3, 4}, "destroys"}, Operation: "op-1", Result: Succeeded,
		Message: "done: 10 changes & <nothing> left", Details: map[string]string{"b": "2", "a": "1"},
	}
}

func TestEncode(t *testing.T) {
	raw, err := Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"time":"2026-03-02T08:00:00.123456789Z","kind":"SyncFinished","application":{"group":"plumb.dev","namespace":"shop","name":"web","uid":"4711"},"project":"shop","actor":{"user":"ada@example.org","groups":["dev","ops"],"via":"kubectl"},"revisions":[{"repo":"https://git.example.org/shop.git","revision":"abc","author":"Ada","authorEmail":"ada@example.org","committedAt":"2026-03-02T08:00:00.123456789Z","signature":{"status":"good","key":"ABCD","signer":"Ada"}}],"plan":{"name":"web-1","digest":"sha256:12","counts":{"create":1,"update":2,"replace":3,"delete":4},"risk":"destroys"},"operation":"op-1","result":"Succeeded","message":"done: 10 changes & <nothing> left","details":{"a":"1","b":"2"}}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Error(diff, "\nwhat is in ledgers cannot change: a new field makes a new version")
	}
	back, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Encode(back)
	if err != nil || !bytes.Equal(raw, again) {
		t.Errorf("%v\n%s", err, again)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, c := range map[string]struct{ raw, want, reason string }{
		"nothing":        {"", "not an entry", "it is no JSON"},
		"newer":          {`{"v":2,"time":"2026-03-02T08:00:00Z","kind":"Healed","news":1}`, "a newer Plumb wrote it", "an old program must say so"},
		"unknown field":  {`{"v":1,"time":"2026-03-02T08:00:00Z","kind":"Healed","news":1}`, "not an entry", "versions have fixed fields"},
		"unknown kind":   {`{"v":1,"time":"2026-03-02T08:00:00Z","kind":"Blessed"}`, "unknown kind", "the set is closed"},
		"unknown result": {`{"v":1,"time":"2026-03-02T08:00:00Z","kind":"Healed","result":"Maybe"}`, "unknown result", "the set is closed"},
		"other spelling": {`{"v":1, "time":"2026-03-02T08:00:00Z","kind":"Healed"}`, "as Plumb writes it", "one entry has one hash"},
		"other zone":     {`{"v":1,"time":"2026-03-02T09:00:00+01:00","kind":"Healed"}`, "as Plumb writes it", "one entry has one hash"},
		"twice":          {`{"v":1,"time":"2026-03-02T08:00:00Z","kind":"Healed"}{}`, "not an entry", "something follows"},
		"a name twice":   {`{"v":1,"time":"2026-03-02T08:00:00Z","kind":"Healed","kind":"Healed"}`, "as Plumb writes it", "others may read the other one"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: not %q: %s", err, c.want, c.reason)
			}
		})
	}
}

func TestClean(t *testing.T) {
	for name, c := range map[string]struct{ text, want, reason string }{
		"plain":            {"web: three replicas – größer", "web: three replicas – größer", "texts stay as they are"},
		"terminal":         {"a\x1b[31mred\x07", "a[31mred", "a terminal would obey"},
		"lines":            {"one\ntwo\r\n\tthree\u2028four", "one two   three four", "one entry is one line"},
		"direction":        {"user\u202egnp.exe", "usergnp.exe", "what one reads is what is there"},
		"invisible":        {"ad\u200bmin", "admin", "two names that look the same are the same"},
		"invalid":          {"a\xffb", "a\ufffdb", "JSON is UTF-8"},
		"password":         {"https://ada:secret@git.example.org/x", "https://xxxxx@git.example.org/x", "addresses may hold one"},
		"token":            {"clone of https://ghp_token@github.com/x failed", "clone of https://xxxxx@github.com/x failed", "it may be the name"},
		"ssh":              {"ssh://git@example.org/x", "ssh://git@example.org/x", "a name is no secret"},
		"ssh and password": {"ssh://git:pw@example.org/x", "ssh://git:xxxxx@example.org/x", "a password is one"},
		"database":         {"postgres://plumb:pw@db/x", "postgres://plumb:xxxxx@db/x", "a password is one"},
		"account":          {"binds it to User https://dev-1.example.com#ada@example.org", "binds it to User https://dev-1.example.com#ada@example.org", "who it is must be told: an API server calls accounts so"},
		"account, address": {"https://dev-1.example.com#ada@example.org at https://ada:a#b@git.example.org", "https://dev-1.example.com#ada@example.org at https://xxxxx@git.example.org", "a password may have any letter"},
		"no account":       {"https://t0ken#1@example.org", "https://xxxxx@example.org", "an issuer has a domain"},
		"long":             {strings.Repeat("ä", 9000), strings.Repeat("ä", 2046) + "…", "4096 bytes at most, and whole letters"},
	} {
		t.Run(name, func(t *testing.T) {
			cleaned := Clean(Entry{Message: c.text, Kind: Healed, Time: time.Unix(0, 0)})
			got := cleaned.Message
			if again := Clean(cleaned); again.Message != got {
				t.Errorf("cleaned once more: %s", again.Message)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(c.reason, diff)
			}
		})
	}
}

func TestCleanMakesItFit(t *testing.T) {
	long := strings.Repeat(`"\`, 5000)
	e := full()
	for range 100 {
		e.Revisions = append(e.Revisions, Revision{Repo: long, Revision: long, Author: long, AuthorEmail: long})
		e.Actor.Groups = append(e.Actor.Groups, long)
		e.Details[long[:len(e.Details)]] = long
	}
	e.Revisions[1].CommittedAt = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)
	e = Clean(e)
	raw, err := Encode(e)
	if err != nil || !e.Cut {
		t.Fatalf("%v, cut: %v", err, e.Cut)
	}
	if e.Revisions[0].Revision != "abc" {
		t.Error("the first revision is gone")
	}
	if _, err := Decode(raw); err != nil {
		t.Error(err)
	}
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	c, err := NewCSV(&b)
	if err != nil {
		t.Fatal(err)
	}
	e := full()
	e.Message = `=HYPERLINK("http://evil")`
	e.Actor.User = " \t+cmd|calc"
	e.Project = "＝1"
	e.Index = 7
	if err := c.Write(e); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatal(err, rows)
	}
	row := map[string]string{}
	for i, head := range rows[0] {
		row[head] = rows[1][i]
	}
	for head, want := range map[string]string{
		"index": "7", "time": "2026-03-02T08:00:00.123456789Z", "message": `'=HYPERLINK("http://evil")`, "user": "' \t+cmd|calc", "project": "'＝1",
		"groups": "dev; ops", "delete": "4", "details": `{"a":"1","b":"2"}`,
	} {
		if row[head] != want {
			t.Errorf("%s is %q, not %q", head, row[head], want)
		}
	}
}

func TestWriteJSON(t *testing.T) {
	var b bytes.Buffer
	e := full()
	e.Index = 7
	if err := WriteJSON(&b, e); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["index"] != 7.0 || got["kind"] != "SyncFinished" {
		t.Errorf("%v %s", err, b.String())
	}
}

func FuzzDecode(f *testing.F) {
	raw, err := Encode(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"v":1,"time":"2026-03-02T08:00:00Z","kind":"Healed"}`))
	f.Add([]byte(`{"v":1,"time":"2026-03-02T08:00:00Z","kind":"Healed","details":{"":""}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Decode(raw)
		if err == nil {
			again, err := Encode(e)
			if err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("read %q, wrote %q: %v", raw, again, err)
			}
		}
		cleaned := Clean(Entry{Kind: Healed, Time: time.Unix(0, 0), Message: string(raw), Details: map[string]string{string(raw): string(raw)}})
		written, err := Encode(cleaned)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(written); err != nil {
			t.Fatalf("%v: %s", err, written)
		}
	})
}
