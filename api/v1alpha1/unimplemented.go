package v1alpha1

import "fmt"

// A gap is a field that Plumb accepts and does not implement yet. Whoever builds
// the feature deletes its line from the tables below.
type gap[T any] struct {
	// field is the path below the T.
	field string
	// blocks says that to go on without the field would do what the user has
	// forbidden, or something other than what is declared.
	blocks bool
	// set says whether the field is set to something that is not implemented.
	set func(*T) bool
}

var applicationGaps = []gap[ApplicationSpec]{
	{"sourceHydrator", false, func(s *ApplicationSpec) bool { return s.SourceHydrator != nil }},
}

var sourceGaps = []gap[ApplicationSource]{
	{"plugin", true, func(s *ApplicationSource) bool { return s.Plugin != nil }},
	{"helm.version", false, func(s *ApplicationSource) bool {
		return s.Helm != nil && s.Helm.Version != "" && s.Helm.Version != "v3" && s.Helm.Version != "3"
	}},
	{"kustomize.version", false, func(s *ApplicationSource) bool {
		return s.Kustomize != nil && s.Kustomize.Version != ""
	}},
}

var projectGaps = []gap[AppProjectSpec]{
	{"roles", false, func(s *AppProjectSpec) bool { return len(s.Roles) > 0 }},
	{"orphanedResources", false, func(s *AppProjectSpec) bool { return s.OrphanedResources != nil }},
}

// Unimplemented returns the paths of the fields that are set and that Plumb does
// not implement yet, such as spec.sources[1].plugin, always in the same order.
func Unimplemented(spec *ApplicationSpec) []string { return unimplemented(spec, false) }

// UnimplementedBlocking returns those of Unimplemented without which the
// Application must not be synced.
func UnimplementedBlocking(spec *ApplicationSpec) []string { return unimplemented(spec, true) }

// UnimplementedProject returns the paths of the fields of a project that are set
// and that Plumb does not implement yet, always in the same order.
func UnimplementedProject(spec *AppProjectSpec) []string {
	return find(projectGaps, "spec", spec, false)
}

// UnimplementedProjectBlocking returns those of UnimplementedProject without which
// the project's Applications must not be synced: they are part of its fence.
func UnimplementedProjectBlocking(spec *AppProjectSpec) []string {
	return find(projectGaps, "spec", spec, true)
}

func unimplemented(spec *ApplicationSpec, blocking bool) []string {
	var paths []string
	switch { // the sources that count, and no other
	case spec.SourceHydrator != nil:
		dry := spec.SourceHydrator.GetDrySource()
		paths = append(paths, find(sourceGaps, "spec.sourceHydrator.drySource", &dry, blocking)...)
	case len(spec.Sources) > 0:
		for i := range spec.Sources {
			paths = append(paths, find(sourceGaps, fmt.Sprintf("spec.sources[%d]", i), &spec.Sources[i], blocking)...)
		}
	case spec.Source != nil:
		paths = append(paths, find(sourceGaps, "spec.source", spec.Source, blocking)...)
	}
	paths = append(paths, find(applicationGaps, "spec", spec, blocking)...)
	return paths
}

func find[T any](gaps []gap[T], prefix string, in *T, blocking bool) []string {
	var paths []string
	for _, g := range gaps {
		if (g.blocks || !blocking) && g.set(in) {
			paths = append(paths, prefix+"."+g.field)
		}
	}
	return paths
}
