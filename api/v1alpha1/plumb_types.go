package v1alpha1

// ApplicationRef names an Application.
type ApplicationRef struct {
	// Group is the API group of the Application: plumb.dev or argoproj.io.
	// Default: that of the Application that refers to it.
	// +optional
	// +kubebuilder:validation:Enum="plumb.dev";"argoproj.io"
	Group string `json:"group,omitempty"`
	// Namespace of the Application. Default: that of the Application that refers
	// to it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// Name of the Application.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Input is a value that comes from an output of another Application.
type Input struct {
	// Name of the value within this Application: the name of a Helm parameter, of
	// a variable.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// From is where the value comes from.
	From InputSource `json:"from"`
}

// InputSource names an output of an Application.
type InputSource struct {
	// Application that has the output. It is depended on.
	Application ApplicationRef `json:"application"`
	// Output is the name of the output.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Output string `json:"output"`
}

// TofuTool is the program that plans and applies modules.
// +kubebuilder:validation:Enum=tofu;terraform
type TofuTool string

// The programs that plan and apply modules.
const (
	TofuToolTofu      TofuTool = "tofu"
	TofuToolTerraform TofuTool = "terraform"
)

// ApplicationSourceTofu holds the options for an OpenTofu or Terraform module.
type ApplicationSourceTofu struct {
	// Tool is the program to use. Default: tofu, or terraform where only that is
	// installed.
	// +optional
	Tool TofuTool `json:"tool,omitempty"`
	// Vars are values of input variables. A value that is not a string is written
	// in the syntax of the language, such as ["a", "b"].
	// +optional
	Vars map[string]string `json:"vars,omitempty"`
	// VarFiles are files of values, relative to the module.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	VarFiles []string `json:"varFiles,omitempty"`
	// VarsFrom are values from Secrets and ConfigMaps of the Application's
	// namespace.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	VarsFrom []TofuVarsFrom `json:"varsFrom,omitempty"`
	// Env are environment variables for the providers.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Env Env `json:"env,omitempty"`
	// EnvFrom are environment variables for the providers from Secrets and
	// ConfigMaps of the Application's namespace, such as the credentials of a
	// cloud. Env goes before them.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	EnvFrom []TofuVarsFrom `json:"envFrom,omitempty"`
	// Backend are settings of the module's own backend (-backend-config). Without
	// a backend of its own, a module's state is kept by Plumb.
	// +optional
	Backend map[string]string `json:"backend,omitempty"`
	// Workspace is the workspace. Default: "default".
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Workspace string `json:"workspace,omitempty"`
	// Parallelism is how many resources are handled at the same time.
	// Default: 10.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	Parallelism int32 `json:"parallelism,omitempty"`
	// Targets limits plans to some resource addresses.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Targets []string `json:"targets,omitempty"`
	// Outputs says where the module's outputs are written to. Default: those that
	// are not sensitive to the Application's status.
	// +optional
	Outputs *TofuOutputs `json:"outputs,omitempty"`
}

// TofuOutputs says where a module's outputs are written to.
type TofuOutputs struct {
	// Secret of the Application's namespace that all outputs are written to, those
	// too that are sensitive. A value that is not a string is written as JSON.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Secret string `json:"secret,omitempty"`
	// Status says whether outputs that are not sensitive are written to the
	// Application's status. Default: true.
	// +optional
	Status *bool `json:"status,omitempty"`
	// Names limits all this to some outputs. Default: all.
	// +optional
	// +kubebuilder:validation:MaxItems=200
	Names []string `json:"names,omitempty"`
}

// TofuVarsFrom takes the keys of a Secret or ConfigMap as values of variables.
//
// +kubebuilder:validation:XValidation:rule="has(self.secret) != has(self.configMap)",message="set exactly one of secret and configMap"
type TofuVarsFrom struct {
	// Secret is the name of a Secret.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Secret string `json:"secret,omitempty"`
	// ConfigMap is the name of a ConfigMap.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ConfigMap string `json:"configMap,omitempty"`
	// Keys are the keys to take. Default: all.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Keys []string `json:"keys,omitempty"`
}

// ApprovalWhen says which plans need approval.
// +kubebuilder:validation:Enum=always;destructive;drift;never
type ApprovalWhen string

// When approval is needed.
const (
	// ApproveAlways asks for an approval of every plan.
	ApproveAlways ApprovalWhen = "always"
	// ApproveDestructive asks only where something is deleted or replaced.
	ApproveDestructive ApprovalWhen = "destructive"
	// ApproveDrift asks only where drift is put right.
	ApproveDrift ApprovalWhen = "drift"
	// ApproveNever asks for none.
	ApproveNever ApprovalWhen = "never"
)

// ApprovalPolicy asks people to approve plans before they are applied.
type ApprovalPolicy struct {
	// When says which plans need approval: always, destructive (something is
	// deleted or replaced), drift (drift is put right) or never. Default: always.
	// +optional
	When ApprovalWhen `json:"when,omitempty"`
	// Required turns approval on and off. Default: true.
	// +optional
	Required *bool `json:"required,omitempty"`
	// Approvers are who may approve. Default: whoever may approve in the project.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Approvers []Approver `json:"approvers,omitempty"`
	// MinApprovals is how many people must approve. Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MinApprovals int32 `json:"minApprovals,omitempty"`
	// NotAuthor says that who has made the change may not approve it. Default: true.
	// +optional
	NotAuthor *bool `json:"notAuthor,omitempty"`
	// ValidFor is how long an approval holds, such as 8h. What was not begun by then
	// is asked for again. Default: 24h.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(s|m|h))+$`
	ValidFor string `json:"validFor,omitempty"`
	// PullRequest takes a merged pull request for the approval of what has come by it,
	// where minApprovals people who may write to the repository have approved what was
	// merged. It does not where the policy names approvers. Default: false.
	// +optional
	PullRequest *bool `json:"pullRequest,omitempty"`
}

// Approver is a person or a group that may approve.
//
// +kubebuilder:validation:XValidation:rule="has(self.user) != has(self.group)",message="set exactly one of user and group"
type Approver struct {
	// User is a user name, as the API server sees it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	User string `json:"user,omitempty"`
	// Group is a group name, as the API server sees it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// DriftAction is what happens when the destination differs from what was applied.
// +kubebuilder:validation:Enum=revert;report;ignore;adopt
type DriftAction string

// The answers to drift.
const (
	// DriftRevert puts back what is declared.
	DriftRevert DriftAction = "revert"
	// DriftReport shows the drift and leaves it.
	DriftReport DriftAction = "report"
	// DriftIgnore leaves the drift and does not show it.
	DriftIgnore DriftAction = "ignore"
	// DriftAdopt proposes the live value to Git.
	DriftAdopt DriftAction = "adopt"
)

// DriftPolicy says what happens when the destination is changed behind Plumb's
// back.
type DriftPolicy struct {
	// Default is the answer where no rule matches. Default: revert with
	// automated.selfHeal, else report.
	// +optional
	Default DriftAction `json:"default,omitempty"`
	// Interval is how often destinations that cannot be watched are probed, such
	// as 10m.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Interval string `json:"interval,omitempty"`
	// Rules are answers for some resources or fields. The first that matches
	// counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Rules []DriftRule `json:"rules,omitempty"`
}

// DriftRule is the answer to drift of some resources or fields.
type DriftRule struct {
	// Group is the API group of the resources; "*" is any. Empty is the core group
	// when a kind is given, else any.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
	// Kind is the kind of the resources. Empty or "*" is any.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// Name of the resource; a glob. Empty is any.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Namespace of the resource; a glob. Empty is any.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// JSONPointers limits the rule to fields, by RFC 6901 pointer. Empty is the
	// whole resource, its deletion included.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^/`
	JSONPointers []string `json:"jsonPointers,omitempty"`
	// Action is the answer.
	Action DriftAction `json:"action"`
}
