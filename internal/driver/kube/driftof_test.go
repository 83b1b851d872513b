package kube

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/internal/driver"
)

func TestDriftOf(t *testing.T) {
	entry := func(manager, at string, fields map[string]any) any {
		return map[string]any{"manager": manager, "operation": "Update", "apiVersion": "v1", "time": at, "fieldsType": "FieldsV1", "fieldsV1": fields}
	}
	data := func(key string) map[string]any {
		return map[string]any{"f:data": map[string]any{"f:" + key: map[string]any{}}}
	}
	scaled := entry("kubectl", "2026-01-01T12:00:00Z", map[string]any{"f:spec": map[string]any{"f:replicas": map[string]any{}}}).(map[string]any)
	scaled["subresource"] = "scale"
	reported := entry("kubelet", "2026-01-01T13:00:00Z", map[string]any{"f:spec": map[string]any{"f:replicas": map[string]any{}}}).(map[string]any)
	reported["subresource"] = "status"
	live := map[string]any{"metadata": map[string]any{"managedFields": []any{
		scaled, reported,
		entry(FieldManager, "2026-01-01T12:00:00Z", data("a/b")),
		entry("kubectl-edit", "2026-01-01T11:00:00Z", data("a/b")),
		entry("older", "2026-01-01T10:00:00Z", data("a/b")),
		entry("elsewhere", "2026-01-01T13:00:00Z", data("c")),
	}}}
	at := func(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	cases := map[string]struct {
		fields []string
		want   driver.Drift
		reason string
	}{
		"the latest of others": {[]string{"/data/a~1b"}, driver.Drift{Fields: []string{"/data/a~1b"}, Manager: "kubectl-edit", Written: at(11)}, "Plumb itself is not meant, nor who changed something else"},
		"by a subresource":     {[]string{"/spec/replicas"}, driver.Drift{Fields: []string{"/spec/replicas"}, Manager: "kubectl", Written: at(12)}, "kubectl scale does so; who writes the status declares nothing"},
		"nobody":               {[]string{"/data/d"}, driver.Drift{Fields: []string{"/data/d"}}, "a field that was removed has no manager"},
		"an item of a list":    {[]string{"/data/c/0/x"}, driver.Drift{Fields: []string{"/data/c/0/x"}, Manager: "elsewhere", Written: at(13)}, "items are not told apart"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, *driftOf(live, c.fields)); diff != "" {
				t.Errorf("%s: %s", c.reason, diff)
			}
		})
	}
}
