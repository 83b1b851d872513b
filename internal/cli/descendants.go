package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver/kube/assess"
)

// whole are the kinds that descendants of built-in kinds are of. They are read
// whole, for their health.
var whole = []schema.GroupVersionKind{
	{Version: "v1", Kind: "Pod"},
	{Group: "apps", Version: "v1", Kind: "ReplicaSet"},
	{Group: "batch", Version: "v1", Kind: "Job"},
	{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
}

// builtin are the groups whose controllers make nothing but the kinds above.
var builtin = []string{"", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "rbac.authorization.k8s.io", "discovery.k8s.io", "storage.k8s.io", "scheduling.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "coordination.k8s.io"}

// destination gives the connection to where an Application goes: the control
// plane itself, or a cluster that the kubeconfig has a context for.
func (k *connection) destination(a application) (*connection, error) {
	d := a.Spec.Destination
	if cmp.Or(d.Server, v1alpha1.InClusterServer) == v1alpha1.InClusterServer && cmp.Or(d.Name, v1alpha1.InClusterName) == v1alpha1.InClusterName {
		return k, nil
	}
	loader, _ := k.loader()
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	for name, context := range raw.Contexts {
		cluster := raw.Clusters[context.Cluster]
		if cluster == nil || d.Server != "" && strings.TrimRight(cluster.Server, "/") != strings.TrimRight(d.Server, "/") || d.Server == "" && name != d.Name {
			continue
		}
		config, err := clientcmd.NewDefaultClientConfig(raw, &clientcmd.ConfigOverrides{CurrentContext: name}).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("read the context %s: %w", name, err)
		}
		other := &connection{env: k.env, context: name}
		return other, other.use(config)
	}
	return nil, fmt.Errorf("your kubeconfig has no context for the destination %s", destinationText(a))
}

// found is a live object as far as it matters to the tree.
type found struct {
	branch *branch
	uid    types.UID
	owners []types.UID
}

// graft hangs below resources what has them as owners.
func (k *connection) graft(ctx context.Context, roots []*branch) error {
	kinds, err := k.descendantKinds(roots)
	if err != nil {
		return k.explain(err)
	}
	owners := map[types.UID]*branch{}
	var objects []found
	for _, namespace := range namespaces(roots) {
		for _, kind := range kinds {
			listed, err := k.listKind(ctx, kind, namespace)
			if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil {
				return k.explain(err)
			}
			objects = append(objects, listed...)
		}
	}
	for _, o := range objects {
		owners[o.uid] = o.branch
	}
	if err := k.rootOwners(ctx, roots, objects, owners); err != nil {
		return k.explain(err)
	}
	for _, o := range objects {
		for _, uid := range o.owners {
			if parent := owners[uid]; parent != nil && parent != o.branch && !dead(o) {
				parent.Children = append(parent.Children, o.branch)
				break
			}
		}
	}
	return nil
}

// dead tells whether an object is an old ReplicaSet without pods.
func dead(o found) bool { return o.branch.Kind == "ReplicaSet" && o.branch.Message == scaledDown }

const scaledDown = "scaled down"

// rootOwners finds the uids of the roots: by their names in the owner
// references of the objects, which say both.
func (k *connection) rootOwners(ctx context.Context, roots []*branch, objects []found, owners map[types.UID]*branch) error {
	for _, root := range roots {
		for _, o := range objects {
			b := o.branch
			if b.Group == root.Group && b.Kind == root.Kind && b.Namespace == root.Namespace && b.Name == root.Name {
				owners[o.uid] = root
			}
		}
	}
	mapper := map[schema.GroupKind]schema.GroupVersionResource{}
	lists, err := k.preferred()
	if err != nil {
		return err
	}
	for gvk, r := range lists {
		mapper[gvk.GroupKind()] = r
	}
	client, err := k.metadata()
	if err != nil {
		return err
	}
	for _, root := range roots {
		r, ok := mapper[schema.GroupKind{Group: root.Group, Kind: root.Kind}]
		if !ok {
			continue
		}
		live, err := client.Resource(r).Namespace(root.Namespace).Get(ctx, root.Name, metav1.GetOptions{})
		if err != nil {
			continue // it is not there, or not for these eyes
		}
		created := live.CreationTimestamp
		root.Created = &created
		owners[live.UID] = root
	}
	return nil
}

func namespaces(roots []*branch) []string {
	var all []string
	for _, r := range roots {
		if r.Namespace != "" && !slices.Contains(all, r.Namespace) {
			all = append(all, r.Namespace)
		}
	}
	return all
}

// descendantKinds are the kinds that descendants may be of: the usual ones, and
// where a root is of a custom kind, all that the destination has.
func (k *connection) descendantKinds(roots []*branch) ([]schema.GroupVersionKind, error) {
	custom := slices.ContainsFunc(roots, func(b *branch) bool { return !slices.Contains(builtin, b.Group) })
	if !custom {
		return whole, nil
	}
	served, err := k.preferred()
	if err != nil {
		return nil, err
	}
	kinds := slices.Clone(whole)
	for gvk := range served {
		if gvk.Kind != "Event" && !slices.ContainsFunc(whole, func(w schema.GroupVersionKind) bool { return w.GroupKind() == gvk.GroupKind() }) {
			kinds = append(kinds, gvk)
		}
	}
	return kinds, nil
}

// preferred gives the kinds that are served, each in its preferred version.
func (k *connection) preferred() (map[schema.GroupVersionKind]schema.GroupVersionResource, error) {
	if k.served != nil {
		return k.served, nil
	}
	client, err := k.discovery()
	if err != nil {
		return nil, err
	}
	lists, err := client.ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, err
	}
	k.served = map[schema.GroupVersionKind]schema.GroupVersionResource{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") && slices.Contains(r.Verbs, "list") {
				k.served[gv.WithKind(r.Kind)] = gv.WithResource(r.Name)
			}
		}
	}
	return k.served, nil
}

// listKind lists the objects of a kind in a namespace: whole where their health
// is wanted, else their metadata only.
func (k *connection) listKind(ctx context.Context, gvk schema.GroupVersionKind, namespace string) ([]found, error) {
	if slices.Contains(whole, gvk) {
		return k.listWhole(ctx, gvk, namespace)
	}
	served, err := k.preferred()
	if err != nil {
		return nil, err
	}
	client, err := k.metadata()
	if err != nil {
		return nil, err
	}
	list, err := client.Resource(served[gvk]).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var all []found
	for i := range list.Items {
		all = append(all, newFound(gvk, &list.Items[i]))
	}
	return all, nil
}

func (k *connection) listWhole(ctx context.Context, gvk schema.GroupVersionKind, namespace string) ([]found, error) {
	r := schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: strings.ToLower(gvk.Kind) + "s"}
	list, err := k.dynamic.Resource(r).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	assessor := assess.New()
	var all []found
	for i := range list.Items {
		f := newFound(gvk, &list.Items[i])
		h, known := assessor.Check(&list.Items[i])
		if known {
			f.branch.Health, f.branch.Message = string(h.Status), h.Message
		}
		if replicas, ok, _ := unstructured.NestedInt64(list.Items[i].Object, "spec", "replicas"); gvk.Kind == "ReplicaSet" && ok && replicas == 0 {
			f.branch.Message = scaledDown
		}
		all = append(all, f)
	}
	return all, nil
}

func newFound(gvk schema.GroupVersionKind, o metav1.Object) found {
	created := o.GetCreationTimestamp()
	f := found{uid: o.GetUID(), branch: &branch{
		Group: gvk.Group, Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), Created: &created,
	}}
	for _, owner := range o.GetOwnerReferences() {
		f.owners = append(f.owners, owner.UID)
	}
	return f
}
