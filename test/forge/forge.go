// Package forge runs a real Gitea for tests: users, repositories, pull requests.
// Where there is none (see make gitea), tests that need it are skipped.
package forge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Forge is a running Gitea.
type Forge struct {
	// URL of it, without a slash at its end.
	URL string

	t               *testing.T
	binary, dir, at string
}

// User of a Forge.
type User struct{ Name, Token string }

// binaries finds Gitea and what it reads.
func binaries(t *testing.T) (binary, static string) {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	top := filepath.Join(filepath.Dir(file), "..", "..")
	if binary = os.Getenv("PLUMB_TEST_GITEA"); binary == "" {
		binary = filepath.Join(top, "bin", "gitea")
	}
	if _, err := os.Stat(binary); err != nil {
		t.Skip("there is no Gitea here: make gitea")
	}
	if text, err := os.ReadFile(binary + ".static"); err == nil {
		return binary, strings.TrimSpace(string(text))
	}
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea")
	cmd.Dir = filepath.Join(top, "tools", "gitea")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("find Gitea's templates: %v", err)
	}
	return binary, strings.TrimSpace(string(out))
}

const settings = `
RUN_MODE = prod
WORK_PATH = %[1]s
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[2]d
ROOT_URL = http://127.0.0.1:%[2]d/
DISABLE_SSH = true
OFFLINE_MODE = true
STATIC_ROOT_PATH = %[3]s
APP_DATA_PATH = %[1]s/data
LFS_START_SERVER = false
[database]
DB_TYPE = sqlite3
PATH = %[1]s/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = only-for-tests
INTERNAL_TOKEN = eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYmYiOjE3MDAwMDAwMDB9.tHn3p3x0fXh2j0zj3yJ1yY2R0XqJ3yJ1yY2R0XqJ3yI
[webhook]
ALLOWED_HOST_LIST = *
[session]
PROVIDER = memory
[log]
MODE = file
LEVEL = Warn
ROOT_PATH = %[1]s/log
[actions]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
[cron]
ENABLED = false
[repository]
DEFAULT_BRANCH = main
ROOT = %[1]s/repos
[api]
MAX_RESPONSE_ITEMS = 50
`

// Start runs a Gitea until the test has ended.
func Start(t *testing.T) *Forge {
	t.Helper()
	binary, static := binaries(t)
	f := &Forge{t: t, binary: binary, dir: t.TempDir()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	f.URL, f.at = fmt.Sprintf("http://127.0.0.1:%d", port), filepath.Join(f.dir, "app.ini")
	if err := os.WriteFile(f.at, fmt.Appendf(nil, settings, f.dir, port, static), 0o600); err != nil {
		t.Fatal(err)
	}
	f.run("migrate")
	cmd := f.command("web")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(15 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(f.URL + "/api/v1/version")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return f
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("Gitea never answered: %v", err)
		}
	}
}

func (f *Forge) command(args ...string) *exec.Cmd {
	cmd := exec.Command(f.binary, append([]string{"--config", f.at}, args...)...)
	cmd.Env = append(os.Environ(), "GITEA_WORK_DIR="+f.dir, "HOME="+f.dir, "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT=true")
	return cmd
}

func (f *Forge) run(args ...string) string {
	f.t.Helper()
	var out, errs bytes.Buffer
	cmd := f.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		f.t.Fatalf("gitea %v: %v\n%s%s", args, err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String())
}

// User makes a user with a token for everything.
func (f *Forge) User(name string, admin bool) User {
	f.t.Helper()
	args := []string{"admin", "user", "create", "--username", name, "--password", "pass-Word-1!", "--email", name + "@example.com", "--must-change-password=false"}
	if admin {
		args = append(args, "--admin")
	}
	f.run(args...)
	lines := strings.Fields(f.run("admin", "user", "generate-access-token", "--username", name, "--token-name", "test", "--scopes", "all", "--raw"))
	return User{name, lines[len(lines)-1]}
}

// Call speaks with the API as somebody; in and out are JSON, and may be nil.
func (f *Forge) Call(as User, method, path string, in, out any) {
	f.t.Helper()
	if err := f.Try(as, method, path, in, out); err != nil {
		f.t.Fatal(err)
	}
}

// Try is Call that may fail.
func (f *Forge) Try(as User, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, f.URL+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "token "+as.Token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode > 299 {
		return fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, text)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// Repository makes one with a branch main, and gives its path.
func (f *Forge) Repository(owner User, name string) string {
	f.t.Helper()
	f.Call(owner, http.MethodPost, "/user/repos", map[string]any{"name": name, "auto_init": true, "default_branch": "main"}, nil)
	return owner.Name + "/" + name
}

// Clone of a repository.
type Clone struct {
	t   *testing.T
	Dir string
}

// Clone clones a repository as somebody.
func (f *Forge) Clone(as User, repo string) *Clone {
	f.t.Helper()
	c := &Clone{f.t, f.t.TempDir()}
	c.Git("clone", "-q", strings.Replace(f.URL, "://", "://"+as.Name+":"+as.Token+"@", 1)+"/"+repo+".git", ".")
	return c
}

// Git runs git in the clone.
func (c *Clone) Git(args ...string) string {
	c.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", c.Dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out))
}

// Commit writes files, commits them and gives the commit. An empty text removes.
func (c *Clone) Commit(files map[string]string) string {
	c.t.Helper()
	for name, text := range files {
		path := filepath.Join(c.Dir, name)
		if text == "" {
			if err := os.Remove(path); err != nil {
				c.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			c.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	c.Git("add", "-A")
	c.Git("commit", "-q", "-m", "change")
	return c.Git("rev-parse", "HEAD")
}
