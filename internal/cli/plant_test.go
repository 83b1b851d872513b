package cli

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// canary is a Secret's value that no output may hold.
const canary = "canary-7f3a9c"

// plant creates a Deployment with what its controllers would make of it, and a
// Secret.
func (w *world) plant() {
	w.t.Helper()
	client, err := w.k.typed()
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, labels := w.t.Context(), map[string]string{"app": "web"}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
	}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	deployment, err := client.AppsV1().Deployments(w.namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template},
	}, metav1.CreateOptions{})
	must(w.t, err)
	owned := func(name, owner string, o metav1.Object) metav1.ObjectMeta {
		yes := true
		return metav1.ObjectMeta{Name: name, Labels: labels, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: owner, Name: o.GetName(), UID: o.GetUID(), Controller: &yes,
		}}}
	}
	zero := int32(0)
	_, err = client.AppsV1().ReplicaSets(w.namespace).Create(ctx, &appsv1.ReplicaSet{
		ObjectMeta: owned("web-0", "Deployment", deployment), Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template, Replicas: &zero},
	}, metav1.CreateOptions{})
	must(w.t, err)
	set, err := client.AppsV1().ReplicaSets(w.namespace).Create(ctx, &appsv1.ReplicaSet{
		ObjectMeta: owned("web-1", "Deployment", deployment), Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template},
	}, metav1.CreateOptions{})
	must(w.t, err)
	no := false
	spec := template.Spec
	spec.AutomountServiceAccountToken = &no
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err = client.CoreV1().ServiceAccounts(w.namespace).Create(ctx, account, metav1.CreateOptions{})
	must(w.t, err)
	_, err = client.CoreV1().Pods(w.namespace).Create(ctx, &corev1.Pod{ObjectMeta: owned("web-1-a", "ReplicaSet", set), Spec: spec}, metav1.CreateOptions{})
	must(w.t, err)
	_, err = client.CoreV1().Secrets(w.namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"password": canary},
	}, metav1.CreateOptions{})
	must(w.t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
