package provider

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Schema is what a provider says of itself. Types of resources are understood
// when they are first asked for: a provider can have a thousand of them.
type Schema struct {
	Provider *Block
	// meta is what provider_meta blocks may hold; nil for most.
	meta     *Block
	optional bool
	w        wire // without a connection: it only makes messages

	mu         sync.Mutex
	encoded    map[string][]byte
	identities map[string][]byte
	resources  map[string]*Resource
}

// Resource returns the schema of a type of resource.
func (s *Schema) Resource(name string) (*Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.resources[name]; r != nil {
		return r, nil
	}
	encoded, ok := s.encoded[name]
	if !ok {
		return nil, fmt.Errorf("this version of the provider has no resource %s", name)
	}
	m, err := s.decode("Schema", encoded)
	if err != nil {
		return nil, err
	}
	r, err := newResource(m)
	if err != nil {
		return nil, fmt.Errorf("understand the schema of %s: %w", name, err)
	}
	if encoded, ok := s.identities[name]; ok {
		m, err := s.decode("ResourceIdentitySchema", encoded)
		if err != nil {
			return nil, err
		}
		if r.Identity, err = newIdentity(m); err != nil {
			return nil, fmt.Errorf("understand the schema of %s: %w", name, err)
		}
	}
	s.resources[name] = r
	return r, nil
}

func (s *Schema) decode(name string, encoded []byte) (protoreflect.Message, error) {
	m, err := s.w.new(name)
	if err != nil {
		return nil, err
	}
	return m, proto.Unmarshal(encoded, m.Interface())
}

// Schema asks the provider for its schema.
func (p *Process) Schema(ctx context.Context) (*Schema, error) {
	resp, err := p.call(ctx, getSchema, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the provider for its schema: %w", err)
	}
	s := &Schema{w: wire{protocol: p.protocol}, resources: map[string]*Resource{}}
	if s.Provider, err = newBlock(message(message(resp, "provider"), "block")); err != nil {
		return nil, fmt.Errorf("understand the provider's own schema: %w", err)
	}
	if f := field(resp, "provider_meta"); f != nil && resp.Has(f) {
		if s.meta, err = newBlock(message(resp.Get(f).Message(), "block")); err != nil {
			return nil, fmt.Errorf("understand the schema of provider_meta: %w", err)
		}
	}
	s.optional = flag(message(resp, "server_capabilities"), "get_provider_schema_optional")
	if s.encoded, err = encodeAll(resp, "resource_schemas"); err != nil {
		return nil, err
	}
	identities, err := p.call(ctx, getIdentities, nil)
	if unimplemented(err) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask the provider for the schemas of identities: %w", err)
	}
	s.identities, err = encodeAll(identities, "identity_schemas")
	return s, err
}

// encodeAll encodes the messages of a map, without what only people read.
func encodeAll(m protoreflect.Message, name string) (map[string][]byte, error) {
	all := map[string][]byte{}
	var failed error
	m.Get(field(m, name)).Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		dropDescriptions(value.Message())
		encoded, err := proto.Marshal(value.Message().Interface())
		if err != nil {
			failed = err
			return false
		}
		all[key.String()] = encoded
		return true
	})
	return all, failed
}

func dropDescriptions(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Name() == "description" || f.Name() == "deprecation_message":
			m.Clear(f)
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				dropDescriptions(v.List().Get(i).Message())
			}
		default:
			dropDescriptions(v.Message())
		}
		return true
	})
}

// Schemas remembers schemas by the hash of the provider's binary. A process
// that was asked for its schema holds all of it for ever, so where a provider
// does without, the one that is asked is thrown away.
type Schemas struct {
	mu      sync.Mutex
	schemas map[string]*once
}

type once struct {
	mu     sync.Mutex
	schema *Schema
}

// NewSchemas returns an empty memory.
func NewSchemas() *Schemas { return &Schemas{schemas: map[string]*once{}} }

// Get returns the schema of a binary. It runs the command if it does not know
// it yet.
func (s *Schemas) Get(ctx context.Context, spawner *Spawner, hash string, c Command) (*Schema, error) {
	s.mu.Lock()
	o := s.schemas[hash]
	if o == nil {
		o = &once{}
		s.schemas[hash] = o
	}
	s.mu.Unlock()
	o.mu.Lock() // one process is enough; a failure is not remembered
	defer o.mu.Unlock()
	if o.schema != nil {
		return o.schema, nil
	}
	p, err := Start(spawner, c)
	if err != nil {
		return nil, err
	}
	defer p.Stop()
	schema, err := p.Schema(ctx)
	if err != nil {
		return nil, err
	}
	o.schema = schema
	return schema, nil
}
