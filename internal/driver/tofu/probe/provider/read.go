package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Object is what is known of an object of a resource.
type Object struct {
	Type    string
	Version int64 // of the schema that the attributes have
	JSON    json.RawMessage
	Flat    map[string]string
	Private []byte

	Identity        json.RawMessage
	IdentityVersion int64
}

// Known is an object's state in the current schema of its provider.
type Known struct {
	typeName string
	resource *Resource
	state    dynamic
	identity dynamic
	private  []byte
	meta     dynamic
}

// Upgrade makes an object's state one of the current schema. Providers want it
// even where the version is the same.
func (p *Process) Upgrade(ctx context.Context, s *Schema, o Object) (*Known, error) {
	r, err := s.Resource(o.Type)
	if err != nil {
		return nil, err
	}
	if o.Version > r.Version {
		return nil, fmt.Errorf("the state is of version %d, newer than what this version of the provider knows (%d)", o.Version, r.Version)
	}
	state, err := p.upgrade(ctx, o)
	var refused *DiagnosticsError
	if errors.As(err, &refused) && o.Version == r.Version && len(o.JSON) > 0 {
		// OpenTofu takes attributes away that are no longer there.
		if stripped, changed := strip(o.JSON, r.Type); changed {
			o.JSON = stripped
			state, err = p.upgrade(ctx, o)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("upgrade the state: %w", err)
	}
	if state.null() {
		return nil, errors.New("upgrade the state: the provider gave none back")
	}
	k := &Known{typeName: o.Type, resource: r, state: state, private: o.Private}
	if s.meta != nil {
		if k.meta, err = encode(cty.NullVal(s.meta.Type()), s.meta.Type()); err != nil {
			return nil, err
		}
	}
	k.identity, err = p.identity(ctx, r, o)
	return k, err
}

func (p *Process) upgrade(ctx context.Context, o Object) (dynamic, error) {
	resp, err := p.call(ctx, upgradeState, func(req protoreflect.Message) error {
		set(req, "type_name", o.Type)
		set(req, "version", o.Version)
		raw := req.Mutable(field(req, "raw_state")).Message()
		if len(o.JSON) > 0 {
			set(raw, "json", []byte(o.JSON))
			return nil
		}
		flat := raw.Mutable(field(raw, "flatmap")).Map()
		for k, v := range o.Flat {
			flat.Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(v))
		}
		return nil
	})
	if err != nil {
		return dynamic{}, err
	}
	return getDynamic(resp, "upgraded_state"), nil
}

func (p *Process) identity(ctx context.Context, r *Resource, o Object) (dynamic, error) {
	if len(o.Identity) == 0 || r.Identity == nil {
		return dynamic{}, nil
	}
	if o.IdentityVersion > r.Identity.Version {
		return dynamic{}, fmt.Errorf("the identity in the state is of version %d, newer than what this version of the provider knows (%d)", o.IdentityVersion, r.Identity.Version)
	}
	if o.IdentityVersion == r.Identity.Version {
		v, err := ctyjson.Unmarshal(o.Identity, r.Identity.Type)
		if err != nil {
			return dynamic{}, fmt.Errorf("understand the identity in the state: %w", err)
		}
		return encode(v, r.Identity.Type)
	}
	resp, err := p.call(ctx, upgradeIdentity, func(req protoreflect.Message) error {
		set(req, "type_name", o.Type)
		set(req, "version", o.IdentityVersion)
		raw := req.Mutable(field(req, "raw_identity")).Message()
		set(raw, "json", []byte(o.Identity))
		return nil
	})
	if err != nil {
		return dynamic{}, fmt.Errorf("upgrade the identity: %w", err)
	}
	return getDynamic(message(resp, "upgraded_identity"), "identity_data"), nil
}

// null tells whether a value is null as a whole.
func (d dynamic) null() bool {
	return d.empty() || len(d.msgpack) == 1 && d.msgpack[0] == 0xc0 || string(d.json) == "null"
}

// Reading is how an object was found.
type Reading struct {
	Same bool
	Gone bool
	// Deferred is why the provider puts the answer off.
	Deferred string
	// Before is what was known and After what was found, where these differ. For
	// what is gone, Before alone is set.
	Before, After cty.Value
	// IdentityBefore and IdentityAfter are set where these differ.
	IdentityBefore, IdentityAfter cty.Value
}

// Read asks how an object is now, and compares that with what is known of it.
func (p *Process) Read(ctx context.Context, k *Known) (*Reading, error) {
	resp, err := p.call(ctx, readResource, func(req protoreflect.Message) error {
		set(req, "type_name", k.typeName)
		setDynamic(req, "current_state", k.state)
		if len(k.private) > 0 {
			set(req, "private", k.private)
		}
		if !k.meta.empty() {
			setDynamic(req, "provider_meta", k.meta)
		}
		if f := field(req, "current_identity"); f != nil && !k.identity.empty() {
			setDynamic(req.Mutable(f).Message(), "identity_data", k.identity)
		}
		setCapabilities(req)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if f := field(resp, "deferred"); f != nil && resp.Has(f) {
		reason := resp.Get(f).Message()
		number := enum(reason, "reason")
		return &Reading{Deferred: string(field(reason, "reason").Enum().Values().ByNumber(number).Name())}, nil
	}
	return k.compare(getDynamic(resp, "new_state"), identityOf(resp))
}

func identityOf(resp protoreflect.Message) dynamic {
	f := field(resp, "new_identity")
	if f == nil || !resp.Has(f) {
		return dynamic{}
	}
	return getDynamic(resp.Get(f).Message(), "identity_data")
}

func (k *Known) compare(found, identity dynamic) (*Reading, error) {
	reading := &Reading{Same: true}
	if err := k.compareIdentity(identity, reading); err != nil {
		return nil, err
	}
	// What is the same byte for byte is the same value. Most of what is read is,
	// and need not be decoded.
	if len(found.msgpack) > 0 && bytes.Equal(found.msgpack, k.state.msgpack) && !k.resource.writeOnly {
		return reading, nil
	}
	before, err := k.decode(k.state)
	if err != nil {
		return nil, fmt.Errorf("understand the upgraded state: %w", err)
	}
	if found.null() {
		return &Reading{Gone: true, Before: before}, nil
	}
	after, err := k.decode(found)
	if err != nil {
		return nil, fmt.Errorf("understand what was read: %w", err)
	}
	if !before.RawEquals(after) {
		reading.Same, reading.Before, reading.After = false, before, after
	}
	return reading, nil
}

func (k *Known) compareIdentity(found dynamic, reading *Reading) error {
	if k.identity.empty() || found.null() || bytes.Equal(found.msgpack, k.identity.msgpack) {
		return nil
	}
	before, err := k.identity.decode(k.resource.Identity.Type)
	if err != nil {
		return fmt.Errorf("understand the identity: %w", err)
	}
	after, err := found.decode(k.resource.Identity.Type)
	if err != nil {
		return fmt.Errorf("understand the identity that was read: %w", err)
	}
	if !before.RawEquals(after) {
		reading.Same, reading.IdentityBefore, reading.IdentityAfter = false, before, after
	}
	return nil
}

// decode gives the value as OpenTofu would work with it after it had written
// and read its state.
func (k *Known) decode(d dynamic) (cty.Value, error) {
	v, err := d.decode(k.resource.Type)
	if err != nil {
		return cty.NilVal, err
	}
	if !v.IsWhollyKnown() {
		return cty.NilVal, errors.New("the provider gave back a value that is not known yet")
	}
	if k.resource.writeOnly {
		if path := k.resource.written(v); path != "" {
			return cty.NilVal, fmt.Errorf("the provider gave back a value of %s, which is write-only", path)
		}
	}
	v = k.resource.Block.withoutNullBlocks(v)
	if k.resource.numbers {
		v, err = decimal(v)
	}
	return v, err
}

// Block is the schema of the object.
func (k *Known) Block() *Block { return k.resource.Block }

// Secrets are the texts of the object that its schema calls sensitive, and those
// at the given paths.
func (k *Known) Secrets(paths []cty.Path) []string {
	v, err := k.state.decode(k.resource.Type)
	if err != nil {
		return nil
	}
	var texts []string
	_ = cty.Walk(v, func(path cty.Path, v cty.Value) (bool, error) {
		if v.Type() == cty.String && v.IsKnown() && !v.IsNull() && (k.resource.Block.Sensitive(path) || slices.ContainsFunc(paths, path.HasPrefix)) {
			texts = append(texts, v.AsString())
		}
		return true, nil
	})
	return texts
}
