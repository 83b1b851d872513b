package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const maxAnswer = 16 << 20

// client speaks the API of the fake cloud.
type client struct {
	http                           *retryablehttp.Client
	endpoint, token, region, agent string
	consistent, idempotent         bool
}

func newClient(endpoint, token, region, version string) *client {
	h := retryablehttp.NewClient()
	h.Logger = nil
	h.RetryMax, h.RetryWaitMin, h.RetryWaitMax = 10, 50*time.Millisecond, 2*time.Second
	h.CheckRetry = again
	h.ErrorHandler = retryablehttp.PassthroughErrorHandler
	h.HTTPClient.Transport = crashing{h.HTTPClient.Transport}
	return &client{http: h, endpoint: endpoint, token: token, region: region, agent: "terraform-provider-cloud/" + version}
}

// again repeats what was throttled or lost, and nothing that the cloud refused.
func again(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable, nil
}

// crashing crashes the process when the cloud says so.
type crashing struct{ next http.RoundTripper }

func (c crashing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err == nil && resp.Header.Get("X-Fakecloud-Crash") != "" {
		panic("the cloud told the provider to crash")
	}
	return resp, err
}

// apiError is an answer that is no success.
type apiError struct {
	status            int
	code, message, at string
}

func (e *apiError) Error() string {
	text := fmt.Sprintf("%d %s: %s (%s)", e.status, e.code, e.message, e.at)
	if e.status == http.StatusUnauthorized {
		text += "\nCheck the provider's token, or " + TokenVariable + " in the environment."
	}
	return text
}

func notFound(err error) bool {
	var e *apiError
	return errors.As(err, &e) && e.status == http.StatusNotFound
}

// object is a body and its generation.
type object struct {
	body       map[string]any
	generation int
}

func (c *client) url(parts ...string) string {
	joined, err := url.JoinPath(c.endpoint, append([]string{"v1", c.region}, parts...)...)
	if err != nil {
		return c.endpoint // the request then says what is wrong with it
	}
	return joined
}

func (c *client) do(ctx context.Context, method, address string, header http.Header, body map[string]any) (object, error) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return object{}, fmt.Errorf("encode the request: %w", err)
		}
	}
	r, err := retryablehttp.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return object{}, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("User-Agent", c.agent)
	r.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(r)
	if err != nil {
		return object{}, fmt.Errorf("%s %s: %w", method, address, err)
	}
	defer resp.Body.Close()
	return answered(resp, method+" "+address)
}

func answered(resp *http.Response, at string) (object, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return object{}, fmt.Errorf("%s: %w", at, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		var problem struct {
			Error struct{ Code, Message string }
		}
		_ = json.Unmarshal(text, &problem)
		return object{}, &apiError{resp.StatusCode, problem.Error.Code, problem.Error.Message, at}
	}
	o := object{body: map[string]any{}}
	o.generation, _ = strconv.Atoi(resp.Header.Get("X-Generation"))
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&o.body); err != nil {
		return object{}, fmt.Errorf("%s: decode the answer: %w", at, err)
	}
	return o, nil
}

func (c *client) create(ctx context.Context, kind, token string, body map[string]any) (object, error) {
	o, err := c.do(ctx, http.MethodPost, c.url(kind), http.Header{"Idempotency-Key": {token}}, body)
	if err != nil {
		return o, err
	}
	return c.await(ctx, kind, o)
}

func (c *client) update(ctx context.Context, kind, id string, body map[string]any) (object, error) {
	o, err := c.do(ctx, http.MethodPut, c.url(kind, id), nil, body)
	if err != nil {
		return o, err
	}
	return c.await(ctx, kind, o)
}

// read reads an object, of which the caller knows a generation, or none ("").
func (c *client) read(ctx context.Context, kind, id, known string) (object, error) {
	header := http.Header{}
	if known != "" {
		header.Set("X-Known-Generation", known)
	}
	return c.do(ctx, http.MethodGet, c.url(kind, id), header, nil)
}

func (c *client) remove(ctx context.Context, kind, id string) error {
	_, err := c.do(ctx, http.MethodDelete, c.url(kind, id), nil, nil)
	if notFound(err) {
		return nil
	}
	if err != nil || !c.consistent {
		return err
	}
	return poll(ctx, func() (bool, error) {
		_, err := c.read(ctx, kind, id, "0")
		if notFound(err) {
			return true, nil
		}
		return false, err
	})
}

// await waits until readers see an object as it was answered.
func (c *client) await(ctx context.Context, kind string, o object) (object, error) {
	if !c.consistent {
		return o, nil
	}
	err := poll(ctx, func() (bool, error) {
		seen, err := c.read(ctx, kind, fmt.Sprint(o.body["id"]), strconv.Itoa(o.generation))
		if notFound(err) {
			return false, nil
		}
		return seen.generation >= o.generation, err
	})
	return o, err
}

func poll(ctx context.Context, done func() (bool, error)) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		if ok, err := done(); ok || err != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait until the change shows: %w", ctx.Err())
		}
	}
}
