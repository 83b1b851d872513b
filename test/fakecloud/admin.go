package fakecloud

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// adminRoutes offers the methods of Cloud to other processes.
func (c *Cloud) adminRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /admin/objects", c.admin(func(r *http.Request) (any, error) {
		return append([]Object{}, c.Objects(r.URL.Query()["kind"]...)...), nil
	}))
	mux.HandleFunc("GET /admin/objects/{id}", c.admin(func(r *http.Request) (any, error) {
		o, ok := c.Get(r.PathValue("id"))
		if !ok {
			return nil, fmt.Errorf("%s: %w", r.PathValue("id"), ErrNotFound)
		}
		return o, nil
	}))
	mux.HandleFunc("POST /admin/objects", c.admin(func(r *http.Request) (any, error) {
		var o Object
		if err := read(r, &o); err != nil {
			return nil, err
		}
		return c.Create(o.Kind, o.Region, o.Body)
	}))
	mux.HandleFunc("PATCH /admin/objects/{id}", c.admin(func(r *http.Request) (any, error) {
		patch, err := decode(r)
		if err != nil {
			return nil, err
		}
		return nil, c.Change(r.PathValue("id"), func(body map[string]any) { merge(body, patch) })
	}))
	mux.HandleFunc("DELETE /admin/objects/{id}", c.admin(func(r *http.Request) (any, error) {
		return nil, c.Delete(r.PathValue("id"))
	}))
	mux.HandleFunc("GET /admin/log", c.admin(func(r *http.Request) (any, error) {
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		return append([]Event{}, c.Log(from)...), nil
	}))
	mux.HandleFunc("GET /admin/stats", c.admin(func(*http.Request) (any, error) { return c.Stats(), nil }))
	mux.HandleFunc("POST /admin/audit", c.admin(func(r *http.Request) (any, error) {
		var known []string
		if err := read(r, &known); err != nil {
			return nil, err
		}
		return c.Audit(known...), nil
	}))
	mux.HandleFunc("PUT /admin/behaviour", c.admin(func(r *http.Request) (any, error) {
		var b Behaviour
		if err := read(r, &b); err != nil {
			return nil, err
		}
		c.Behave(b)
		return nil, nil
	}))
	mux.HandleFunc("POST /admin/faults", c.admin(func(r *http.Request) (any, error) {
		var f Fault
		if err := read(r, &f); err != nil {
			return nil, err
		}
		return nil, c.Inject(f)
	}))
	mux.HandleFunc("DELETE /admin/faults", c.admin(func(*http.Request) (any, error) { c.Heal(); return nil, nil }))
	mux.HandleFunc("POST /admin/release", c.admin(func(*http.Request) (any, error) { c.Release(); return nil, nil }))
	mux.HandleFunc("POST /admin/reset", c.admin(func(*http.Request) (any, error) { c.Reset(); return nil, nil }))
}

func (c *Cloud) admin(do func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := do(r)
		if err != nil {
			status, code := classify(err)
			refuse(w, status, code, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(result)
	}
}

func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("the body is not what is expected here (%w): %w", err, ErrInvalid)
	}
	return nil
}

// merge is a JSON merge patch (RFC 7396): null removes a field.
func merge(body, patch map[string]any) {
	for field, value := range patch {
		inner, isObject := value.(map[string]any)
		current, wasObject := body[field].(map[string]any)
		switch {
		case value == nil:
			delete(body, field)
		case isObject && wasObject:
			merge(current, inner)
		default:
			body[field] = value
		}
	}
}
