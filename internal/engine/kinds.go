package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
)

// What people call what drivers make things of.
const (
	aModule     = "module"
	ofManifests = "manifests"
)

func kindOf(driver string) string {
	if driver == render.TofuDriver {
		return aModule
	}
	return ofManifests
}

// madeBy is the driver that has made what an Application holds, as far as its
// status tells.
func madeBy(app *v1alpha1.Application) string {
	types := app.Status.SourceTypes
	if app.Status.SourceType != "" {
		types = []v1alpha1.ApplicationSourceType{app.Status.SourceType}
	}
	switch {
	case len(types) == 0:
		return ""
	case slices.Contains(types, v1alpha1.ApplicationSourceTypeTofu):
		return render.TofuDriver
	}
	return render.KubeDriver
}

// keepTrack sees to it that what one driver has made is not lost sight of where the
// source has become of another kind. It tells whether to go on.
//
// A deletion is still of what was made. Otherwise nothing is done until nothing is
// left, or somebody has said to leave it.
func (p *pass) keepTrack() bool {
	bundle := &p.st.desired.bundle
	was, now := madeBy(p.app), bundle.Driver
	if now == "" {
		now = render.KubeDriver
	}
	switch {
	case was == "" || was == now || len(p.st.held) == 0:
	case p.deleting():
		p.st.desired = &desired{hash: "deleted", bundle: render.Bundle{Driver: was}}
		return true
	default:
		if leave, _ := v1alpha1.Lookup(p.app.Annotations, v1alpha1.NameLeaveBehind); leave != kindOf(was) {
			p.refused = p.leftBehind(was, now)
			return false
		}
		p.st.held = nil
		if d := p.e.Drivers[was]; d != nil {
			d.Forget(p.key.Owner())
		}
	}
	if now != render.TofuDriver && bundle.Module == nil {
		p.e.queue.forget(p.key) // it is no slow one, or not any more
	}
	return true
}

// leftBehind says what would be left, and what can be done.
func (p *pass) leftBehind(was, now string) string {
	var names []string
	for _, h := range p.st.held {
		names = append(names, h.Ref.Name)
	}
	const most = 3
	if len(names) > most {
		names = append(names[:most], "…")
	}
	what := map[string]string{aModule: "a module", ofManifests: "manifests"}
	return fmt.Sprintf("the source was %s and is %s now, and %d resources of before are left (%s): set it back and have them removed first (declare none of them, and sync with --prune; or delete the Application), or leave them as they are by the annotation %s%s=%s",
		what[kindOf(was)], what[kindOf(now)], len(p.st.held), strings.Join(names, ", "), v1alpha1.PlumbPrefix, v1alpha1.NameLeaveBehind, kindOf(was))
}
