package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/plumb-dev/plumb/internal/ledger"
	"github.com/plumb-dev/plumb/internal/ledger/entry"
)

// recordedLedger is a folder of a ledger with a little history.
func recordedLedger(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "engine", "ledger")
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Hour)
	web := entry.Application{Group: "plumb.dev", Namespace: "shop", Name: "web"}
	for n, e := range []entry.Entry{
		{Kind: entry.Approved, Actor: entry.Actor{User: "bob@example.org"}, Message: "=looks good"},
		{Kind: entry.SyncStarted, Operation: "op-1", Actor: entry.Actor{User: "ada@example.org"}},
		{Kind: entry.SyncFinished, Operation: "op-1", Result: entry.Succeeded, Actor: entry.Actor{User: "ada@example.org"}, Revisions: []entry.Revision{{
			Repo: "https://git.example.org/shop.git", Revision: strings.Repeat("ab", 20), Author: "Ada", CommittedAt: began.Add(-10 * time.Minute),
		}}},
		{Kind: entry.DriftFound, Message: "replicas: 3 → 7"},
		{Kind: entry.Healed},
	} {
		e.Time, e.Application, e.Project = began.Add(time.Duration(n)*time.Minute), web, "shop"
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAudit(t *testing.T) {
	dir := recordedLedger(t)
	data := filepath.Dir(filepath.Dir(dir))
	for _, c := range []struct {
		name, args string
		code       int
		want       []string
		not        string
	}{
		{"log", "audit log --data-dir " + data, 0, []string{"INDEX", "Healed", "shop/web", "LedgerOpened"}, ""},
		{"log of one", "audit log shop/web --kind approved --dir " + dir, 0, []string{"Approved", "bob@example.org"}, "Healed"},
		{"log in JSON", "audit log web --by Ada --limit 1 -o json --dir " + dir, 0, []string{`"index": 3`, `"result": "Succeeded"`, `"entries": [`}, "Approved"},
		{"log, wide", "audit log --grep op-1 -o wide --dir " + dir, 0, []string{"abababa", "op-1"}, "Healed"},
		{"log of a time", "audit log --since 57m --dir " + dir, 0, []string{"Healed"}, "SyncStarted"},
		{"more", "audit log --limit 2 --dir " + dir, 0, []string{"--after 4 goes on"}, "Approved"},
		{"a kind that is not", "audit log --kind healled --dir " + dir, 1, []string{"did you mean Healed?"}, ""},
		{"a time that is not", "audit log --since yesterday --dir " + dir, 1, []string{`--since: "yesterday" is neither`}, ""},
		{"no ledger", "audit log --dir " + data, 1, []string{"there is no ledger in"}, ""},
		{"show", "audit show 3 --dir " + dir, 0, []string{"ada@example.org", "Ada", "Proved by the checkpoint of 6 entries"}, ""},
		{"show what is not", "audit show 6 --dir " + dir, 1, []string{"there is no entry 6: the ledger has 6"}, ""},
		{"export", "audit export web --dir " + dir, 0, []string{`{"index":1,"v":1,`}, "LedgerOpened"},
		{"export CSV", "audit export web -o csv --dir " + dir, 0, []string{"index,time,kind", "'=looks good"}, "LedgerOpened"},
		{"checkpoint", "audit checkpoint --dir " + dir, 0, []string{"plumb.dev/ledger/", "\n6\n", "— plumb.dev/ledger/", "6 entries, public key plumb.dev/ledger/"}, ""},
		{"verify", "audit verify --dir " + dir, 0, []string{"Entries:      6", "Nothing was changed.", "Witness:      none"}, ""},
		{"verify in JSON", "audit verify -o json --dir " + dir, 0, []string{`"ok": true`, `"findings": []`}, ""},
		{"report", "report --since 30d --dir " + dir, 0, []string{"PROJECT", "shop", "12m / 12m", "0 (0%)", "60s"}, ""},
		{"report in JSON", "report -o json --dir " + dir, 0, []string{`"leadTime"`, `"p50": 720`, `"approvals": 1`}, ""},
		{"report in CSV", "report -o csv --dir " + dir, 0, []string{"project,since", "\nshop,", "\n(all),"}, ""},
		{"report of no time", "report --since 1d --until 2d --dir " + dir, 1, []string{"ends before it begins"}, ""},
		{"rotate without a word", "audit rotate-key --dir " + dir, 1, []string{"--yes"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, code := commandIn(t.Context(), strings.Fields(c.args)...)
			if code != c.code {
				t.Errorf("exit code %d, not %d: %s", code, c.code, errs)
			}
			for _, want := range c.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("no %q in\n%s%s", want, out, errs)
				}
			}
			if c.not != "" && strings.Contains(out, c.not) {
				t.Errorf("%q in\n%s", c.not, out)
			}
		})
	}
}

func TestAuditVerifyNamesTheFirstBadEntry(t *testing.T) {
	dir := recordedLedger(t)
	elsewhere := t.TempDir()
	keep := func(name string, args ...string) string {
		out, errs, code := commandIn(t.Context(), append(args, "--dir", dir)...)
		if code != 0 {
			t.Fatal(errs)
		}
		path := filepath.Join(elsewhere, name)
		if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	witness, keys := keep("witness", "audit", "checkpoint"), keep("keys", "audit", "checkpoint", "--keys")
	if out, errs, code := commandIn(t.Context(), "audit", "rotate-key", "--yes", "--dir", dir); code != 0 || !strings.HasPrefix(out, "plumb.dev/ledger/") {
		t.Fatal(out, errs)
	}
	all := keep("all", "audit", "checkpoint", "--keys")
	verify := func(want int, flags ...string) string {
		t.Helper()
		out, errs, code := commandIn(t.Context(), append([]string{"audit", "verify", "--dir", dir}, flags...)...)
		if code != want {
			t.Errorf("exit code %d, not %d: %s%s", code, want, out, errs)
		}
		return out + errs
	}
	verify(0, "--witness", witness, "--key", all)
	verify(0, "--witness", witness, "--key", keys) // the last checkpoint is still the old key's
	verify(2, "--witness", filepath.Join(elsewhere, "nothing"))

	bundles, err := filepath.Glob(filepath.Join(dir, "log", "tile", "entries", "000.p", "7"))
	if err != nil || len(bundles) != 1 {
		t.Fatal(bundles, err)
	}
	raw, err := os.ReadFile(bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bundles[0], bytes.Replace(raw, []byte("bob@"), []byte("eve@"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	said := verify(1, "--witness", witness, "--key", all)
	if !strings.Contains(said, "error: the ledger was tampered with: entry 1 is not the one that was recorded") {
		t.Error(said)
	}
	out, _, _ := commandIn(t.Context(), "audit", "verify", "-o", "json", "--dir", dir)
	var v verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.OK || len(v.Findings) == 0 || v.Findings[0].First != 1 {
		t.Error(err, fmt.Sprintf("%+v", v))
	}
}

// TestAuditJSON holds what the commands print to their schemas.
func TestAuditJSON(t *testing.T) {
	dir := recordedLedger(t)
	for name, args := range map[string]string{"audit-log": "audit log --limit 4", "audit-verify": "audit verify", "report": "report"} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := commandIn(t.Context(), append(strings.Fields(args), "-o", "json", "--dir", dir)...)
			if code != 0 {
				t.Fatal(errs)
			}
			schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "reference", "schemas", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(value); err != nil {
				t.Error(err)
			}
		})
	}
}
