package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/internal/scm/rest"
)

const canary = "c4n4ry-t0k3n"

func TestTriesAgain(t *testing.T) {
	reset := strconv.FormatInt(time.Now().Add(20*time.Second).Unix(), 10)
	far := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	for name, tc := range map[string]struct {
		reason, method string
		answers        []int
		header         map[string]string
		tries          int
		ok             bool
		wait           time.Duration
	}{
		"fine":              {"once is enough", "GET", []int{200}, nil, 1, true, 0},
		"away":              {"a gateway comes back", "GET", []int{502, 503, 200}, nil, 3, true, time.Second},
		"away for long":     {"it does not go on for ever", "GET", []int{502, 502, 502, 502, 502}, nil, 4, false, time.Second},
		"made":              {"it may have been made, and must not be twice", "POST", []int{502, 200}, nil, 1, false, 0},
		"limited":           {"what was refused was not made", "POST", []int{429, 201}, map[string]string{"Retry-After": "7"}, 2, true, 7 * time.Second},
		"secondary limit":   {"GitHub's 403 with a time", "POST", []int{403, 201}, map[string]string{"Retry-After": "3"}, 2, true, 3 * time.Second},
		"primary limit":     {"GitHub's 403 with nothing left", "GET", []int{403, 200}, map[string]string{"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": reset}, 2, true, 15 * time.Second},
		"limited for long":  {"nobody waits an hour", "GET", []int{403, 200}, map[string]string{"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": far}, 1, false, 0},
		"not allowed":       {"trying again does not help", "GET", []int{403, 200}, nil, 1, false, 0},
		"wrong credentials": {"trying again does not help", "GET", []int{401, 200}, nil, 1, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for name, value := range tc.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tc.answers[tries])
				tries++
				fmt.Fprintf(w, `{"message":"no, %s"}`, canary)
			}))
			defer s.Close()
			var waited time.Duration
			c, err := rest.New(rest.Options{Base: s.URL, Secrets: []string{canary}, Pause: func(_ context.Context, d time.Duration) error {
				if waited == 0 {
					waited = d
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Do(t.Context(), tc.method, "/x?secret=1", nil, nil)
			if (err == nil) != tc.ok || tries != tc.tries || waited < tc.wait {
				t.Errorf("%s: %d tries, waited %v, %v", tc.reason, tries, waited, err)
			}
			if err != nil && (strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "secret=1")) {
				t.Errorf("the error tells too much: %v", err)
			}
		})
	}
}

func TestCredentialsStayWithTheHost(t *testing.T) {
	told := ""
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told += r.Header.Get("Authorization") }))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/pages" {
			w.Header().Set("Link", "<"+other.URL+`>; rel="next"`)
			fmt.Fprint(w, `["a"]`)
			return
		}
		http.Redirect(w, r, other.URL, http.StatusFound)
	}))
	defer s.Close()
	c, err := rest.New(rest.Options{Base: s.URL, Authorize: func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", canary)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "/elsewhere", nil); err == nil {
		t.Error("a redirection to another host is followed")
	}
	if _, _, err := rest.Pages[string](t.Context(), c, "/pages", 10); err == nil {
		t.Error("a next page on another host is followed")
	}
	if told != "" {
		t.Errorf("another host was told %q", told)
	}
}

func TestLongAnswersAreNotRead(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 17 {
			_, _ = w.Write(chunk)
		}
	}))
	defer s.Close()
	c, err := rest.New(rest.Options{Base: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "/", nil); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}
