package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/time/rate"
)

// TestUnsignedPulls bounds what anybody can have asked of hosts with Plumb's tokens
// where there is no secret, and nobody who knows one.
func TestUnsignedPulls(t *testing.T) {
	for name, tc := range map[string]struct {
		reason, secret, event string
		limited               bool
	}{
		"nobody known":   {"each costs requests to the host", "", "pull_request", true},
		"pushes":         {"they are asked of the repository, once for many", "", "push", false},
		"who has proved": {"the host itself may be busy", "s3cr3t", "pull_request", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newWebhook(&Server{Options: Options{WebhookSecret: []byte(tc.secret)}})
			h.limit = rate.NewLimiter(rate.Inf, 0)
			limited := false
			for i := range unsignedBurst + 5 {
				body := fmt.Sprintf(`{"number":%d,"pull_request":{"number":%d},"repository":{"html_url":"https://github.com/org/repo"}}`, i+1, i+1)
				r := httptest.NewRequest(http.MethodPost, "/api/webhook", strings.NewReader(body))
				r.Header.Set("X-Github-Event", tc.event)
				r.Header.Set("Authorization", "Bearer "+tc.secret)
				code, _, text := h.handle(httptest.NewRecorder(), r)
				if code == http.StatusTooManyRequests {
					limited = true
				} else if code != http.StatusServiceUnavailable {
					t.Fatalf("%d: %s", code, text)
				}
			}
			if limited != tc.limited {
				t.Errorf("%s: limited: %v", tc.reason, limited)
			}
		})
	}
}
