// Package rest speaks JSON with a host's API: answers are bounded, what may pass
// is tried again, limits of the rate are respected, and credentials go to nobody
// but the host, nor into an error. It knows no host in particular.
package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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

const (
	// answerBytes is the longest answer that is read.
	answerBytes = 16 << 20
	// errorBytes is how much of an error's text is shown.
	errorBytes = 300
	// tries is how often a request is made before it has failed.
	tries = 4
	// patience is the longest that a limit of the rate is waited for.
	patience = 90 * time.Second
	// tryTimeout is the longest that one try takes.
	tryTimeout = 30 * time.Second
)

// Options of a Client. Base is needed.
type Options struct {
	// Base is the API's URL.
	Base string
	// Authorize adds credentials to a request. May be nil.
	Authorize func(ctx context.Context, req *http.Request) error
	// Secrets are masked in errors.
	Secrets []string
	// CABundle holds authorities to trust beside the system's, Insecure checks
	// nothing, and Proxy is the URL of one.
	CABundle string
	Insecure bool
	Proxy    string
	// Header is sent with every request.
	Header http.Header
	// Pause waits between tries; nil is a timer.
	Pause func(ctx context.Context, d time.Duration) error
}

// Client of one API.
type Client struct {
	o    Options
	base *url.URL
	http *http.Client
}

// New gives a client.
func New(o Options) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(o.Base, "/"))
	if err != nil || base.Hostname() == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, fmt.Errorf("%q is no URL of an API", o.Base)
	}
	if base.User != nil {
		return nil, errors.New("the URL of the API holds credentials: give them by themselves")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure} //nolint:gosec // as the user has said of this host
	if o.CABundle != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(o.CABundle)) {
			return nil, errors.New("the bundle of certificates holds none")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if o.Proxy != "" {
		proxy, err := url.Parse(o.Proxy)
		if err != nil {
			return nil, errors.New("the proxy is no URL")
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	transport.MaxIdleConnsPerHost = 4
	if o.Pause == nil {
		o.Pause = pause
	}
	c := &Client{o: o, base: base}
	c.http = &http.Client{Transport: transport, CheckRedirect: c.redirect}
	return c, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// redirect follows a host within itself only: credentials go nowhere else.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > 3 || req.URL.Host != c.base.Host || req.URL.Scheme != c.base.Scheme {
		return http.ErrUseLastResponse
	}
	return nil
}

// Base is the API's URL.
func (c *Client) Base() *url.URL { return c.base }

// Error is an answer that is no success.
type Error struct {
	Method, Path string
	Status       int
	// Message is what the host says, masked and bounded.
	Message string
	// Until is when to come back, where the limit of the rate is reached.
	Until time.Time
}

func (e *Error) Error() string {
	what := fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		what += ": " + e.Message
	}
	switch {
	case !e.Until.IsZero():
		what += "; the limit of requests is reached until " + e.Until.UTC().Format(time.RFC3339)
	case e.Status == http.StatusUnauthorized:
		what += "; the token is wrong, or has expired"
	case e.Status == http.StatusForbidden:
		what += "; the token lacks a right: see the permissions that the documentation lists"
	case e.Status == http.StatusNotFound:
		what += "; it does not exist, or the token may not see it"
	}
	return what
}

// NotFound tells whether a host said that there is no such thing.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Page is what leads to the next one.
type Page struct {
	// Next is the URL of the next page, by the header Link; empty at the end.
	Next   string
	Header http.Header
}

// Get reads an answer into out.
func (c *Client) Get(ctx context.Context, path string, out any) (Page, error) {
	return c.Do(ctx, http.MethodGet, path, nil, out)
}

// Do makes a request: a path below the API's URL (with its query), or a URL that
// the API has given. In and out are JSON, and may be nil.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) (Page, error) {
	target, err := c.resolve(path)
	if err != nil {
		return Page{}, err
	}
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return Page{}, fmt.Errorf("%s %s: %w", method, shown(target), err)
		}
	}
	for try := 1; ; try++ {
		page, wait, err := c.once(ctx, method, target, body, in != nil, out)
		if err == nil || wait < 0 || try == tries || ctx.Err() != nil {
			return page, err
		}
		if wait == 0 {
			wait = time.Second << (try - 1)
		}
		if c.o.Pause(ctx, wait) != nil {
			return page, err
		}
	}
}

func (c *Client) resolve(path string) (*url.URL, error) {
	if !strings.Contains(path, "://") {
		u, err := url.Parse(c.base.String() + path)
		if err != nil {
			return nil, fmt.Errorf("the path %q of a request: %w", path, err)
		}
		return u, nil
	}
	u, err := url.Parse(path)
	if err != nil || u.Host != c.base.Host || u.Scheme != c.base.Scheme {
		return nil, errors.New("the host leads to another one, which is not followed")
	}
	return u, nil
}

// once makes one try. The wait says when to try again: negative is never, zero is
// soon.
func (c *Client) once(ctx context.Context, method string, target *url.URL, body []byte, isJSON bool, out any) (Page, time.Duration, error) {
	tryCtx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(tryCtx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return Page{}, -1, c.masked(method, target, err)
	}
	for name, values := range c.o.Header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "plumb")
	if isJSON {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.o.Authorize != nil {
		if err := c.o.Authorize(tryCtx, req); err != nil {
			return Page{}, -1, err
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		if method == http.MethodPost { // it may have been done
			return Page{}, -1, c.masked(method, target, err)
		}
		return Page{}, 0, c.masked(method, target, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, answerBytes+1))
	switch {
	case err != nil:
		return Page{}, -1, c.masked(method, target, err)
	case len(text) > answerBytes:
		return Page{}, -1, fmt.Errorf("%s %s: the answer is longer than %d bytes", method, shown(target), answerBytes)
	case res.StatusCode < 200 || res.StatusCode > 299:
		failed := &Error{Method: method, Path: shown(target), Status: res.StatusCode, Message: c.mask(messageOf(text))}
		return Page{Header: res.Header}, again(method, res, failed, time.Now()), failed
	case out == nil || len(bytes.TrimSpace(text)) == 0:
		return pageOf(res), 0, nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return Page{}, -1, fmt.Errorf("%s %s: the answer is not what the API documents: %w", method, shown(target), err)
	}
	return pageOf(res), 0, nil
}

// again says when to try again after an answer.
func again(method string, res *http.Response, e *Error, now time.Time) time.Duration {
	wait := time.Duration(-1)
	limited := res.StatusCode == http.StatusTooManyRequests ||
		res.StatusCode == http.StatusForbidden && (res.Header.Get("Retry-After") != "" || res.Header.Get("X-Ratelimit-Remaining") == "0")
	passing := res.StatusCode == http.StatusBadGateway || res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusGatewayTimeout
	switch {
	case limited:
		wait = 0
	case passing && method != http.MethodPost:
		wait = 0
	default:
		return wait
	}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		wait = time.Duration(seconds) * time.Second
	} else if limited {
		for _, name := range []string{"X-Ratelimit-Reset", "Ratelimit-Reset"} {
			if at, err := strconv.ParseInt(res.Header.Get(name), 10, 64); err == nil {
				wait = max(time.Unix(at, 0).Sub(now), time.Second)
				break
			}
		}
	}
	if limited && wait > 0 {
		e.Until = now.Add(wait)
	}
	if wait > patience {
		return -1
	}
	return wait
}

func pageOf(res *http.Response) Page {
	p := Page{Header: res.Header}
	for _, link := range strings.Split(res.Header.Get("Link"), ",") {
		address, rel, _ := strings.Cut(link, ";")
		if strings.Contains(rel, `rel="next"`) {
			p.Next = strings.Trim(strings.TrimSpace(address), "<>")
		}
	}
	return p
}

// messageOf finds what a host says in an answer that is no success.
func messageOf(text []byte) string {
	var said struct {
		Message any             `json:"message"`
		Error   json.RawMessage `json:"error"`
		Errors  json.RawMessage `json:"errors"`
	}
	message := ""
	if json.Unmarshal(text, &said) == nil {
		if said.Message != nil {
			message = fmt.Sprint(said.Message)
		}
		for _, more := range []json.RawMessage{said.Error, said.Errors} {
			if len(more) > 0 && string(more) != "null" {
				message = strings.TrimPrefix(message+" "+string(more), " ")
			}
		}
	}
	message = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, message)
	if len(message) > errorBytes {
		message = strings.ToValidUTF8(message[:errorBytes], "") + "…"
	}
	return message
}

// shown is a URL without its query: that may hold what nobody needs to see.
func shown(u *url.URL) string { return u.EscapedPath() }

func (c *Client) masked(method string, target *url.URL, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	return fmt.Errorf("%s %s at %s: %s", method, shown(target), target.Host, c.mask(err.Error()))
}

// shortest secret that is masked.
const shortest = 4

func (c *Client) mask(text string) string {
	for _, s := range c.o.Secrets {
		if len(s) >= shortest {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

// Pages reads all pages of a list, up to most elements, by the header Link. It is
// false where there are more.
func Pages[T any](ctx context.Context, c *Client, path string, most int) ([]T, bool, error) {
	var all []T
	for path != "" {
		var some []T
		page, err := c.Get(ctx, path, &some)
		if err != nil {
			return nil, false, err
		}
		all = append(all, some...)
		if len(all) >= most {
			return all[:most], page.Next == "" && len(all) == most, nil
		}
		if len(some) == 0 {
			break
		}
		path = page.Next
	}
	return all, true, nil
}

// Escape makes a text one segment of a path.
func Escape(s string) string { return url.PathEscape(s) }
