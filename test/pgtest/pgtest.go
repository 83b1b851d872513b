// Package pgtest runs a real PostgreSQL for tests.
package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Password is in the address, to be looked for where it must not be.
const Password = "canary-of-postgres"

// Postgres is a running server with an empty database, for one test.
type Postgres struct {
	bin, dir string
	as       *syscall.Credential // PostgreSQL does not run as root
}

// Start starts one, which ends with the test.
func Start(t *testing.T) *Postgres {
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
	p := &Postgres{dir: dir}
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
	p.Start(t)
	t.Cleanup(func() { p.Stop(t) })
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

func (p *Postgres) run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Start starts it again.
func (p *Postgres) Start(t *testing.T) {
	t.Helper()
	p.run(t, "pg_ctl", "start", "-w", "-s", "-D", p.dir+"/data", "-l", p.dir+"/log", "-o", "-F -h '' -k "+p.dir)
}

// Stop stops it at once, as a power cut does.
func (p *Postgres) Stop(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(p.dir + "/data/postmaster.pid"); err == nil {
		p.run(t, "pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", p.dir+"/data")
	}
}

// Address is how clients find it. It has a Password that nobody may repeat.
func (p *Postgres) Address() string {
	return fmt.Sprintf("host=%s user=plumb password=%s dbname=postgres", p.dir, Password)
}
