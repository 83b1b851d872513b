// Package hclfile parses the files of OpenTofu and Terraform modules within bounds:
// they come from repositories, and HCL's own parsers, which call themselves, end
// the process where a file is nested deep enough. It knows nothing of what the
// files mean.
package hclfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
)

// Configuration tells whether the programs read a file of this name as a part
// of a module.
func Configuration(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	for _, suffix := range []string{".tf", ".tofu", ".tf.json", ".tofu.json"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// Parse parses a file, by its name's ending as JSON or HCL. It refuses what is
// nested so deep that the parsers, which call themselves, would run out of
// stack, and with that end the process.
func Parse(src []byte, name string) (*hcl.File, hcl.Diagnostics) {
	if len(src) > MaxBytes {
		return nil, tooDeep(name, hcl.InitialPos, fmt.Sprintf("The file has more than %d KiB.", MaxBytes>>10))
	}
	if strings.HasSuffix(name, ".json") {
		if diags := boundedJSON(src, name); diags.HasErrors() {
			return nil, diags
		}
		return hcljson.Parse(src, name)
	}
	if diags := bounded(src, name); diags.HasErrors() {
		return nil, diags
	}
	return hclsyntax.ParseConfig(src, name, hcl.InitialPos)
}

// ParseExpression parses an expression within the same bounds.
func ParseExpression(src []byte, name string) (hclsyntax.Expression, hcl.Diagnostics) {
	if len(src) > MaxBytes {
		return nil, tooDeep(name, hcl.InitialPos, fmt.Sprintf("The expression has more than %d KiB.", MaxBytes>>10))
	}
	if diags := bounded(src, name); diags.HasErrors() {
		return nil, diags
	}
	return hclsyntax.ParseExpression(src, name, hcl.InitialPos)
}

// MaxBytes is how large a file may be that is parsed.
const MaxBytes = 1 << 20

// Bounds of what a parser goes into.
const (
	maxDepth     = 250
	maxRun       = 50   // of signs before a term
	maxChoices   = 1000 // conditions and directives, which may be nested without brackets
	maxOperators = 5000 // of one expression, which are a tree as deep as they are many
)

func tooDeep(name string, at hcl.Pos, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Too complex", Detail: detail, Subject: &hcl.Range{Filename: name, Start: at, End: at}}}
}

// bounded looks at the tokens, for which no recursion is needed.
func bounded(src []byte, name string) hcl.Diagnostics {
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	var depth, run, choices, operators int
	for _, token := range tokens {
		switch token.Type { //nolint:exhaustive // what else there is does not nest
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			depth = max(0, depth-1)
		case hclsyntax.TokenNewline:
			if depth <= 2 { // the end of an attribute
				operators = 0
			}
		}
		switch token.Type {
		case hclsyntax.TokenMinus, hclsyntax.TokenBang:
			run++
			operators++
		case hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent, hclsyntax.TokenAnd, hclsyntax.TokenOr:
			operators++
			run = 0
		default:
			run = 0
		}
		if token.Type == hclsyntax.TokenQuestion || token.Type == hclsyntax.TokenTemplateControl {
			choices++
		}
		if depth > maxDepth || run > maxRun || choices > maxChoices || operators > maxOperators {
			return tooDeep(name, token.Range.Start, "The expressions here are nested deeper than anything reasonable.")
		}
	}
	return nil
}

func boundedJSON(src []byte, name string) hcl.Diagnostics {
	depth := 0
	for d := json.NewDecoder(bytes.NewReader(src)); ; {
		token, err := d.Token()
		if err != nil { // io.EOF, or what the parser says better
			break
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return tooDeep(name, hcl.InitialPos, "The values are nested deeper than anything reasonable.")
		}
	}
	// The parser goes on where the decoder above has stopped.
	if raw := bytes.Count(src, []byte("[")) + bytes.Count(src, []byte("{")); raw > maxDepth && !json.Valid(src) {
		return tooDeep(name, hcl.InitialPos, "The file is not valid JSON.")
	}
	return nil
}
