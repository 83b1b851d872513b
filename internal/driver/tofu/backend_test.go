package tofu_test

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/render"
)

// TestSecretOfABackend opens a module's own backend with what was looked up.
func TestSecretOfABackend(t *testing.T) {
	s := calm(t)
	var mu sync.Mutex
	var state []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if _, password, _ := r.BasicAuth(); password != canaryEnv {
			http.Error(w, "no: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		switch r.Method {
		case http.MethodPost:
			state, _ = io.ReadAll(r.Body)
		case http.MethodGet:
			if state == nil {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = w.Write(state)
		}
	}))
	t.Cleanup(server.Close)
	with := func(password string) driver.Desired {
		text := strings.Replace(idempotent, "terraform {", fmt.Sprintf("terraform {\n  backend \"http\" {\n    address  = %q\n    username = \"ada\"\n  }", server.URL), 1)
		d := want(text + vpc("a", "10.0.0.0/16", "1"))
		m := *d.Bundle.Module
		m.Backend = map[string]render.Value{"password": secret(password)}
		d.Bundle.Module = &m
		return d
	}
	s.sync(with(canaryEnv))
	mu.Lock()
	if len(state) == 0 {
		t.Error("the backend has no state")
	}
	mu.Unlock()
	_, err := s.driver.Compare(t.Context(), with(canaryVar))
	if err == nil {
		t.Fatal("another password opens the backend")
	}
	if found := leaks(err.Error()); len(found) > 0 {
		t.Errorf("it tells %q: %v", found, err)
	}
	if err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		info, _ := d.Info()
		if len(leaks(string(text))) > 0 && info.Mode().Perm()&0o077 != 0 {
			for dir := filepath.Dir(path); dir != s.dir; dir = filepath.Dir(dir) { // or a folder keeps others out
				if i, err := os.Stat(dir); err == nil && i.Mode().Perm()&0o077 == 0 {
					return nil
				}
			}
			t.Errorf("%s can be read by others", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.inSync(with(canaryEnv))
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	if len(s.states.states) > 0 {
		t.Error("Plumb keeps a state of its own")
	}
}
