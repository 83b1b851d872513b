package kube

import "github.com/plumb-dev/plumb/internal/plan"

// Tiers inside a wave: what others need to exist goes first, what would get in
// the way of others goes last. Within a tier all go at once.
const (
	tierNamespace = iota
	tierDefinition
	tierConfig
	tierWorkload
	tierInterceptor
	// tierDelete comes after all that is made in the same wave.
	tierDelete
)

var coreConfig = map[string]bool{
	"ServiceAccount": true, "Secret": true, "ConfigMap": true, "LimitRange": true, "ResourceQuota": true,
	"PersistentVolume": true, "PersistentVolumeClaim": true,
}

var groupConfig = map[string]map[string]bool{
	"rbac.authorization.k8s.io": {"Role": true, "ClusterRole": true},
	"storage.k8s.io":            {"StorageClass": true, "CSIDriver": true},
	"scheduling.k8s.io":         {"PriorityClass": true},
	"networking.k8s.io":         {"IngressClass": true, "NetworkPolicy": true},
	"policy":                    {"PodSecurityPolicy": true},
}

// tierOf gives the tier in which a resource is made.
func tierOf(r plan.Ref) int {
	switch r.Group {
	case "":
		if r.Kind == "Namespace" {
			return tierNamespace
		}
		if coreConfig[r.Kind] {
			return tierConfig
		}
	case "apiextensions.k8s.io":
		return tierDefinition
	case "admissionregistration.k8s.io", "apiregistration.k8s.io":
		return tierInterceptor
	}
	if groupConfig[r.Group][r.Kind] {
		return tierConfig
	}
	return tierWorkload
}

// deletionTier gives the tier in which a resource is deleted: the reverse.
func deletionTier(r plan.Ref) int { return tierDelete + tierInterceptor - tierOf(r) }
