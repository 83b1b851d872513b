package memtree

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestTreeIsAnFS(t *testing.T) {
	tree := New(map[string]string{"a/b.txt": "b", "c.txt": "c"})
	if err := fstest.TestFS(tree, "a/b.txt", "c.txt"); err != nil {
		t.Fatal(err)
	}
}

func TestLinks(t *testing.T) {
	tree := New(map[string]string{
		"shared/x.yaml": "x",
		"app/in.yaml":   Link("../shared/x.yaml"),
		"app/out.yaml":  Link("../../etc/passwd"),
		"app/abs.yaml":  Link("/etc/passwd"),
		"app/loop":      Link("loop"),
		"app/dir":       Link("../shared"),
	})
	cases := map[string]struct {
		reason, path string
		want         string
		wantErr      error
	}{
		"Inside":    {reason: "a link inside the tree is followed", path: "app/in.yaml", want: "x"},
		"Directory": {reason: "a link to a directory is followed on the way", path: "app/dir/x.yaml", want: "x"},
		"Out":       {reason: "a link out of the tree is refused", path: "app/out.yaml", wantErr: fs.ErrPermission},
		"Absolute":  {reason: "an absolute link is refused", path: "app/abs.yaml", wantErr: fs.ErrPermission},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := tree.ReadFile(tc.path)
			if !errors.Is(err, tc.wantErr) || string(got) != tc.want {
				t.Errorf("%s: got %q, %v; want %q, %v", tc.reason, got, err, tc.want, tc.wantErr)
			}
		})
	}
	if _, err := tree.ReadFile("app/loop"); err == nil {
		t.Error("a loop of links was read")
	}
	if tree.ID("app/in.yaml") != tree.ID("shared/x.yaml") {
		t.Error("the identity of a link is not that of what it leads to")
	}
}

func TestIDIsOfContent(t *testing.T) {
	a := New(map[string]string{"app/a.yaml": "1", "other/b.yaml": "1"})
	b := New(map[string]string{"app/a.yaml": "1", "other/b.yaml": "2"})
	if a.ID("app") != b.ID("app") || a.ID(".") == b.ID(".") || a.ID("nothing") != "" {
		t.Error("the identity of a directory is not of its content alone")
	}
}
