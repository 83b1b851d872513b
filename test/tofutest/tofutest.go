// Package tofutest gives tests a real OpenTofu, real and fake providers in a
// filesystem mirror, and a fake cloud on a free port. It builds what is missing
// with scripts/tofu, which takes minutes the first time and nothing later. It
// is test support only.
//
//	tools := tofutest.Get(t)
//	cloud := tofutest.Cloud(t)
//	dir := tofutest.Module(t, "seed")
//	cmd := exec.Command(tools.Tofu, "init")
//	cmd.Dir, cmd.Env = dir, append(tools.Env(t), cloud.Env()...)
//
// The providers are hashicorp/random, tls, time, local and null, as released,
// and plumb-dev/cloud and plumb-dev/cloud5 (test/providers), the latter of
// which speaks protocol 5.
package tofutest

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/plumb-dev/plumb/test/fakecloud"
)

// Token is what the API of a fake cloud wants.
const Token = "token-of-the-tests"

// Tools are the programs to test with.
type Tools struct {
	// Tofu is OpenTofu.
	Tofu string
	// Terraform is empty where there is none on the PATH.
	Terraform string
	// Mirror is a filesystem mirror of providers, for both.
	Mirror string
	// FakeCloud is a server of a fake cloud: a process of its own, which prints
	// its URL, takes -token, and with -stdin ends with its standard input.
	FakeCloud string
}

// built remembers for this test binary that everything has been built.
var built = sync.OnceValues(build)

// Get returns the tools, and builds them if need be.
func Get(tb testing.TB) Tools {
	tb.Helper()
	tools, err := built()
	if err != nil {
		tb.Fatalf("tofutest: %v", err)
	}
	return tools
}

func build() (Tools, error) {
	root, err := moduleRoot()
	if err != nil {
		return Tools{}, err
	}
	cmd := exec.Command(filepath.Join(root, "scripts", "tofu"))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return Tools{}, fmt.Errorf("build OpenTofu and providers: %w", err)
	}
	bin := filepath.Join(root, "bin")
	// That these are read here makes go test run again what they have changed for.
	for _, stamp := range []string{".tofu.stamp", ".providers.stamp", ".testproviders.stamp"} {
		if _, err := os.ReadFile(filepath.Join(bin, stamp)); err != nil {
			return Tools{}, fmt.Errorf("build OpenTofu and providers: %w", err)
		}
	}
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		terraform = ""
	}
	return Tools{
		Tofu: filepath.Join(bin, "tofu"), Terraform: terraform,
		Mirror: filepath.Join(bin, "providers"), FakeCloud: filepath.Join(bin, "fakecloud"),
	}, nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	path := strings.TrimSpace(string(out))
	if path == "" || path == os.DevNull {
		return "", errors.New("find the module: the test does not run inside of it")
	}
	return filepath.Dir(path), nil
}

// CLIConfig writes a configuration of OpenTofu and Terraform that gets
// providers from the mirror alone, and returns its path.
func (t Tools) CLIConfig(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "tofurc")
	text := fmt.Sprintf("disable_checkpoint = true\n\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", t.Mirror)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatalf("tofutest: %v", err)
	}
	return path
}

// Env returns an environment to run OpenTofu in: nothing of the caller's but
// the PATH.
func (t Tools) Env(tb testing.TB) []string {
	tb.Helper()
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir(), "TF_IN_AUTOMATION=1", "TF_INPUT=0",
		"TF_CLI_CONFIG_FILE=" + t.CLIConfig(tb),
	}
}

// Server is a fake cloud and where it is.
type Server struct {
	*fakecloud.Cloud
	URL string
}

// Env is what the provider cloud needs in its environment.
func (s Server) Env() []string {
	return []string{"FAKECLOUD_ENDPOINT=" + s.URL, "FAKECLOUD_TOKEN=" + Token}
}

// Cloud starts a fake cloud of the test's own.
func Cloud(tb testing.TB) Server {
	tb.Helper()
	cloud := fakecloud.New(fakecloud.Options{Token: Token})
	server := httptest.NewServer(cloud)
	tb.Cleanup(func() {
		cloud.Heal()
		server.CloseClientConnections()
		server.Close()
	})
	return Server{Cloud: cloud, URL: server.URL}
}

// Module copies a module of test/providers/testdata to a folder of the test's
// own, and returns its path. "seed" is an ordinary one: networks, machines,
// modules, for_each, dynamic blocks, data sources, moved, import.
func Module(tb testing.TB, name string) string {
	tb.Helper()
	root, err := moduleRoot()
	if err != nil {
		tb.Fatalf("tofutest: %v", err)
	}
	dir := filepath.Join(tb.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "test", "providers", "testdata", name))); err != nil {
		tb.Fatalf("tofutest: %v", err)
	}
	return dir
}

// Write writes files, by name, into a folder of the test's own, and returns its
// path.
func Write(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatalf("tofutest: %v", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatalf("tofutest: %v", err)
		}
	}
	return dir
}
