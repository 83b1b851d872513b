package fakecloud_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/test/fakecloud"
)

const token = "the-token"

// clock is a clock that stands still.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// client asks a cloud over HTTP.
type client struct {
	t     *testing.T
	cloud *fakecloud.Cloud
	clock *clock
	url   string
}

func start(t *testing.T) *client {
	t.Helper()
	now := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	cloud := fakecloud.New(fakecloud.Options{Token: token, Now: now.read})
	server := httptest.NewServer(cloud)
	t.Cleanup(func() {
		cloud.Heal() // nothing hangs any more
		server.Close()
	})
	return &client{t, cloud, now, server.URL}
}

func (c *client) request(ctx context.Context, method, path, idempotency string, body map[string]any) (*http.Response, error) {
	c.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if idempotency != "" { // net/http repeats what has the header at all
		r.Header.Set(fakecloud.TokenHeader, idempotency)
	}
	return http.DefaultClient.Do(r)
}

// ask returns the status and the body of an answer.
func (c *client) ask(method, path, idempotency string, body map[string]any) (int, map[string]any) {
	c.t.Helper()
	resp, err := c.request(context.Background(), method, path, idempotency, body)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

func (c *client) expect(status int, method, path string, body map[string]any) map[string]any {
	c.t.Helper()
	got, answer := c.ask(method, path, "", body)
	if got != status {
		c.t.Fatalf("%s %s: %d %v, should be %d", method, path, got, answer, status)
	}
	return answer
}

const (
	vpcs    = "/v1/eu-west-1/vpc"
	subnets = "/v1/eu-west-1/subnet"
	buckets = "/v1/eu-west-1/bucket"
)

func TestLife(t *testing.T) {
	c := start(t)
	vpc := c.expect(201, "POST", vpcs, map[string]any{"cidr_block": "10.0.0.0/16"})["id"].(string)
	subnet := c.expect(201, "POST", subnets, map[string]any{"vpc_id": vpc, "cidr_block": "10.0.1.0/24"})["id"].(string)
	if zone := c.expect(200, "GET", subnets+"/"+subnet, nil)["availability_zone"]; zone != "eu-west-1a" {
		t.Errorf("the zone is %v", zone)
	}
	c.expect(200, "PUT", subnets+"/"+subnet, map[string]any{"tags": map[string]any{"Name": "s"}})
	c.expect(409, "DELETE", vpcs+"/"+vpc, nil) // it has a subnet
	c.expect(200, "DELETE", subnets+"/"+subnet, nil)
	c.expect(200, "DELETE", vpcs+"/"+vpc, nil)
	c.expect(404, "GET", vpcs+"/"+vpc, nil)

	var ops []string
	for _, e := range c.cloud.Log(0) {
		ops = append(ops, e.Op+" "+e.ID)
	}
	want := []string{"create " + vpc, "create " + subnet, "update " + subnet, "delete " + subnet, "delete " + vpc}
	if diff := cmp.Diff(want, ops); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
	if a := c.cloud.Audit(); !a.Clean() {
		t.Errorf("the audit: %s", a)
	}
}

func TestRefusals(t *testing.T) {
	c := start(t)
	c.expect(201, "POST", buckets, map[string]any{"name": "taken"})
	cases := map[string]struct {
		path   string
		body   map[string]any
		status int
	}{
		"no such kind":         {"/v1/eu-west-1/nonsense", map[string]any{}, 400},
		"no such region":       {"/v1/mars-1/vpc", map[string]any{"cidr_block": "10.0.0.0/16"}, 400},
		"a field is missing":   {vpcs, map[string]any{}, 400},
		"no network":           {vpcs, map[string]any{"cidr_block": "10.0.0.0"}, 400},
		"no such vpc":          {subnets, map[string]any{"cidr_block": "10.0.0.0/24", "vpc_id": "vpc-none"}, 400},
		"a name that is taken": {buckets, map[string]any{"name": "taken"}, 409},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, answer := c.ask("POST", tc.path, "", tc.body)
			if status != tc.status {
				t.Errorf("%d %v, should be %d", status, answer, tc.status)
			}
		})
	}
	resp, err := http.Get(c.url + vpcs)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", resp.Status)
	}
}

func TestIdempotency(t *testing.T) {
	c := start(t)
	body := map[string]any{"cidr_block": "10.0.0.0/16"}
	_, first := c.ask("POST", vpcs, "one", body)
	status, again := c.ask("POST", vpcs, "one", body)
	if status != http.StatusOK || first["id"] != again["id"] {
		t.Errorf("the same token: %d %v after %v", status, again["id"], first["id"])
	}
	_, other := c.ask("POST", vpcs, "two", body)
	if other["id"] == first["id"] {
		t.Error("another token gives the same object")
	}
	a := c.cloud.Audit(first["id"].(string), "vpc-lost")
	want := fakecloud.Audit{Leaked: []string{other["id"].(string)}, Missing: []string{"vpc-lost"}, Twins: []string{first["id"].(string) + "=" + other["id"].(string)}}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("the audit (-want +got):\n%s", diff)
	}
}

func TestReadsLag(t *testing.T) {
	c := start(t)
	c.cloud.Behave(fakecloud.Behaviour{ReadLag: fakecloud.Duration(time.Minute)})
	id := c.expect(201, "POST", vpcs, map[string]any{"cidr_block": "10.0.0.0/16", "tags": map[string]any{"v": "1"}})["id"].(string)
	at := vpcs + "/" + id
	c.expect(404, "GET", at, nil)
	c.clock.advance(time.Minute)
	c.expect(200, "GET", at, nil)
	c.expect(200, "PUT", at, map[string]any{"tags": map[string]any{"v": "2"}})
	version := func() any { return c.expect(200, "GET", at, nil)["tags"].(map[string]any)["v"] }
	if got := version(); got != "1" {
		t.Errorf("at once: %v", got)
	}
	c.clock.advance(time.Minute)
	if got := version(); got != "2" {
		t.Errorf("later: %v", got)
	}
	c.expect(200, "DELETE", at, nil)
	c.expect(200, "GET", at, nil)
	if _, ok := c.cloud.Get(id); ok {
		t.Error("the administration lags too")
	}
	c.clock.advance(time.Minute)
	c.expect(404, "GET", at, nil)
}

func TestThrottling(t *testing.T) {
	c := start(t)
	c.cloud.Behave(fakecloud.Behaviour{Rate: 1, Burst: 2, RetryAfter: fakecloud.Duration(1500 * time.Millisecond)})
	c.expect(200, "GET", vpcs, nil)
	c.expect(200, "GET", vpcs, nil)
	resp, err := c.request(context.Background(), "GET", vpcs, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("%s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	c.clock.advance(time.Second)
	c.expect(200, "GET", vpcs, nil)
}

func TestFaults(t *testing.T) {
	c := start(t)
	inject := func(f fakecloud.Fault) {
		t.Helper()
		if err := c.cloud.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	body := map[string]any{"cidr_block": "10.0.0.0/16"}
	inject(fakecloud.Fault{Op: "create", Kind: "vpc", Skip: 1, Times: 2, Action: fakecloud.Fail, Status: 418})
	for i, status := range []int{201, 418, 418, 201} {
		if got, _ := c.ask("POST", vpcs, "", body); got != status {
			t.Errorf("create %d: %d, should be %d", i, got, status)
		}
	}
	inject(fakecloud.Fault{Op: "create", Action: fakecloud.Drop, Late: true})
	if resp, err := c.request(context.Background(), "POST", vpcs, "", body); err == nil {
		resp.Body.Close()
		t.Error("the connection was not dropped")
	}
	if got := len(c.cloud.Objects("vpc")); got != 3 {
		t.Errorf("%d networks, should be 3: a late fault comes after the effect", got)
	}
	inject(fakecloud.Fault{Op: "list", Action: fakecloud.Hang})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if resp, err := c.request(ctx, "GET", vpcs, "", nil); !errors.Is(err, context.DeadlineExceeded) {
		if resp != nil {
			resp.Body.Close()
		}
		t.Errorf("a request that hangs: %v", err)
	}
	if err := c.cloud.Inject(fakecloud.Fault{Action: "nonsense"}); !errors.Is(err, fakecloud.ErrInvalid) {
		t.Errorf("an action that does not exist: %v", err)
	}
}

func TestChangesFromOutside(t *testing.T) {
	c := start(t)
	id := c.expect(201, "POST", buckets, map[string]any{"name": "b", "labels": map[string]any{"a": "1", "b": "2"}})["id"].(string)
	status, _ := c.ask("PATCH", "/admin/objects/"+id, "", map[string]any{"labels": map[string]any{"a": nil, "c": "3"}, "versioning": true})
	if status != http.StatusOK {
		t.Fatalf("patch: %d", status)
	}
	got := c.expect(200, "GET", buckets+"/"+id, nil)
	if diff := cmp.Diff(map[string]any{"b": "2", "c": "3"}, got["labels"]); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	again := c.expect(200, "GET", buckets+"/"+id, nil)
	if got["access_count"] == again["access_count"] {
		t.Error("reading a bucket does not count as an access")
	}
	c.expect(200, "DELETE", "/admin/objects/"+id, nil)
	c.expect(404, "GET", buckets+"/"+id, nil)
}
