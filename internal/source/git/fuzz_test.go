package git

import (
	"sort"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/source"
)

func FuzzParseTree(f *testing.F) {
	id := strings.Repeat("\x01", 20)
	f.Add([]byte("100644 a.yaml\x00"+id+"40000 apps\x00"+id), 20)
	f.Add([]byte("120000 link\x00"+id+strings.Repeat("x", 12)), 32)
	f.Add([]byte("100644 ../x\x00"+id), 20)
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		if size != 20 && size != 32 {
			size = 20
		}
		d, err := parseTree(raw, size)
		if err != nil {
			return
		}
		if !sort.SliceIsSorted(d.entries, func(i, j int) bool { return d.entries[i].name < d.entries[j].name }) {
			t.Error("not sorted")
		}
		for _, e := range d.entries {
			if !validPath(e.name) || strings.Contains(e.name, "/") || e.name == "." {
				t.Errorf("name %q", e.name)
			}
			if got, ok := d.find(e.name); !ok || got != e {
				t.Errorf("entry %q is not found", e.name)
			}
		}
	})
}

func FuzzParseCommit(f *testing.F) {
	f.Add([]byte("tree " + strings.Repeat("a", 40) + "\nauthor A <a@b> 1700000000 +0100\ncommitter x\n\nmessage\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := parseCommit(raw); err == nil && c.tree.size == 0 {
			t.Error("a commit without tree")
		}
	})
}

func FuzzParseRefs(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add("ref: refs/heads/main\tHEAD\n"+id+"\tHEAD\n"+id+"\trefs/heads/main\n"+id+"\trefs/tags/v1.2.3\n"+strings.Repeat("b", 40)+"\trefs/tags/v1.2.3^{}\n", "1.x")
	f.Add(id+"\trefs/tags/app/1.0.0\n", ">=1 <2")
	f.Fuzz(func(t *testing.T, out, revision string) {
		r, err := parseRefs([]byte(out))
		if err != nil {
			return
		}
		if got, ok := r.resolve(revision, ""); ok && !fullID.MatchString(got.id) {
			t.Errorf("%q resolved to %q", revision, got.id)
		}
		r.near(revision)
	})
}

func FuzzSubmoduleURL(f *testing.F) {
	f.Add("https://host/org/app.git", "../lib.git")
	f.Add("git@host:org/app", "../../x")
	f.Add("file:///srv/a", "./b")
	f.Add("https://host/a", "ext::sh")
	f.Add("https://host/a", "/etc")
	f.Fuzz(func(t *testing.T, parent, written string) {
		if checkURL(parent) != nil {
			return
		}
		got, err := resolveSubmodule(parent, parent, written)
		if err != nil {
			return
		}
		if checkURL(got) != nil {
			t.Errorf("%q from %q gives %q", written, parent, got)
		}
		_, here := localPath(got)
		if _, parentHere := localPath(parent); here && !parentHere {
			t.Errorf("%q from %q reaches for the local %q", written, parent, got)
		}
	})
}

func TestSubmoduleURLs(t *testing.T) {
	cases := map[string]struct{ parent, written, want string }{
		"sibling":        {"https://host/org/app.git", "../lib.git", "https://host/org/lib.git"},
		"below":          {"https://host/org/app", "./lib", "https://host/org/app/lib"},
		"short ssh":      {"git@host:org/app.git", "../lib.git", "git@host:org/lib.git"},
		"ssh":            {"ssh://git@host:22/org/app", "../lib", "ssh://git@host:22/org/lib"},
		"local":          {"/srv/git/app", "../lib", "/srv/git/lib"},
		"absolute":       {"https://host/org/app", "https://other/lib", "https://other/lib"},
		"too far":        {"https://host/app", "../../lib", ""},
		"local path":     {"https://host/app", "/etc/secrets", ""},
		"file":           {"https://host/app", "file:///etc/secrets", ""},
		"option":         {"https://host/app", "--upload-pack=x", ""},
		"remote helper":  {"https://host/app", "ext::sh -c id", ""},
		"local in local": {"/srv/git/app", "/srv/git/lib", "/srv/git/lib"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := resolveSubmodule(c.parent, c.parent, c.written)
			if got != c.want && err == nil || (err != nil) != (c.want == "") {
				t.Errorf("got %q %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestModuleURL(t *testing.T) {
	listing := "submodule.a.path\ndir/a\x00submodule.a.url\n../a\x00submodule.b.c.path\nb/\x00submodule.b.c.url\nhttps://x/b\x00core.x\ny\x00"
	for at, want := range map[string]string{"dir/a": "../a", "b": "https://x/b", "c": ""} {
		if got, _ := moduleURL(listing, at); got != want {
			t.Errorf("%s: got %q, want %q", at, got, want)
		}
	}
}

func TestMask(t *testing.T) {
	cred := source.Credentials{Username: "ada", Password: canary}
	for _, text := range []string{
		"fatal: https://ada:" + canary + "@host/x", "Authorization: Basic " + canary, "https://user:pa@ss@host/x",
	} {
		got := cred.Mask(text)
		noSecret(t, got)
		if strings.Contains(got, "ss@") {
			t.Errorf("masked to %q", got)
		}
	}
}
