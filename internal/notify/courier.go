package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// courier carries requests to services.
type courier struct {
	transport http.RoundTripper
	// pace is how long to wait between two requests that belong together.
	pace time.Duration
}

const (
	sendTime    = 15 * time.Second
	maxAnswer   = 64 << 10
	longestWait = time.Hour
)

// request is one HTTP request to a service.
type request struct {
	method, url        string
	header             map[string]string
	user, password     string
	body               []byte
	insecureSkipVerify bool
}

// post is a request with a JSON body.
func post(address string, body any) (request, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return request{}, permanent{fmt.Errorf("write the body: %w", err)}
	}
	return request{method: http.MethodPost, url: address, body: raw, header: map[string]string{"Content-Type": "application/json"}}, nil
}

// do sends a request, and gives the answer if it is one of success.
func (c courier) do(ctx context.Context, r request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, permanent{err}
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if r.user != "" || r.password != "" {
		req.SetBasicAuth(r.user, r.password)
	}
	return c.carry(req, r.insecureSkipVerify)
}

// carry sends a request that is made. Redirects are not followed: what a request
// carries is meant for one address.
func (c courier) carry(req *http.Request, insecure bool) ([]byte, error) {
	transport := c.transport
	if t, ok := transport.(*http.Transport); ok && insecure {
		t = t.Clone()
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the administrator has said so for this service
		defer t.CloseIdleConnections()
		transport = t
	}
	client := &http.Client{Transport: transport, Timeout: sendTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(req) //nolint:gosec // the address is an administrator's
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // without the address
			err = wrapped.Err
		}
		return nil, fmt.Errorf("cannot reach %s: %w", req.URL.Host, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)
	}
	return answer, judge(req.URL.Host, response, answer)
}

// judge says whether an answer is one of success, and if not, whether to try
// again and when.
func judge(host string, response *http.Response, answer []byte) error {
	code := response.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	err := fmt.Errorf("%s answers %s: %s", host, response.Status, shorten(oneLine(string(answer)), 120))
	switch {
	case code >= 300 && code < 400:
		return permanent{fmt.Errorf("%s answers %s: redirects are not followed; configure the address it leads to", host, response.Status)}
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		if wait := retryAfter(response.Header.Get("Retry-After"), time.Now()); wait > 0 {
			return later{err, wait}
		}
		return err
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code >= 500:
		return err
	}
	return permanent{err}
}

// retryAfter reads the header of this name: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		wait = time.Duration(min(max(seconds, 0), int(longestWait/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), longestWait)
}
