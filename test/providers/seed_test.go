package providers

import (
	"maps"
	"os"
	"testing"
)

// TestSeed holds a module of an ordinary shape true: networks, machines,
// modules, for_each, dynamic blocks, data sources, moved, import.
func TestSeed(t *testing.T) {
	f := newFake(t)
	w := newWorkspace(t, f)
	if err := os.CopyFS(w.dir, os.DirFS("testdata/seed")); err != nil {
		t.Fatal(err)
	}
	w.init()
	w.apply()
	w.expect(map[string]string{})
	w.accounted(f)
	if got, want := len(w.ids()), 1+3+3+2+3+1+1+2; got != want {
		t.Fatalf("%d resources, should be %d", got, want)
	}
	seedDrifts(t, f, w)
	seedMovesAndImports(t, f, w)
	w.run("destroy", "-no-color", "-input=false", "-auto-approve")
	if a := f.audit(); len(a.Leaked) > 0 {
		t.Fatalf("left after destroy: %v", a.Leaked)
	}
}

func seedDrifts(t *testing.T, f *fake, w *workspace) {
	t.Helper()
	f.change(f.named("security_group", "api-sg").ID, map[string]any{"ingress": []any{}})
	f.change(f.named("instance", "api-0").ID, map[string]any{"instance_type": "t3.large", "state": "stopped"})
	f.admin("DELETE", "objects/"+f.named("instance", "api-1").ID, nil, nil)
	f.change(f.the("bucket").ID, map[string]any{"labels": map[string]any{"Owner": "somebody"}})

	drift := map[string]string{
		`module.service["api"].cloud_security_group.this`: "update",
		`module.service["api"].cloud_instance.this[0]`:    "update",
		`module.service["api"].cloud_instance.this[1]`:    "create",
		`cloud_record.service["api"]`:                     "update",
	}
	w.expect(drift)
	w.apply()
	w.expect(map[string]string{})
	w.accounted(f)
}

func seedMovesAndImports(t *testing.T, f *fake, w *workspace) {
	t.Helper()
	w.run("state", "mv", "module.network.cloud_vpc.main", "cloud_vpc.main")
	w.run("state", "mv", `module.service["web"].cloud_security_group.this`, "cloud_security_group.web")
	var bucket cloudObject
	f.admin("POST", "objects", map[string]any{"kind": "bucket", "region": "eu-west-1", "body": map[string]any{
		"name": "old-one", "versioning": false, "storage_class": "cold",
	}}, &bucket)
	w.write("adopt.auto.tfvars", `adopted_buckets = { old-one = "`+bucket.ID+`" }`)
	want := map[string]string{
		"module.network.cloud_vpc.main":                   "no-op moved from cloud_vpc.main",
		`module.service["web"].cloud_security_group.this`: "no-op moved from cloud_security_group.web",
		`cloud_bucket.adopted["old-one"]`:                 "update imported",
	}
	if got := w.plan(); !maps.Equal(got, want) {
		t.Fatalf("the plan is %v, should be %v", got, want)
	}
	w.run("apply", "-no-color", "-input=false", "plan")
	w.expect(map[string]string{})
}
