package helm

import (
	"strconv"
	"text/template/parse"
)

// Names of the functions that watch calls. A template that calls them itself gains
// nothing by it.
const (
	tickName    = "plumb_tick"
	outName     = "plumb_out"
	includeName = "plumb_include"
)

// textFuncs give texts, whose size is counted where they are called.
var textFuncs = map[string]bool{
	"include": true, "tpl": true, "quote": true, "squote": true, "toYaml": true, "toJson": true,
	"indent": true, "nindent": true, "printf": true, "trunc": true, "trimSuffix": true, "lower": true,
	"b64enc": true, "replace": true, "toString": true, tickName: true,
}

// watch changes a parsed template so that it can be stopped: each turn of a
// loop calls tick, each output goes through out, and the action template becomes
// a call of include, whose depth is counted.
func watch(list *parse.ListNode) {
	if list == nil {
		return
	}
	for i, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			watchAction(n)
		case *parse.TemplateNode:
			list.Nodes[i] = includeCall(n)
		case *parse.IfNode:
			watchBranch(&n.BranchNode)
		case *parse.WithNode:
			watchBranch(&n.BranchNode)
		case *parse.RangeNode:
			watchBranch(&n.BranchNode)
			n.List.Nodes = append([]parse.Node{call(n.Pos, n.Line, tickName)}, n.List.Nodes...)
		}
	}
}

func watchBranch(b *parse.BranchNode) {
	watch(b.List)
	watch(b.ElseList)
}

// watchAction passes what an action puts out through the function out.
func watchAction(n *parse.ActionNode) {
	if len(n.Pipe.Decl) > 0 || len(n.Pipe.Cmds) == 0 {
		return
	}
	last := n.Pipe.Cmds[len(n.Pipe.Cmds)-1]
	if id, ok := last.Args[0].(*parse.IdentifierNode); ok && textFuncs[id.Ident] {
		return
	}
	n.Pipe.Cmds = append(n.Pipe.Cmds, command(n.Pos, identifier(n.Pos, outName)))
}

func includeCall(n *parse.TemplateNode) parse.Node {
	var data parse.Node = &parse.NilNode{NodeType: parse.NodeNil, Pos: n.Pos}
	if n.Pipe != nil {
		data = n.Pipe
	}
	name := &parse.StringNode{NodeType: parse.NodeString, Pos: n.Pos, Quoted: strconv.Quote(n.Name), Text: n.Name}
	return call(n.Pos, n.Line, includeName, name, data)
}

func call(pos parse.Pos, line int, name string, args ...parse.Node) *parse.ActionNode {
	cmd := command(pos, append([]parse.Node{identifier(pos, name)}, args...)...)
	return &parse.ActionNode{
		NodeType: parse.NodeAction, Pos: pos, Line: line,
		Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos, Line: line, Cmds: []*parse.CommandNode{cmd}},
	}
}

func command(pos parse.Pos, args ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: args}
}

func identifier(pos parse.Pos, name string) *parse.IdentifierNode {
	return &parse.IdentifierNode{NodeType: parse.NodeIdentifier, Pos: pos, Ident: name}
}
