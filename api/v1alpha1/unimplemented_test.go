package v1alpha1_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestUnimplemented(t *testing.T) {
	for name, c := range map[string]struct {
		reason    string
		spec      v1alpha1.ApplicationSpec
		all, stop []string
	}{
		"nothing": {reason: "an ordinary Application needs nothing that is not there",
			spec: v1alpha1.ApplicationSpec{Source: &v1alpha1.ApplicationSource{Helm: &v1alpha1.ApplicationSourceHelm{Version: "v3"}}}},
		"several sources": {reason: "the path says which source; source itself is ignored",
			spec: v1alpha1.ApplicationSpec{
				Source: &v1alpha1.ApplicationSource{Plugin: &v1alpha1.ApplicationSourcePlugin{}},
				Sources: v1alpha1.ApplicationSources{
					{Kustomize: &v1alpha1.ApplicationSourceKustomize{Version: "v4"}},
					{Plugin: &v1alpha1.ApplicationSourcePlugin{}},
				}},
			all:  []string{"spec.sources[0].kustomize.version", "spec.sources[1].plugin"},
			stop: []string{"spec.sources[1].plugin"}},
		"hydrator": {reason: "its dry source is a source",
			spec: v1alpha1.ApplicationSpec{SourceHydrator: &v1alpha1.SourceHydrator{DrySource: v1alpha1.DrySource{Plugin: &v1alpha1.ApplicationSourcePlugin{}}}},
			all:  []string{"spec.sourceHydrator.drySource.plugin", "spec.sourceHydrator"},
			stop: []string{"spec.sourceHydrator.drySource.plugin"}},
		"approval turned off": {reason: "what is turned off is not missed",
			spec: v1alpha1.ApplicationSpec{SyncPolicy: &v1alpha1.SyncPolicy{Approval: &v1alpha1.ApprovalPolicy{Required: ptr(false)}}}},
		"approval": {reason: "all of it is there",
			spec: v1alpha1.ApplicationSpec{SyncPolicy: &v1alpha1.SyncPolicy{Approval: &v1alpha1.ApprovalPolicy{PullRequest: ptr(true)}}}},
		"drift": {reason: "every answer is there",
			spec: v1alpha1.ApplicationSpec{SyncPolicy: &v1alpha1.SyncPolicy{Drift: &v1alpha1.DriftPolicy{
				Default: v1alpha1.DriftRevert,
				Rules:   []v1alpha1.DriftRule{{Action: v1alpha1.DriftIgnore}, {Action: v1alpha1.DriftAdopt}},
			}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.all, v1alpha1.Unimplemented(&c.spec)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(c.stop, v1alpha1.UnimplementedBlocking(&c.spec)); diff != "" {
				t.Errorf("%s, blocking (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestUnimplementedProject(t *testing.T) {
	text, err := os.ReadFile("testdata/accepted/project-every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	object, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	spec := &object.(*v1alpha1.AppProject).Spec
	want := []string{"spec.roles", "spec.orphanedResources"}
	if diff := cmp.Diff(want, v1alpha1.UnimplementedProject(spec)); diff != "" {
		t.Error(diff)
	}
	if got := v1alpha1.UnimplementedProjectBlocking(spec); len(got) > 0 {
		t.Errorf("blocking: %v", got)
	}
}
