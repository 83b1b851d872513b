package localkube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// SimulatedLabel marks the nodes (and whatever else) that are simulated.
	SimulatedLabel = "plumb.dev/simulated"

	kwokUser         = "plumb:kwok"
	simulatedStorage = "simulated"
)

// createSimulation creates the objects that the simulation needs: the nodes,
// the rights of the program that plays their kubelets, and a storage class. A
// node or a class that is there already is left alone.
func (c *Cluster) createSimulation(ctx context.Context) error {
	role, binding := kwokRole()
	if err := c.applyRole(ctx, role); err != nil {
		return fmt.Errorf("create the role of the simulated nodes: %w", err)
	}
	if _, err := c.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the role binding of the simulated nodes: %w", err)
	}
	if _, err := c.client.StorageV1().StorageClasses().Create(ctx, simulatedStorageClass(), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the simulated storage class: %w", err)
	}
	for i := range c.opts.Nodes {
		if _, err := c.client.CoreV1().Nodes().Create(ctx, simulatedNode(i), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create the simulated node %d: %w", i, err)
		}
	}
	return nil
}

// applyRole makes the role what this version of Plumb needs.
func (c *Cluster) applyRole(ctx context.Context, role *rbacv1.ClusterRole) error {
	roles := c.client.RbacV1().ClusterRoles()
	_, err := roles.Create(ctx, role, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
	}
	return err
}

func simulatedNode(i int) *corev1.Node {
	name := fmt.Sprintf("simulated-%d", i)
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			"type":                             "kwok",
			SimulatedLabel:                     "true",
			"kubernetes.io/arch":               "amd64",
			"kubernetes.io/hostname":           name,
			"kubernetes.io/os":                 "linux",
			"kubernetes.io/role":               "simulated", // shown by kubectl get nodes
			"topology.kubernetes.io/region":    "simulated",
			"topology.kubernetes.io/zone":      fmt.Sprintf("simulated-%d", i),
			"node.kubernetes.io/instance-type": "simulated",
		},
		Annotations: map[string]string{
			"kwok.x-k8s.io/node":    "fake",
			"plumb.dev/description": "simulated by KWOK: pods are scheduled here and become ready, but nothing runs",
		},
	}}
}

func simulatedStorageClass() *storagev1.StorageClass {
	reclaim, mode := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:        simulatedStorage,
			Labels:      map[string]string{SimulatedLabel: "true"},
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner:       SimulatedLabel,
		ReclaimPolicy:     &reclaim,
		VolumeBindingMode: &mode,
	}
}

// kwokRole is what the program that plays the kubelets may do.
func kwokRole() (*rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding) {
	meta := metav1.ObjectMeta{Name: kwokUser, Labels: map[string]string{SimulatedLabel: "true"}}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes", "pods", "persistentvolumes"},
			Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"persistentvolumeclaims", "services"},
			Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"nodes/status", "pods/status", "services/status"},
			Verbs: []string{"update", "patch"}},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses"},
			Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses/status"},
			Verbs: []string{"update", "patch"}},
		{APIGroups: []string{"autoscaling"}, Resources: []string{"horizontalpodautoscalers"},
			Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"autoscaling"}, Resources: []string{"horizontalpodautoscalers/status"},
			Verbs: []string{"update", "patch"}},
		{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"},
			Verbs: []string{"create", "update", "patch"}},
	}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: kwokUser},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: kwokUser}},
	}
	return role, binding
}

// awaitNodes waits until the simulated nodes are ready.
func (c *Cluster) awaitNodes(ctx context.Context) error {
	return poll(ctx, "the simulated nodes", func() error {
		nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: SimulatedLabel + "=true"})
		if err != nil {
			return err
		}
		ready := 0
		for i := range nodes.Items {
			if isReady(&nodes.Items[i]) {
				ready++
			}
		}
		if ready < c.opts.Nodes {
			return fmt.Errorf("%d of %d are ready", ready, c.opts.Nodes)
		}
		return nil
	})
}

func isReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// poll asks until there is no error, and returns the last one when ctx or the
// patience ends.
func poll(ctx context.Context, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		last := ask()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (%w)", what, last, ctx.Err())
		case <-tick.C:
		}
	}
}

// hasDefaultServiceAccount tells whether the controllers work: it is the first
// thing they do for a new cluster, and without it no pod can be created.
func hasDefaultServiceAccount(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err
}
