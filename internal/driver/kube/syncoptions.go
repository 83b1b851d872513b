package kube

import (
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// syncOptions are Argo CD's, of an Application or of one resource.
type syncOptions struct {
	createNamespace  bool
	replace, force   bool
	noValidate       bool
	noMigration      bool
	pruneLast        bool
	skipMissing      bool
	respectIgnore    bool
	ignoreExtraneous bool
	prune, delete    string // "", "false" or "confirm"
	propagation      string
	keepByHelm       bool
}

// with gives the options with a list of "Option=value" over them.
func (o syncOptions) with(list []string) syncOptions {
	for _, item := range list {
		name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		on := value == "true"
		switch name {
		case v1alpha1.SyncOptionCreateNamespace:
			o.createNamespace = on
		case v1alpha1.SyncOptionReplace:
			o.replace = on
		case v1alpha1.SyncOptionForce:
			o.force = on
		case v1alpha1.SyncOptionValidate:
			o.noValidate = value == "false"
		case v1alpha1.SyncOptionClientSideApplyMigration:
			o.noMigration = value == "false"
		case v1alpha1.SyncOptionPruneLast:
			o.pruneLast = on
		case v1alpha1.SyncOptionSkipDryRunOnMissing:
			o.skipMissing = on
		case v1alpha1.SyncOptionRespectIgnoreDifferences:
			o.respectIgnore = on
		case v1alpha1.SyncOptionPrune:
			o.prune = guardValue(value)
		case v1alpha1.SyncOptionDelete:
			o.delete = guardValue(value)
		case v1alpha1.SyncOptionPrunePropagationPolicy:
			o.propagation = value
		}
	}
	return o
}

func guardValue(s string) string {
	if s == "false" || s == "confirm" {
		return s
	}
	return ""
}

// of gives the options for one resource, by its annotations.
func (o syncOptions) of(annotations map[string]string) syncOptions {
	if s := annotation(annotations, v1alpha1.NameSyncOptions); s != "" {
		o = o.with(strings.Split(s, ","))
	}
	if s := annotation(annotations, v1alpha1.NameCompareOptions); s != "" {
		for _, item := range strings.Split(s, ",") {
			if strings.TrimSpace(item) == "IgnoreExtraneous" {
				o.ignoreExtraneous = true
			}
		}
	}
	o.keepByHelm = annotations["helm.sh/resource-policy"] == "keep"
	return o
}

// guard says why a resource must not be deleted without more ado. Approved is
// whether deletions that ask for a confirmation have got it.
func (o syncOptions) guard(deleting, approved bool) string {
	name, value := v1alpha1.SyncOptionPrune, o.prune
	if deleting {
		name, value = v1alpha1.SyncOptionDelete, o.delete
	}
	switch {
	case o.keepByHelm:
		return "helm.sh/resource-policy: keep"
	case value == "" || value == "confirm" && approved:
		return ""
	}
	return name + "=" + value
}

// keeps tells whether the resource stays when its Application goes.
func (o syncOptions) keeps() bool { return o.delete == "false" || o.keepByHelm }

// annotation reads one of Argo CD's annotations, by Plumb's own prefix first.
func annotation(annotations map[string]string, name string) string {
	if v, ok := annotations[v1alpha1.PlumbPrefix+name]; ok {
		return v
	}
	return annotations[v1alpha1.ArgoPrefix+name]
}
