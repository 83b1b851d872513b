package main

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/plumb-dev/plumb/test/fakecloud"
)

const token = "token-of-the-soak"

// cloud is the fake cloud and where it is.
type cloud struct {
	*fakecloud.Cloud
	url    string
	server *http.Server
}

func newCloud() (*cloud, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cloud{Cloud: fakecloud.New(fakecloud.Options{Token: token}), url: "http://" + listener.Addr().String()}
	c.Behave(fakecloud.Behaviour{Latency: fakecloud.Duration(100 * time.Millisecond), Jitter: fakecloud.Duration(400 * time.Millisecond)})
	c.server = &http.Server{Handler: c.Cloud, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(listener) }()
	return c, nil
}

func (c *cloud) close() { _ = c.server.Close() }

// ops counts what was done.
func (c *cloud) ops(op string) int {
	n := 0
	for _, e := range c.Log(0) {
		if e.Op == op {
			n++
		}
	}
	return n
}

// ours are the objects that Plumb has made, by what they are called.
func (c *cloud) ours() map[string]fakecloud.Object {
	all := map[string]fakecloud.Object{}
	for _, o := range c.Objects() {
		tags, _ := o.Body["tags"].(map[string]any)
		if labels, ok := o.Body["labels"].(map[string]any); ok && tags == nil {
			tags = labels
		}
		if name, ok := tags["Key"].(string); ok {
			for all[name].ID != "" { // created twice
				name += "+"
			}
			all[name] = o
		}
	}
	return all
}

// value is what was last declared of an object.
func value(o fakecloud.Object) string {
	for _, field := range []string{"tags", "labels"} {
		if m, ok := o.Body[field].(map[string]any); ok {
			return fmt.Sprint(m["Value"])
		}
	}
	return ""
}
