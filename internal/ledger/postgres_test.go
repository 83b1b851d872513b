package ledger

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/ledger/entry"
	"github.com/plumb-dev/plumb/internal/ledger/index"
)

// postgres is a real server with a database of its own for a test.
type postgres struct {
	bin, dir string
	as       *syscall.Credential // PostgreSQL does not run as root
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg") // others do not get through t.TempDir's parent
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p := &postgres{dir: dir}
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		p.bin = filepath.Dir(found[len(found)-1])
	} else if found, err := exec.LookPath("initdb"); err == nil {
		p.bin = filepath.Dir(found)
	} else {
		t.Fatal("PostgreSQL is not installed: .ci/run installs it")
	}
	if os.Getuid() == 0 {
		p.as = nobody(t)
		if err := os.Chown(p.dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	p.run(t, "initdb", "-D", p.dir+"/data", "-U", "plumb", "--auth=trust", "--no-sync", "--locale=C", "-E", "UTF8")
	p.start(t)
	t.Cleanup(func() { p.stop(t) })
	return p
}

func nobody(t *testing.T) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatal("PostgreSQL does not run as root, and there is neither postgres nor nobody")
	return nil
}

func (p *postgres) run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func (p *postgres) start(t *testing.T) {
	t.Helper()
	p.run(t, "pg_ctl", "start", "-w", "-s", "-D", p.dir+"/data", "-l", p.dir+"/log", "-o", "-F -h '' -k "+p.dir)
}

func (p *postgres) stop(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(p.dir + "/data/postmaster.pid"); err == nil {
		p.run(t, "pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", p.dir+"/data")
	}
}

func (p *postgres) address() string {
	return fmt.Sprintf("host=%s user=plumb password=canary-of-postgres dbname=postgres", p.dir)
}

func TestPostgres(t *testing.T) {
	p := newPostgres(t)
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, Postgres: p.address()})
	fill(t, l, 0, 299)
	eventually(t, indexed(l, 300))
	t.Run("queries", func(t *testing.T) { checkQueries(t, l) })
	if _, err := os.Stat(filepath.Join(dir, indexFile)); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is a SQLite index as well")
	}
	if _, err := index.OpenPostgres(t.Context(), p.address(), "another"); err == nil || !strings.Contains(err.Error(), "another ledger") {
		t.Errorf("the database of another ledger: %v", err)
	}

	p.stop(t)
	fill(t, l, 299, 309)
	eventually(t, func() error {
		if l.Health() == nil {
			return errors.New("healthy without its index")
		}
		return nil
	})
	if err := l.Health(); strings.Contains(err.Error(), "canary") {
		t.Errorf("a password in %v", err)
	}
	p.start(t)
	eventually(t, l.Health)
	eventually(t, indexed(l, 310))
	closeLedger(t, l)
	v := verify(t, VerifyOptions{Dir: dir, Postgres: p.address()})
	if v.Err() != nil || v.Indexed == nil || *v.Indexed != 310 {
		t.Errorf("%+v", v)
	}
}

func TestSQLiteQueries(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	fill(t, l, 0, 299)
	t.Run("while the index follows", func(t *testing.T) { checkQueries(t, l) })
	eventually(t, indexed(l, 300))
	t.Run("from the index", func(t *testing.T) { checkQueries(t, l) })
}

// checkQueries compares answers with what matches among all entries.
func checkQueries(t *testing.T, l *Ledger) {
	var all []Entry
	if err := l.Each(t.Context(), entry.Query{Oldest: true}, func(e Entry) bool { all = append(all, e); return true }); err != nil {
		t.Fatal(err)
	}
	if len(all) != 300 {
		t.Fatalf("%d entries", len(all))
	}
	for name, q := range map[string]entry.Query{
		"all":              {},
		"oldest first":     {Oldest: true},
		"an application":   {Application: entry.Application{Namespace: "shop", Name: "app-2"}},
		"by its name only": {Application: entry.Application{Name: "app-2"}},
		"a project":        {Project: "team-1"},
		"kinds":            {Kinds: []entry.Kind{entry.Approved, entry.DriftFound}},
		"an actor":         {Person: "User-3@example.org"},
		"an author":        {Person: "ada"},
		"an operation":     {Operation: "op-17"},
		"a time":           {Since: day.Add(30 * time.Minute), Until: day.Add(90 * time.Minute), Oldest: true},
		"a text":           {Text: "NUMBER 29"},
		"several":          {Project: "team-1", Person: "user-2@example.org", Kinds: []entry.Kind{entry.DriftFound}, Text: "this is"},
		"nobody":           {Person: "'; DROP TABLE ledger_entries; --"},
		"a page":           {After: new(uint64(200)), Limit: 20},
		"a page forwards":  {After: new(uint64(200)), Limit: 20, Oldest: true, Project: "team-0"},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := l.Query(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			want, more := expected(all, q)
			if diff := cmp.Diff(want, page.Entries); diff != "" {
				t.Error(diff)
			}
			if more != (page.Next != nil) {
				t.Errorf("more: %v, next %v", more, page.Next)
			}
		})
	}
}

func expected(all []Entry, q entry.Query) (want []Entry, more bool) {
	all = slices.Clone(all)
	if !q.Oldest {
		slices.Reverse(all)
	}
	for _, e := range all {
		if q.After != nil && (q.Oldest && e.Index <= *q.After || !q.Oldest && e.Index >= *q.After) || !q.Matches(&e) {
			continue
		}
		if q.Limit > 0 && len(want) == q.Limit {
			return want, true
		}
		want = append(want, e)
	}
	return want, false
}
