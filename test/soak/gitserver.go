package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// gitServer serves the bare repositories of a directory over smart HTTP, and can
// be taken away and brought back at the same address.
type gitServer struct {
	address string
	handler http.Handler
	server  *http.Server
}

func newGitServer(root string) (*gitServer, error) {
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("find git: %w", err)
	}
	g := &gitServer{address: "127.0.0.1:0", handler: &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Dir:  root,
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + root,
			"PATH=" + os.Getenv("PATH"),
		},
	}}
	return g, g.up()
}

func (g *gitServer) url(repository string) string {
	return "http://" + g.address + "/" + repository + ".git"
}

func (g *gitServer) up() error {
	var listener net.Listener
	var err error
	for range 50 { // the port may be in use for a moment as the end of a connection
		if listener, err = net.Listen("tcp", g.address); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("bring the git server back: %w", err)
	}
	g.address = listener.Addr().String()
	server := &http.Server{Handler: g.handler, ReadHeaderTimeout: 10 * time.Second}
	g.server = server
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "soak: the git server:", err)
		}
	}()
	return nil
}

func (g *gitServer) down() { _ = g.server.Close() }
