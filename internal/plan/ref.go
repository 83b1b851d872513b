// Package plan holds what Plumb intends to do: changes on resources, their
// order, why one of them has to wait, and a digest by which a plan is known.
// It is pure: it does no I/O, reads no clock, and knows no driver.
package plan

import "strings"

// Address names one managed resource inside an Application, in its driver's
// own words: "apps/Deployment/shop/web", "module.net.aws_vpc.main".
type Address string

// Ref is a resource's name in parts. Kubernetes uses all of them; a driver
// without groups and namespaces uses Kind for the type and Name for the address.
type Ref struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Address is the identity of the resource: everything but the version.
// A core Kubernetes kind has no group ("ConfigMap/shop/web"), a cluster-scoped
// one no namespace ("rbac.authorization.k8s.io/ClusterRole/view").
func (r Ref) Address() Address {
	parts := make([]string, 0, 4)
	for _, p := range []string{r.Group, r.Kind, r.Namespace, r.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return Address(strings.Join(parts, "/"))
}

// ParseAddress is the inverse of Ref.Address for Kubernetes resources (the
// version is not part of it). The first part is a group unless it begins with
// an upper-case letter, as every kind does and no group may.
func ParseAddress(a Address) (Ref, bool) {
	parts := strings.Split(string(a), "/")
	var r Ref
	if len(parts) > 0 && parts[0] != "" && (parts[0][0] < 'A' || parts[0][0] > 'Z') {
		r.Group, parts = parts[0], parts[1:]
	}
	switch len(parts) {
	case 2:
		r.Kind, r.Name = parts[0], parts[1]
	case 3:
		r.Kind, r.Namespace, r.Name = parts[0], parts[1], parts[2]
	default:
		return Ref{}, false
	}
	return r, r.Kind != "" && r.Name != ""
}
