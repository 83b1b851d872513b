package module

import (
	"crypto/md5"  //nolint:gosec // a function of the language
	"crypto/sha1" //nolint:gosec // a function of the language
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions are those that mean here exactly what they mean in OpenTofu. The
// others are left out, so that nothing is evaluated otherwise.
func (s *scope) functions() map[string]function.Function {
	if s.known != nil {
		return s.known
	}
	all := map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "can": tryfunc.CanFunc, "ceil": stdlib.CeilFunc, "chomp": stdlib.ChompFunc,
		"chunklist": stdlib.ChunklistFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc,
		"concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "csvdecode": stdlib.CSVDecodeFunc,
		"distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "floor": stdlib.FloorFunc,
		"format": stdlib.FormatFunc, "formatdate": stdlib.FormatDateFunc, "formatlist": stdlib.FormatListFunc,
		"indent": stdlib.IndentFunc, "join": stdlib.JoinFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
		"keys": stdlib.KeysFunc, "log": stdlib.LogFunc, "lower": stdlib.LowerFunc, "max": stdlib.MaxFunc, "merge": stdlib.MergeFunc,
		"min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "range": stdlib.RangeFunc,
		"regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "reverse": stdlib.ReverseListFunc,
		"setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc,
		"setunion": stdlib.SetUnionFunc, "signum": stdlib.SignumFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc,
		"split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "timeadd": stdlib.TimeAddFunc,
		"title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc,
		"trimsuffix": stdlib.TrimSuffixFunc, "try": tryfunc.TryFunc, "upper": stdlib.UpperFunc, "values": stdlib.ValuesFunc,
		"zipmap": stdlib.ZipmapFunc,

		"tostring": stdlib.MakeToFunc(cty.String), "tonumber": stdlib.MakeToFunc(cty.Number), "tobool": stdlib.MakeToFunc(cty.Bool),
		"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
		"tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),

		"startswith":  ofTwo(strings.HasPrefix),
		"endswith":    ofTwo(strings.HasSuffix),
		"strcontains": ofTwo(strings.Contains),
		"basename":    ofText(func(text string) (string, error) { return filepath.Base(text), nil }),
		"dirname":     ofText(func(text string) (string, error) { return filepath.Dir(text), nil }),
		"base64encode": ofText(func(text string) (string, error) {
			return base64.StdEncoding.EncodeToString([]byte(text)), nil
		}),
		"base64decode": ofText(decode64),
		"md5": ofText(func(text string) (string, error) {
			sum := md5.Sum([]byte(text)) //nolint:gosec // see above
			return hex.EncodeToString(sum[:]), nil
		}),
		"sha1": ofText(func(text string) (string, error) {
			sum := sha1.Sum([]byte(text)) //nolint:gosec // see above
			return hex.EncodeToString(sum[:]), nil
		}),
		"sha256": ofText(func(text string) (string, error) {
			sum := sha256.Sum256([]byte(text))
			return hex.EncodeToString(sum[:]), nil
		}),
		"sha512": ofText(func(text string) (string, error) {
			sum := sha512.Sum512([]byte(text))
			return hex.EncodeToString(sum[:]), nil
		}),
		"sensitive": sensitiveFunc, "nonsensitive": nonsensitiveFunc,
		"file": ofText(s.file), "lookup": lookupFunc, "length": lengthFunc, "replace": replaceFunc,
	}
	for name, f := range maps.Clone(all) {
		all[name] = s.guarded(name, f)
		all["core::"+name] = all[name]
	}
	s.known = all
	return all
}

func ofText(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			text, err := f(args[0].AsString())
			return cty.StringVal(text), err
		},
	})
}

func ofTwo(f func(text, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

func decode64(text string) (string, error) {
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err == nil && !utf8.Valid(decoded) {
		err = errors.New("no text")
	}
	return string(decoded), err
}

// file reads a file of the tree. Paths are relative to the root module.
func (s *scope) file(name string) (string, error) {
	at := path.Join(s.m.options.Dir, filepath.ToSlash(name))
	if filepath.IsAbs(name) || strings.HasPrefix(name, "~") || !filepath.IsLocal(filepath.FromSlash(at)) {
		s.m.outside = append(s.m.outside, Dependency{What: "a file outside of the source: " + name})
		return "", errors.New("a file outside of the source")
	}
	text, err := s.m.read(at)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.m.outside = append(s.m.outside, Dependency{What: "a file that cannot be read here: " + name})
	}
	if err == nil && !utf8.Valid(text) {
		err = errors.New("no text")
	}
	return string(text), err
}

var (
	sensitiveFunc = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowNull: true, AllowMarked: true, AllowDynamicType: true}},
		Type:   func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0].Mark(secret{}), nil },
	})
	// nonsensitive keeps the mark: more is masked, nothing is evaluated otherwise.
	nonsensitiveFunc = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowNull: true, AllowMarked: true, AllowDynamicType: true}},
		Type:   func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0], nil },
	})
	lengthFunc = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true}},
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			t := args[0].Type()
			switch {
			case t == cty.String:
				return stdlib.Strlen(args[0])
			case t.IsCollectionType() || t.IsTupleType() || t.IsObjectType():
				return cty.NumberIntVal(int64(args[0].LengthInt())), nil
			}
			return cty.NilVal, errors.New("the value has no length")
		},
	})
	lookupFunc = function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType}, {Name: "key", Type: cty.String}},
		VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true},
		Type:     lookupType,
		Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
			if v, ok := looked(args[0], args[1].AsString()); ok {
				return v, nil
			}
			if len(args) < 3 {
				return cty.NilVal, errors.New("there is no such key")
			}
			return convert.Convert(args[2], t)
		},
	})
	replaceFunc = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}, {Name: "by", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			part := args[1].AsString()
			if len(part) > 1 && part[0] == '/' && part[len(part)-1] == '/' {
				return stdlib.RegexReplace(args[0], cty.StringVal(part[1:len(part)-1]), args[2])
			}
			return stdlib.Replace(args[0], args[1], args[2])
		},
	})
)

func lookupType(args []cty.Value) (cty.Type, error) {
	if len(args) > 3 {
		return cty.NilType, errors.New("there can be one default only")
	}
	t := args[0].Type()
	switch {
	case t.IsMapType():
		return t.ElementType(), nil
	case !t.IsObjectType():
		return cty.NilType, errors.New("no map")
	case !args[1].IsKnown():
		return cty.DynamicPseudoType, nil
	}
	key, _ := args[1].Unmark()
	if t.HasAttribute(key.AsString()) {
		return t.AttributeType(key.AsString()), nil
	}
	if len(args) == 3 {
		return args[2].Type(), nil
	}
	return cty.NilType, errors.New("there is no such attribute")
}

func looked(from cty.Value, key string) (cty.Value, bool) {
	if from.Type().IsObjectType() {
		if from.Type().HasAttribute(key) {
			return from.GetAttr(key), true
		}
		return cty.NilVal, false
	}
	index := cty.StringVal(key)
	if from.HasIndex(index).RawEquals(cty.True) {
		return from.Index(index), true
	}
	return cty.NilVal, false
}
