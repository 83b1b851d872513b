package adopt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/plumb-dev/plumb/internal/hclfile"
)

// inBody finds the edit for a field of a block's body.
func (e *moduleEditor) inBody(in *scope, body *hclsyntax.Body, p Path, f Field) (hclEdit, error) {
	name, rest := p[0].Key, p[1:]
	if a := body.Attributes[name]; a != nil {
		if len(rest) == 0 && !f.HasLive {
			return e.withoutAttribute(in, body, a)
		}
		return e.inExpression(in, a.Expr, rest, f)
	}
	nested := blocksOf(body, name)
	for _, b := range blocksOf(body, "dynamic") {
		if len(b.Labels) > 0 && b.Labels[0] == name {
			return hclEdit{}, fmt.Errorf("the blocks %q are made by a dynamic block", name)
		}
	}
	switch {
	case len(nested) > 0 && len(rest) > 0 && !rest[0].isKey():
		i := rest[0].Index
		if i >= len(nested) {
			return hclEdit{}, fmt.Errorf("a block %q is more or less than is declared: that is not edited", name)
		}
		if len(rest) < 2 {
			return hclEdit{}, fmt.Errorf("a block %q is more or less than is declared: that is not edited", name)
		}
		return e.inBody(in, nested[i].Body, rest[1:], f)
	case len(nested) > 0:
		return e.inBlocks(in, nested, name, f)
	case !f.HasLive:
		return hclEdit{}, fmt.Errorf("%s is not written in the block", name)
	}
	return e.newAttribute(in, body, name, with(nil, rest, f.Live, false))
}

func blocksOf(body *hclsyntax.Body, kind string) []*hclsyntax.Block {
	var out []*hclsyntax.Block
	for _, b := range body.Blocks {
		if b.Type == kind {
			out = append(out, b)
		}
	}
	return out
}

// inBlocks is for blocks without names: each is known by what is written in it.
func (e *moduleEditor) inBlocks(in *scope, nested []*hclsyntax.Block, name string, f Field) (hclEdit, error) {
	declared, _ := f.Declared.([]any)
	live, _ := f.Live.([]any)
	if len(declared) != len(nested) || len(live) != len(nested) {
		return hclEdit{}, fmt.Errorf("a block %q is more or less than is declared: that is not edited", name)
	}
	for i := range declared {
		a, okA := declared[i].(map[string]any)
		b, okB := live[i].(map[string]any)
		if !okA || !okB {
			return hclEdit{}, fmt.Errorf("%s is no list of blocks", name)
		}
		changed := Differences(a, b)
		if len(changed) == 0 {
			continue
		}
		var fitting []*hclsyntax.Block
		for _, block := range nested {
			if holds(block.Body, a) {
				fitting = append(fitting, block)
			}
		}
		switch {
		case len(changed) > 1:
			return hclEdit{}, fmt.Errorf("several values of a block %q have changed, or their order: edit it by hand", name)
		case len(fitting) != 1:
			return hclEdit{}, fmt.Errorf("which block %q it is can't be told from what is written in it", name)
		}
		return e.inBody(in, fitting[0].Body, changed[0].Path, changed[0])
	}
	return hclEdit{}, fmt.Errorf("which block %q has changed can't be told", name)
}

// holds tells whether a block may be the one of an object: what is written in it
// as it is fits.
func holds(body *hclsyntax.Body, object map[string]any) bool {
	for name, a := range body.Attributes {
		if v, ok := valueOf(a.Expr); ok && !same(v, object[name]) {
			return false
		}
	}
	return true
}

// withoutAttribute takes an attribute's lines out.
func (e *moduleEditor) withoutAttribute(in *scope, _ *hclsyntax.Body, a *hclsyntax.Attribute) (hclEdit, error) {
	if _, ok := valueOf(a.Expr); !ok {
		return hclEdit{}, fmt.Errorf("%s is computed, not written as it is", a.Name)
	}
	if err := e.alone(in); err != nil {
		return hclEdit{}, err
	}
	file := a.SrcRange.Filename
	data, err := e.content(file)
	if err != nil {
		return hclEdit{}, err
	}
	from := bytes.LastIndexByte(data[:a.SrcRange.Start.Byte], '\n') + 1
	to := len(data)
	if n := bytes.IndexByte(data[a.SrcRange.End.Byte:], '\n'); n >= 0 {
		to = a.SrcRange.End.Byte + n + 1
	}
	if !onlySpace(data[from:a.SrcRange.Start.Byte]) || bytes.ContainsRune(data[a.SrcRange.End.Byte:to], '}') {
		return hclEdit{}, fmt.Errorf("%s does not stand on a line of its own", a.Name)
	}
	return hclEdit{file, from, to, []byte{}}, nil
}

// newAttribute adds an attribute at the end of a block, before its own blocks.
func (e *moduleEditor) newAttribute(in *scope, body *hclsyntax.Body, name string, value any) (hclEdit, error) {
	if !hclsyntax.ValidIdentifier(name) {
		return hclEdit{}, fmt.Errorf("%q is no name of an attribute", name)
	}
	if err := e.alone(in); err != nil {
		return hclEdit{}, err
	}
	file := body.SrcRange.Filename
	data, err := e.content(file)
	if err != nil {
		return hclEdit{}, err
	}
	last, indent := -1, ""
	for _, a := range body.Attributes {
		if a.SrcRange.End.Byte > last {
			last = a.SrcRange.End.Byte
			begin := a.SrcRange.Start.Byte
			start := bytes.LastIndexByte(data[:begin], '\n') + 1
			indent = string(data[start : start+indentOf(data[start:])])
		}
	}
	if last < 0 {
		return hclEdit{}, errors.New("the block is empty: nothing shows how it is written")
	}
	n := bytes.IndexByte(data[last:], '\n')
	if n < 0 || bytes.ContainsRune(data[last:last+n], '}') {
		return hclEdit{}, errors.New("the block is written in one line")
	}
	end := last + n
	return hclEdit{file, end, end, []byte("\n" + indent + name + " = " + literal(value, indent))}, nil
}

// apply makes an edit, and makes sure that nothing but one attribute changes.
func (e *moduleEditor) apply(edit hclEdit) ([]byte, error) {
	data, err := e.content(edit.file)
	if err != nil {
		return nil, err
	}
	edited := slices.Concat(data[:edit.from], edit.text, data[edit.to:])
	before, after := attributes(data, edit.file), attributes(edited, edit.file)
	if before == nil || after == nil {
		return nil, errOdd
	}
	changed := 0
	for name, expression := range before {
		if after[name] != expression {
			changed++
		}
	}
	for name := range after {
		if _, known := before[name]; !known {
			changed++
		}
	}
	if changed != 1 {
		return nil, errElsewhere
	}
	return edited, nil
}

// attributes are a file's expressions by where they are, or nil where it can't
// be read.
func attributes(data []byte, name string) map[string]string {
	f, diags := hclfile.Parse(data, name)
	if diags.HasErrors() {
		return nil
	}
	body, ok := f.Body.(*hclsyntax.Body)
	if !ok {
		return nil
	}
	out := map[string]string{}
	var walk func(b *hclsyntax.Body, at string)
	walk = func(b *hclsyntax.Body, at string) {
		for name, a := range b.Attributes {
			out[at+"/"+name] = string(a.Expr.Range().SliceBytes(data))
		}
		for i, block := range b.Blocks {
			walk(block.Body, fmt.Sprintf("%s/%s%q%d", at, block.Type, block.Labels, i))
		}
	}
	walk(body, "")
	return out
}
