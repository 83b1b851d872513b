package assess

import (
	lua "github.com/yuin/gopher-lua"
)

const (
	stackSlots    = 2 << 10   // values on a state's stack at first
	maxStackSlots = 128 << 10 // and at most
	maxCalls      = 128       // depth of calls
	maxRepeat     = 1 << 20   // bytes that string.rep may give
)

// newSandbox makes a Lua state for one script. Like Argo CD it opens package,
// base and table (and string, math, coroutine and os where the standard library
// is asked for); unlike it, nothing in there opens files, starts processes,
// reads the environment or prints.
func newSandbox(openLibs bool) *sandbox {
	l := lua.NewState(lua.Options{
		SkipOpenLibs: true, MinimizeStackMemory: true,
		RegistrySize: stackSlots, RegistryMaxSize: maxStackSlots, CallStackSize: maxCalls,
	})
	open(l, lua.LoadLibName, lua.OpenPackage)
	open(l, lua.BaseLibName, lua.OpenBase)
	open(l, lua.TabLibName, lua.OpenTable)
	if openLibs {
		open(l, lua.StringLibName, lua.OpenString)
		open(l, lua.MathLibName, lua.OpenMath)
		open(l, lua.CoroutineLibName, lua.OpenCoroutine)
		boundRepeat(l)
	}
	restrictBase(l)
	restrictOS(l, openLibs)
	base := l.NewTable()
	base.RawSetString("__index", l.Get(lua.GlobalsIndex))
	return &sandbox{state: l, base: base}
}

func open(l *lua.LState, name string, library lua.LGFunction) {
	l.Push(l.NewFunction(library))
	l.Push(lua.LString(name))
	l.Call(1, 0)
}

// restrictBase takes away what reaches files or the process.
func restrictBase(l *lua.LState) {
	for _, name := range []string{"dofile", "loadfile", "_printregs", "newproxy"} {
		l.SetGlobal(name, lua.LNil)
	}
	nothing := l.NewFunction(func(*lua.LState) int { return 0 })
	l.SetGlobal("print", nothing)
	l.SetGlobal("collectgarbage", nothing)
	if pkg, ok := l.GetGlobal(lua.LoadLibName).(*lua.LTable); ok {
		pkg.RawSetString("path", lua.LString(""))
		if loaders, ok := pkg.RawGetString("loaders").(*lua.LTable); ok {
			loaders.RawSetInt(2, lua.LNil) // the one that reads files
		}
	}
}

// restrictOS keeps the clock of the os library. Without the standard library it
// is reached by require("os") only.
func restrictOS(l *lua.LState, global bool) {
	open(l, lua.OsLibName, lua.OpenOs)
	full, ok := l.GetGlobal(lua.OsLibName).(*lua.LTable)
	if !ok {
		return
	}
	safe := l.NewTable()
	for _, name := range []string{"time", "date", "clock", "difftime"} {
		safe.RawSetString(name, full.RawGetString(name))
	}
	l.SetGlobal(lua.OsLibName, lua.LNil)
	if loaded, ok := l.GetField(l.Get(lua.RegistryIndex), "_LOADED").(*lua.LTable); ok {
		loaded.RawSetString(lua.OsLibName, safe)
	}
	if global {
		l.SetGlobal(lua.OsLibName, safe)
	}
}

// boundRepeat keeps string.rep from filling the memory with one call.
func boundRepeat(l *lua.LState) {
	lib, ok := l.GetGlobal(lua.StringLibName).(*lua.LTable)
	if !ok {
		return
	}
	rep, ok := lib.RawGetString("rep").(*lua.LFunction)
	if !ok {
		return
	}
	lib.RawSetString("rep", l.NewFunction(func(l *lua.LState) int {
		if n := l.CheckInt(2); n > 0 && len(l.CheckString(1)) > maxRepeat/n {
			l.RaiseError("string.rep: the result is larger than %d bytes", maxRepeat)
		}
		return rep.GFunction(l)
	}))
}
