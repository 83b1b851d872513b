package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/helmfile/vals/pkg/expansion"

	"github.com/plumb-dev/plumb/internal/render"
)

// reference is one reference, read: ref+SCHEME://PATH?QUERY#/KEY/IN/IT.
type reference struct {
	scheme, path, fragment string
	query                  url.Values
}

func (r reference) param(name string) string { return r.query.Get(name) }

// only refuses parameters that are not listed, by which a repository could
// choose other credentials, or send them elsewhere.
func (r reference) only(known []string) error {
	for _, name := range sorted(r.query) {
		if contains(known, name) {
			continue
		}
		if len(known) == 0 {
			return fmt.Errorf("the parameter %s is not supported here: there is none; credentials come from the project's Secrets", name)
		}
		return fmt.Errorf("the parameter %s is not supported here (%s are); credentials come from the project's Secrets", name, strings.Join(known, ", "))
	}
	return nil
}

// source is where a reference is looked up: as a text, or as a map of which a
// key is wanted.
type source struct {
	text   func(path string) (string, error)
	mapped func(path string) (map[string]any, error)
}

// refused are schemes of vals' that run programs, read what is Plumb's, or make
// a secret of a text in the repository.
var refused = map[string]string{
	"exec":     "it would start a program",
	"envsubst": "it would read Plumb's own environment",
	"echo":     "it is no secret",
	"k8s":      "it would read with Plumb's own rights",
	"keychain": "it would read what is Plumb's own",
}

// Resolve replaces the references in a text, as vals does.
func (o *opener) Resolve(text string) (any, []string, error) {
	var found []string
	e := expansion.ExpandRegexMatch{Target: expansion.DefaultRefRegexp, Lookup: func(ref string) (any, error) {
		v, err := o.lookup(ref)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(ref, "file:") { // what is encrypted in a file is known as such
			found = append(found, textsOf(v)...)
		}
		return v, nil
	}}
	if !e.Target.MatchString(text) {
		return text, nil, nil
	}
	v, err := e.InValue(text)
	if err != nil {
		return nil, found, render.NewTexts(found).MaskError(asked{err, o.why})
	}
	return v, found, nil
}

// textsOf gives the secret texts in what a reference means.
func textsOf(v any) []string {
	switch v := v.(type) {
	case nil, bool:
		return nil
	case map[string]any:
		var out []string
		for _, key := range sorted(v) {
			out = append(out, textsOf(v[key])...)
		}
		return out
	case []any:
		var out []string
		for _, child := range v {
			out = append(out, textsOf(child)...)
		}
		return out
	}
	return []string{scalar(v)}
}

// scalar writes a value as vals does.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case map[string]any, []any:
		var text bytes.Buffer
		if json.NewEncoder(&text).Encode(v) == nil {
			return strings.TrimSpace(text.String())
		}
	}
	return fmt.Sprint(v)
}

// lookup gives what one reference means.
func (o *opener) lookup(ref string) (any, error) {
	r, err := parse(ref)
	if err != nil {
		return nil, o.because(err)
	}
	ctx, cancel := context.WithTimeout(o.ctx, askTime)
	defer cancel()
	s, err := o.source(ctx, r)
	if err != nil {
		return nil, o.because(err)
	}
	id := r.scheme + "://" + r.path + "?" + r.query.Encode()
	if r.fragment == "" {
		text, err := once(o, o.texts, id, func() (string, error) { return s.text(r.path) })
		if err != nil {
			return nil, o.because(err)
		}
		return text, nil
	}
	m, err := once(o, o.maps, id, func() (map[string]any, error) { return s.mapped(r.path) })
	if err != nil {
		return nil, o.because(err)
	}
	v, err := walk(m, r.fragment)
	if err != nil {
		return nil, o.because(err)
	}
	return v, nil
}

// once looks up what this rendering has not looked up yet.
func once[T any](o *opener, known map[string]T, id string, get func() (T, error)) (T, error) {
	o.mu.Lock()
	v, ok := known[id]
	full := len(known) >= maxLookups
	o.mu.Unlock()
	if ok {
		return v, nil
	}
	if full {
		return v, fmt.Errorf("more than %d references in one Application: %w", maxLookups, render.ErrTooMuch)
	}
	v, err := get()
	if err != nil {
		return v, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	known[id] = v
	return v, nil
}

// because keeps an error: the library that finds references gives on its text
// only.
func (o *opener) because(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.why = err
	return err
}

// asked is an error of the library with the error that it was made of.
type asked struct {
	error
	why error
}

func (e asked) Unwrap() error { return e.why }

// parse reads a reference as vals does: the host is part of the path.
func parse(ref string) (reference, error) {
	arn := ""
	if at := strings.Index(ref, "://"); at >= 0 {
		rest := ref[at+3:]
		if strings.HasPrefix(rest, "arn:aws") { // its colons are no ports
			end := len(rest)
			if i := strings.IndexAny(rest, "?#"); i >= 0 {
				end = i
			}
			arn, ref = rest[:end], ref[:at+3]+"arn"+rest[end:]
		}
	}
	u, err := url.Parse(ref)
	if err != nil {
		return reference{}, errors.New("is no URL")
	}
	r := reference{scheme: u.Scheme, query: u.Query(), fragment: strings.TrimPrefix(strings.TrimPrefix(u.Fragment, "#"), "/")}
	switch {
	case arn != "":
		r.path = arn
	case u.Host != "":
		r.path = strings.TrimSuffix(u.Host+"/"+strings.TrimPrefix(u.Path, "/"), "/")
	default:
		r.path = u.Path
	}
	return r, nil
}

// source finds where a reference is looked up.
func (o *opener) source(ctx context.Context, r reference) (source, error) {
	if len(o.keys.names) == 0 {
		if o.keys.local {
			return source{}, fmt.Errorf("%s: %w", o.keys.advice("what opens it"), render.ErrNoCredentials)
		}
		return source{}, fmt.Errorf("project %s has none: %s: %w", o.keys.project, o.keys.advice("what opens it"), render.ErrNoCredentials)
	}
	switch r.scheme {
	case "vault", "openbao":
		return o.vaultValue(ctx, r)
	case "awssecrets":
		return o.awsSecrets(ctx, r)
	case "awsssm":
		return o.awsSSM(ctx, r)
	case "gcpsecrets":
		return o.googleSecrets(ctx, r)
	case "azurekeyvault":
		return o.azureSecrets(ctx, r)
	case "sops", "file":
		return o.file(r)
	}
	if why, ok := refused[r.scheme]; ok {
		return source{}, fmt.Errorf("references to %s are refused: %s", r.scheme, why)
	}
	return source{}, fmt.Errorf("references to %s are not supported: there are vault, openbao, awssecrets, awsssm, azurekeyvault, gcpsecrets, sops and file; the annotation %s=false on an object leaves it alone", r.scheme, render.ReferencesAnnotation)
}

// file reads files of the repository, relative to the Application's directory.
// Those that are encrypted have been decrypted on the way.
func (o *opener) file(r reference) (source, error) {
	if err := r.only([]string{"key_type", "format"}); err != nil {
		return source{}, err
	}
	if t := r.param("key_type"); t != "" && t != "filepath" {
		return source{}, fmt.Errorf("key_type=%s is not supported: put the file into the repository", t)
	}
	text := func(p string) (string, error) {
		data, err := o.read(p)
		return string(data), err
	}
	s := source{text: text, mapped: asMap(text)}
	if ext := path.Ext(r.path); ext == ".env" {
		s.mapped = func(p string) (map[string]any, error) {
			data, err := text(p)
			if err != nil {
				return nil, err
			}
			m := map[string]any{}
			for line := range strings.Lines(data) {
				if key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok && !strings.HasPrefix(key, "#") {
					m[key] = value
				}
			}
			return m, nil
		}
	}
	return s, nil
}

// number gives a number in a type that vals knows.
func number(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	return n.String()
}

// walk finds what a fragment names in a map.
func walk(m map[string]any, fragment string) (any, error) {
	keys := strings.Split(fragment, "/")
	for i, key := range keys {
		v, ok := m[key]
		if !ok {
			return nil, fmt.Errorf("there is no key %s in it (there are %s)", strings.Join(keys[:i+1], "/"), strings.Join(sorted(m), ", "))
		}
		if i == len(keys)-1 {
			return number(v), nil
		}
		if m, ok = v.(map[string]any); !ok {
			return nil, fmt.Errorf("the key %s in it is no map", strings.Join(keys[:i+1], "/"))
		}
	}
	return nil, errors.New("it names no key")
}
