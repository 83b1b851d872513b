package fakecloud

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const maxBody = 4 << 20

// Headers of the API.
const (
	// TokenHeader makes a create idempotent: the same token, the same object.
	TokenHeader = "Idempotency-Key"
	// GenerationHeader is the generation of the object in an answer.
	GenerationHeader = "X-Generation"
	// KnownHeader is the generation that a reader knows of.
	KnownHeader = "X-Known-Generation"
)

func (c *Cloud) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/{region}/zones", c.api("list", c.zones))
	mux.HandleFunc("GET /v1/{region}/{kind}", c.api("list", c.list))
	mux.HandleFunc("POST /v1/{region}/{kind}", c.api("create", c.post))
	mux.HandleFunc("GET /v1/{region}/{kind}/{id}", c.api("read", c.get))
	mux.HandleFunc("PUT /v1/{region}/{kind}/{id}", c.api("update", c.put))
	mux.HandleFunc("DELETE /v1/{region}/{kind}/{id}", c.api("delete", c.delete))
	c.adminRoutes(mux)
	return mux
}

// answer is what a request leads to.
type answer struct {
	status     int
	generation int
	body       any
}

// api wraps an operation in what befalls all requests: latency, limits, faults.
func (c *Cloud) api(op string, do func(r *http.Request) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		kind, id := r.PathValue("kind"), r.PathValue("id")
		// Only once the body has been read is it noticed that a client has gone.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			refuse(w, http.StatusBadRequest, "Invalid", "the body cannot be read: "+err.Error())
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !c.delay(r) {
			return
		}
		if c.token != "" && r.Header.Get("Authorization") != "Bearer "+c.token {
			c.count("unauthorized")
			refuse(w, http.StatusUnauthorized, "Unauthorized", "the token is not valid")
			return
		}
		c.mu.Lock()
		admitted := c.admit()
		var fault *Fault
		if admitted {
			fault = c.strike(op, kind, id)
		}
		c.mu.Unlock()
		if !admitted {
			c.throttle(w)
			return
		}
		if fault != nil && !fault.Late && !c.suffer(w, r, fault) {
			return
		}
		c.count(op + "/" + kind)
		c.perform(w, r, fault, do)
	}
}

func (c *Cloud) perform(w http.ResponseWriter, r *http.Request, fault *Fault, do func(r *http.Request) (answer, error)) {
	c.mu.Lock()
	result, err := do(r)
	var text []byte
	if err == nil {
		text, err = json.Marshal(result.body)
	}
	c.mu.Unlock()
	if fault != nil && fault.Late && !c.suffer(w, r, fault) {
		return
	}
	if err != nil {
		status, code := classify(err)
		refuse(w, status, code, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if result.generation > 0 {
		w.Header().Set(GenerationHeader, strconv.Itoa(result.generation))
	}
	w.WriteHeader(result.status)
	_, _ = w.Write(text)
}

func classify(err error) (status int, code string) {
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound, "NotFound"
	case errors.Is(err, ErrConflict):
		return http.StatusConflict, "AlreadyExists"
	case errors.Is(err, ErrDependency):
		return http.StatusConflict, "DependencyViolation"
	default:
		return http.StatusBadRequest, "Invalid"
	}
}

func (c *Cloud) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats[what]++
}

func (c *Cloud) zones(r *http.Request) (answer, error) {
	region := r.PathValue("region")
	if !slices.Contains(Regions, region) {
		return answer{}, fmt.Errorf("there is no region %q (there are %s): %w", region, strings.Join(Regions, ", "), ErrInvalid)
	}
	return answer{status: http.StatusOK, body: map[string]any{"names": []string{region + "a", region + "b", region + "c"}}}, nil
}

// list returns the objects of a kind, by prefix of the name if asked so.
func (c *Cloud) list(r *http.Request) (answer, error) {
	items := []map[string]any{}
	for id, o := range c.objects {
		if o.Kind != r.PathValue("kind") || o.Region != r.PathValue("region") || !strings.HasPrefix(o.Name(), r.URL.Query().Get("name")) {
			continue
		}
		if _, body, _, ok := c.visible(id); ok {
			items = append(items, body)
		}
	}
	slices.SortFunc(items, byID)
	return answer{status: http.StatusOK, body: map[string]any{"items": items}}, nil
}

func (c *Cloud) post(r *http.Request) (answer, error) {
	body, err := decode(r)
	if err != nil {
		return answer{}, err
	}
	o, repeated, err := c.create(byAPI, r.PathValue("kind"), r.PathValue("region"), r.Header.Get(TokenHeader), body)
	if err != nil {
		return answer{}, err
	}
	status := http.StatusCreated
	if repeated {
		status = http.StatusOK
	}
	return answer{status: status, generation: o.Generation, body: o.Body}, nil
}

func (c *Cloud) get(r *http.Request) (answer, error) {
	id := r.PathValue("id")
	if r.Header.Get(KnownHeader) == "" {
		c.stats["read/bare"]++
	}
	o, body, generation, ok := c.visible(id)
	if !ok || !at(o, r) {
		return answer{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return answer{status: http.StatusOK, generation: generation, body: body}, nil
}

func (c *Cloud) put(r *http.Request) (answer, error) {
	body, err := decode(r)
	if err != nil {
		return answer{}, err
	}
	id := r.PathValue("id")
	if o, err := c.live(id); err != nil || !at(o, r) {
		return answer{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	o, err := c.update(id, body)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, generation: o.Generation, body: o.Body}, nil
}

func (c *Cloud) delete(r *http.Request) (answer, error) {
	id := r.PathValue("id")
	if o, err := c.live(id); err != nil || !at(o, r) {
		return answer{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if err := c.remove(id); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: map[string]any{}}, nil
}

// at tells whether an object is where a request looks for it.
func at(o *object, r *http.Request) bool {
	return o.Kind == r.PathValue("kind") && o.Region == r.PathValue("region")
}

func decode(r *http.Request) (map[string]any, error) {
	body := map[string]any{}
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	decoder.UseNumber()
	if err := decoder.Decode(&body); err != nil {
		return nil, fmt.Errorf("the body is no JSON object (%w): %w", err, ErrInvalid)
	}
	return body, nil
}
