package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ApplicationSources is a list of sources.
type ApplicationSources []ApplicationSource

// ApplicationSourceType is the kind of renderer that a source needs.
type ApplicationSourceType string

// The kinds of renderer.
const (
	ApplicationSourceTypeHelm      ApplicationSourceType = "Helm"
	ApplicationSourceTypeKustomize ApplicationSourceType = "Kustomize"
	ApplicationSourceTypeDirectory ApplicationSourceType = "Directory"
	ApplicationSourceTypePlugin    ApplicationSourceType = "Plugin"
	ApplicationSourceTypeTofu      ApplicationSourceType = "Tofu"
)

// ApplicationSource is one place that desired state comes from.
type ApplicationSource struct {
	// RepoURL is the URL of the Git repository, Helm repository or OCI registry.
	RepoURL string `json:"repoURL"`
	// Path is the directory within the repository.
	// +optional
	Path string `json:"path,omitempty"`
	// TargetRevision is the branch, tag, commit or semantic version range to
	// follow; for a Helm chart its version or version range. Default: HEAD.
	// +optional
	TargetRevision string `json:"targetRevision,omitempty"`
	// TagPrefix is the prefix that tags must have, and that is taken off, when
	// targetRevision is a semantic version range.
	// +optional
	TagPrefix string `json:"tagPrefix,omitempty"`
	// Chart is the name of the chart in a Helm repository.
	// +optional
	Chart string `json:"chart,omitempty"`
	// Ref names this source, so that Helm value files of other sources can say
	// $ref/path/in/this/source.
	// +optional
	Ref string `json:"ref,omitempty"`
	// Name is a name of this source for people and commands.
	// +optional
	Name string `json:"name,omitempty"`

	// Helm holds the options for a Helm chart.
	// +optional
	Helm *ApplicationSourceHelm `json:"helm,omitempty"`
	// Kustomize holds the options for a kustomization.
	// +optional
	Kustomize *ApplicationSourceKustomize `json:"kustomize,omitempty"`
	// Directory holds the options for a directory of manifests.
	// +optional
	Directory *ApplicationSourceDirectory `json:"directory,omitempty"`
	// Plugin holds the options for a config management plugin.
	// +optional
	Plugin *ApplicationSourcePlugin `json:"plugin,omitempty"`
	// Tofu holds the options for an OpenTofu or Terraform module.
	// +optional
	Tofu *ApplicationSourceTofu `json:"tofu,omitempty"`
}

// ApplicationSourceHelm holds the options for rendering a Helm chart.
type ApplicationSourceHelm struct {
	// ValueFiles are files of values, relative to the chart, or $ref/path, or a
	// URL. Later files go before earlier ones.
	// +optional
	ValueFiles []string `json:"valueFiles,omitempty"`
	// IgnoreMissingValueFiles skips value files that do not exist.
	// +optional
	IgnoreMissingValueFiles bool `json:"ignoreMissingValueFiles,omitempty"`
	// Values are values as a YAML text. valuesObject goes before them.
	// +optional
	Values string `json:"values,omitempty"`
	// ValuesObject are values as an object. They go before values and value files.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	ValuesObject *runtime.RawExtension `json:"valuesObject,omitempty"`
	// Parameters are single values, as helm's --set. They go before all others.
	// +optional
	Parameters []HelmParameter `json:"parameters,omitempty"`
	// FileParameters are single values read from files, as helm's --set-file.
	// +optional
	FileParameters []HelmFileParameter `json:"fileParameters,omitempty"`
	// ReleaseName is the name of the release. Default: the Application's name.
	// +optional
	ReleaseName string `json:"releaseName,omitempty"`
	// Namespace is the release namespace. Default: the destination's namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Version is the major version of Helm, such as v3.
	// +optional
	Version string `json:"version,omitempty"`
	// PassCredentials passes the credentials of the repository to the hosts of
	// all its charts.
	// +optional
	PassCredentials bool `json:"passCredentials,omitempty"`
	// SkipCrds leaves out the chart's crds directory.
	// +optional
	SkipCrds bool `json:"skipCrds,omitempty"`
	// SkipTests leaves out the chart's test hooks.
	// +optional
	SkipTests bool `json:"skipTests,omitempty"`
	// SkipSchemaValidation skips the check of the values against the chart's
	// schema.
	// +optional
	SkipSchemaValidation bool `json:"skipSchemaValidation,omitempty"`
	// KubeVersion is the Kubernetes version that the chart sees. Default: the
	// destination's.
	// +optional
	KubeVersion string `json:"kubeVersion,omitempty"`
	// APIVersions are the API versions that the chart sees, as
	// [group/]version/kind. Default: the destination's.
	// +optional
	APIVersions []string `json:"apiVersions,omitempty"`
}

// HelmParameter is one value, as helm's --set.
type HelmParameter struct {
	// Name is the path of the value, such as image.tag.
	// +optional
	Name string `json:"name,omitempty"`
	// Value is the value.
	// +optional
	Value string `json:"value,omitempty"`
	// ForceString keeps numbers and booleans as strings, as helm's --set-string.
	// +optional
	ForceString bool `json:"forceString,omitempty"`
}

// HelmFileParameter is one value that is the content of a file.
type HelmFileParameter struct {
	// Name is the path of the value.
	// +optional
	Name string `json:"name,omitempty"`
	// Path is the file, relative to the chart.
	// +optional
	Path string `json:"path,omitempty"`
}

// ApplicationSourceKustomize holds the options for building a kustomization.
type ApplicationSourceKustomize struct {
	// NamePrefix is put before the names of all resources.
	// +optional
	NamePrefix string `json:"namePrefix,omitempty"`
	// NameSuffix is put after the names of all resources.
	// +optional
	NameSuffix string `json:"nameSuffix,omitempty"`
	// Namespace is set on all namespaced resources.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Images replace images, each as [old=]new[:tag|@digest].
	// +optional
	Images KustomizeImages `json:"images,omitempty"`
	// Replicas set the number of replicas by resource name.
	// +optional
	Replicas KustomizeReplicas `json:"replicas,omitempty"`
	// CommonLabels are set on all resources.
	// +optional
	CommonLabels map[string]string `json:"commonLabels,omitempty"`
	// ForceCommonLabels replaces labels that are already there.
	// +optional
	ForceCommonLabels bool `json:"forceCommonLabels,omitempty"`
	// LabelWithoutSelector leaves selectors without the common labels.
	// +optional
	LabelWithoutSelector bool `json:"labelWithoutSelector,omitempty"`
	// LabelIncludeTemplates sets the common labels on templates also, where
	// selectors are left without.
	// +optional
	LabelIncludeTemplates bool `json:"labelIncludeTemplates,omitempty"`
	// CommonAnnotations are set on all resources.
	// +optional
	CommonAnnotations map[string]string `json:"commonAnnotations,omitempty"`
	// ForceCommonAnnotations replaces annotations that are already there.
	// +optional
	ForceCommonAnnotations bool `json:"forceCommonAnnotations,omitempty"`
	// CommonAnnotationsEnvsubst replaces build variables such as
	// $ARGOCD_APP_REVISION in the values of the common annotations.
	// +optional
	CommonAnnotationsEnvsubst bool `json:"commonAnnotationsEnvsubst,omitempty"`
	// Patches are applied to the result.
	// +optional
	Patches KustomizePatches `json:"patches,omitempty"`
	// Components are directories of kustomize components to add.
	// +optional
	Components []string `json:"components,omitempty"`
	// IgnoreMissingComponents skips components that do not exist.
	// +optional
	IgnoreMissingComponents bool `json:"ignoreMissingComponents,omitempty"`
	// Version chooses a configured version of kustomize.
	// +optional
	Version string `json:"version,omitempty"`
	// KubeVersion is the Kubernetes version that inflated Helm charts see.
	// +optional
	KubeVersion string `json:"kubeVersion,omitempty"`
	// APIVersions are the API versions that inflated Helm charts see.
	// +optional
	APIVersions []string `json:"apiVersions,omitempty"`
}

// KustomizeImage replaces one image: [old=]new[:tag|@digest].
type KustomizeImage string

// KustomizeImages is a list of image replacements.
type KustomizeImages []KustomizeImage

// KustomizeReplica sets the number of replicas of a resource.
type KustomizeReplica struct {
	// Name of the resource.
	Name string `json:"name"`
	// Count is the number of replicas, as a number or a text.
	Count intstr.IntOrString `json:"count"`
}

// KustomizeReplicas is a list of replica counts.
type KustomizeReplicas []KustomizeReplica

// KustomizePatch is a patch in the text, or in a file of the repository.
type KustomizePatch struct {
	// Path is the file that holds the patch, instead of patch.
	// +optional
	Path string `json:"path,omitempty"`
	// Patch is the patch itself: strategic merge or RFC 6902.
	// +optional
	Patch string `json:"patch,omitempty"`
	// Target selects the resources to patch.
	// +optional
	Target *KustomizeSelector `json:"target,omitempty"`
	// Options are kustomize's patch options: allowNameChange, allowKindChange.
	// +optional
	Options map[string]bool `json:"options,omitempty"`
}

// KustomizePatches is a list of patches.
type KustomizePatches []KustomizePatch

// KustomizeSelector selects resources by identity, labels and annotations.
type KustomizeSelector struct {
	KustomizeResId `json:",inline"`
	// AnnotationSelector selects by annotations.
	// +optional
	AnnotationSelector string `json:"annotationSelector,omitempty"`
	// LabelSelector selects by labels.
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`
}

// KustomizeResId identifies a resource. Its parts are regular expressions where
// it is a selector.
//
//nolint:revive // the name is Argo CD's and kustomize's
type KustomizeResId struct {
	KustomizeGvk `json:",inline"`
	// Name of the resource.
	// +optional
	Name string `json:"name,omitempty"`
	// Namespace of the resource.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// KustomizeGvk is a group, version and kind.
type KustomizeGvk struct {
	// Group is the API group.
	// +optional
	Group string `json:"group,omitempty"`
	// Version is the API version.
	// +optional
	Version string `json:"version,omitempty"`
	// Kind is the kind.
	// +optional
	Kind string `json:"kind,omitempty"`
}

// ApplicationSourceDirectory holds the options for a directory of manifests.
type ApplicationSourceDirectory struct {
	// Recurse reads the directories below, too.
	// +optional
	Recurse bool `json:"recurse,omitempty"`
	// Include is a glob of the files to read; {a,b} gives several.
	// +optional
	Include string `json:"include,omitempty"`
	// Exclude is a glob of the files to leave out.
	// +optional
	Exclude string `json:"exclude,omitempty"`
	// Jsonnet holds the options for Jsonnet files.
	// +optional
	Jsonnet ApplicationSourceJsonnet `json:"jsonnet,omitempty,omitzero"`
}

// ApplicationSourceJsonnet holds the options for evaluating Jsonnet.
type ApplicationSourceJsonnet struct {
	// ExtVars are external variables.
	// +optional
	ExtVars []JsonnetVar `json:"extVars,omitempty"`
	// TLAs are top-level arguments.
	// +optional
	TLAs []JsonnetVar `json:"tlas,omitempty"`
	// Libs are further library directories, relative to the repository.
	// +optional
	Libs []string `json:"libs,omitempty"`
}

// JsonnetVar is one variable for Jsonnet.
type JsonnetVar struct {
	// Name of the variable.
	Name string `json:"name"`
	// Value of the variable.
	Value string `json:"value"`
	// Code says that the value is Jsonnet code, not a string.
	// +optional
	Code bool `json:"code,omitempty"`
}

// ApplicationSourcePlugin holds the options for a config management plugin.
type ApplicationSourcePlugin struct {
	// Name of the plugin. Without it the plugin is found by its own rules.
	// +optional
	Name string `json:"name,omitempty"`
	// Env are environment variables for the plugin.
	// +optional
	Env Env `json:"env,omitempty"`
	// Parameters are the plugin's parameters.
	// +optional
	Parameters ApplicationSourcePluginParameters `json:"parameters,omitempty"`
}

// EnvEntry is one environment variable.
type EnvEntry struct {
	// Name of the variable.
	Name string `json:"name"`
	// Value of the variable.
	Value string `json:"value"`
}

// Env is a list of environment variables.
type Env []EnvEntry

// ApplicationSourcePluginParameter is one parameter of a plugin, with a string,
// an array or a map for its value.
type ApplicationSourcePluginParameter struct {
	// Name of the parameter.
	// +optional
	Name string `json:"name,omitempty"`
	// String is the value of a string parameter.
	// +optional
	String *string `json:"string,omitempty"`
	// Map is the value of a map parameter. An empty map is not the same as none.
	// +optional
	Map map[string]string `json:"map,omitzero"`
	// Array is the value of an array parameter. An empty array is not the same as
	// none.
	// +optional
	Array []string `json:"array,omitzero"`
}

// ApplicationSourcePluginParameters is a list of plugin parameters.
type ApplicationSourcePluginParameters []ApplicationSourcePluginParameter

// SourceHydrator renders a dry source and keeps the result in a sync source.
type SourceHydrator struct {
	// DrySource is what is rendered.
	DrySource DrySource `json:"drySource"`
	// SyncSource is what is applied: the branch that holds the rendered manifests.
	SyncSource SyncSource `json:"syncSource"`
	// HydrateTo is another branch to push the rendered manifests to first, from
	// which somebody brings them to the sync source.
	// +optional
	HydrateTo *HydrateTo `json:"hydrateTo,omitempty"`
}

// DrySource is a source that is rendered before it is kept.
type DrySource struct {
	// RepoURL is the URL of the Git repository.
	RepoURL string `json:"repoURL"`
	// TargetRevision is the branch, tag or commit.
	TargetRevision string `json:"targetRevision"`
	// Path is the directory within the repository.
	Path string `json:"path"`
	// Helm holds the options for a Helm chart.
	// +optional
	Helm *ApplicationSourceHelm `json:"helm,omitempty"`
	// Kustomize holds the options for a kustomization.
	// +optional
	Kustomize *ApplicationSourceKustomize `json:"kustomize,omitempty"`
	// Directory holds the options for a directory of manifests.
	// +optional
	Directory *ApplicationSourceDirectory `json:"directory,omitempty"`
	// Plugin holds the options for a config management plugin.
	// +optional
	Plugin *ApplicationSourcePlugin `json:"plugin,omitempty"`
}

// SyncSource is where rendered manifests are applied from.
type SyncSource struct {
	// RepoURL is the repository. Default: that of the dry source.
	// +optional
	RepoURL string `json:"repoURL,omitempty"`
	// TargetBranch is the branch.
	TargetBranch string `json:"targetBranch"`
	// Path is the directory within the repository; not its root.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:Pattern=`^.{2,}|[^./]$`
	Path string `json:"path"`
}

// HydrateTo is where rendered manifests are pushed to.
type HydrateTo struct {
	// TargetBranch is the branch.
	TargetBranch string `json:"targetBranch"`
}
