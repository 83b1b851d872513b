package assess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/internal/health"
)

const (
	// scriptTime is the longest that one check may run, as in Argo CD.
	scriptTime = time.Second
	// scriptName stands in the messages of failing scripts, as in Argo CD.
	scriptName = "<string>"
	// managedFields are the largest part of many live objects; only a script
	// that speaks of them gets them.
	managedFields = "managedFields"
)

// script is one health check. Its states are used for no other script, so that
// nothing one script does can reach another.
type script struct {
	compile func() (*lua.FunctionProto, error)
	// deletion and managedFields: whether the script speaks of them.
	deletion, managedFields bool
	states                  sync.Pool
}

// newScript prepares a check, which is compiled at its first run.
func newScript(text string, openLibs bool) *script {
	s := &script{
		deletion:      strings.Contains(text, "deletionTimestamp"),
		managedFields: strings.Contains(text, managedFields),
	}
	s.compile = sync.OnceValues(func() (*lua.FunctionProto, error) {
		chunk, err := parse.Parse(strings.NewReader(text), scriptName)
		if err != nil {
			return nil, err
		}
		return lua.Compile(chunk, scriptName)
	})
	s.states.New = func() any { return newSandbox(openLibs) }
	return s
}

// run assesses an object with the script.
func (s *script) run(obj *unstructured.Unstructured) health.Health {
	h, err := s.assess(obj)
	if err != nil {
		return unknown(err)
	}
	return h
}

func (s *script) assess(obj *unstructured.Unstructured) (health.Health, error) {
	proto, err := s.compile()
	if err != nil {
		return health.Health{}, err
	}
	box := s.states.Get().(*sandbox)
	result, err := box.call(proto, func(l *lua.LState) lua.LValue { return s.decodeObject(l, obj.Object) })
	if err != nil {
		box.state.Close() // whatever it holds is not trusted any more
		return health.Health{}, err
	}
	h, err := readResult(result)
	box.clear()
	s.states.Put(box)
	return h, err
}

// readResult reads what a script returned, as Argo CD does: by way of JSON,
// where an empty table is a list and a list is an empty answer. Argo CD counts
// an empty answer as healthy.
func readResult(v lua.LValue) (health.Health, error) {
	none := health.Health{Status: health.Healthy}
	table, ok := v.(*lua.LTable)
	if !ok {
		if v == lua.LNil {
			return none, nil
		}
		return health.Health{}, fmt.Errorf("expect table output from Lua script, not %s", v.Type())
	}
	if first, _ := table.Next(lua.LNil); first.Type() != lua.LTString {
		return none, nil
	}
	status, message := table.RawGetString("status"), table.RawGetString("message")
	for _, field := range []lua.LValue{status, message} {
		if t := field.Type(); t != lua.LTString && t != lua.LTNil {
			return none, nil
		}
	}
	word := lua.LVAsString(status)
	if !valid(word) {
		return health.Health{Status: health.Unknown, Message: "Lua returned an invalid health status"}, nil
	}
	return health.Health{Status: health.Status(word), Message: lua.LVAsString(message)}, nil
}

// decodeObject copies an object into Lua's world.
func (s *script) decodeObject(l *lua.LState, object map[string]any) lua.LValue {
	meta, _ := object["metadata"].(map[string]any)
	if _, has := meta[managedFields]; !has || s.managedFields {
		return decode(l, object)
	}
	table := l.CreateTable(0, len(object))
	for k, v := range object {
		if k == "metadata" {
			continue
		}
		table.RawSetString(k, decode(l, v))
	}
	slim := l.CreateTable(0, len(meta))
	for k, v := range meta {
		if k != managedFields {
			slim.RawSetString(k, decode(l, v))
		}
	}
	table.RawSetString("metadata", slim)
	return table
}

// decode copies a JSON value into Lua's world.
func decode(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case int:
		return lua.LNumber(v)
	case int32:
		return lua.LNumber(v)
	case json.Number:
		return lua.LString(v)
	case []any:
		list := l.CreateTable(len(v), 0)
		for _, item := range v {
			list.Append(decode(l, item))
		}
		return list
	case map[string]any:
		table := l.CreateTable(0, len(v))
		for k, item := range v {
			table.RawSetString(k, decode(l, item))
		}
		return table
	}
	return lua.LNil
}

// sandbox is a Lua state with nothing in it that reaches out of it.
type sandbox struct {
	state *lua.LState
	// base finds the library for names that a run has not set itself.
	base *lua.LTable
}

// call runs a script on an object. What it sets as globals ends with the run.
func (b *sandbox) call(proto *lua.FunctionProto, object func(*lua.LState) lua.LValue) (lua.LValue, error) {
	l := b.state
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	l.SetContext(ctx)
	defer l.RemoveContext()

	env := l.CreateTable(0, 8)
	env.Metatable = b.base
	env.RawSetString("_G", env)
	env.RawSetString("actionParams", l.CreateTable(0, 0))
	env.RawSetString("obj", object(l))
	fn := l.NewFunctionFromProto(proto)
	fn.Env = env
	l.Push(fn)
	if err := l.PCall(0, lua.MultRet, nil); err != nil {
		var run *lua.ApiError
		if errors.As(err, &run) && run.Type == lua.ApiErrorRun {
			run.StackTrace = "" // the message is for users
		}
		return nil, err
	}
	if l.GetTop() == 0 {
		return lua.LNil, nil
	}
	return l.Get(-1), nil
}

// clear drops what a run has left on the stack.
func (b *sandbox) clear() { b.state.SetTop(0) }
