package localkube_test

import (
	"context"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// TestWorkloads shows that objects come to the state that they would come to in
// a cluster with real machines.
func TestWorkloads(t *testing.T) {
	cases := map[string]struct {
		reason   string
		resource schema.GroupVersionResource
		manifest string
		path     []string // of the number in the object
		want     int64
	}{
		"Deployment": {
			reason:   "its pods become ready",
			resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
			manifest: `{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 2, selector: {matchLabels: {a: b}},
				template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}`,
			path: []string{"status", "availableReplicas"},
			want: 2,
		},
		"DeploymentThatFails": {
			reason:   "the annotation asks for a failure",
			resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
			manifest: `{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 1, selector: {matchLabels: {a: b}},
				template: {metadata: {labels: {a: b}, annotations: {plumb.dev/simulate: fail}}, spec: {containers: [{name: c, image: i}]}}}}`,
			path: []string{"status", "unavailableReplicas"},
			want: 1,
		},
		"StatefulSetWithVolumes": {
			reason:   "its claims are bound to simulated volumes",
			resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"},
			manifest: `{apiVersion: apps/v1, kind: StatefulSet, spec: {replicas: 2, serviceName: s, selector: {matchLabels: {a: c}},
				template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i, volumeMounts: [{name: d, mountPath: /d}]}]}},
				volumeClaimTemplates: [{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}}`,
			path: []string{"status", "readyReplicas"},
			want: 2,
		},
		"DaemonSet": {
			reason:   "it runs on each of the two nodes",
			resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"},
			manifest: `{apiVersion: apps/v1, kind: DaemonSet, spec: {selector: {matchLabels: {a: d}},
				template: {metadata: {labels: {a: d}}, spec: {containers: [{name: c, image: i}]}}}}`,
			path: []string{"status", "numberReady"},
			want: 2,
		},
		"Job": {
			reason:   "its pods complete",
			resource: schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"},
			manifest: `{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}`,
			path:     []string{"status", "succeeded"},
			want:     1,
		},
		"HorizontalPodAutoscaler": {
			reason:   "there is nothing to measure, which must not look like a fault",
			resource: schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
			manifest: `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {minReplicas: 3, maxReplicas: 5,
				scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}}}`,
			path: []string{"status", "desiredReplicas"},
			want: 3,
		},
		"JobThatFails": {
			reason:   "the annotation asks for a failure",
			resource: schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"},
			manifest: `{apiVersion: batch/v1, kind: Job, spec: {backoffLimit: 0, template: {metadata: {annotations: {plumb.dev/simulate: fail}},
				spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}`,
			path: []string{"status", "failed"},
			want: 1,
		},
	}
	client, err := dynamic.NewForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(tc.manifest), object); err != nil {
				t.Fatal(err)
			}
			object.SetName("it")
			objects := client.Resource(tc.resource).Namespace(kubetest.Namespace(t))
			if _, err := objects.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, fmt.Sprintf("%v is %d: %s", tc.path, tc.want, tc.reason), func() bool {
				live, err := objects.Get(t.Context(), "it", metav1.GetOptions{})
				if err != nil {
					return false
				}
				got, _, _ := unstructured.NestedInt64(live.Object, tc.path...)
				return got == tc.want
			})
		})
	}
}

func TestDeletedNamespaceGoes(t *testing.T) {
	t.Parallel()
	client := clientFor(t, kubetest.Config(t))
	namespace := kubetest.Namespace(t)
	pods, err := dynamic.NewForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	pod := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`{apiVersion: v1, kind: Pod, metadata: {name: it}, spec: {containers: [{name: c, image: i}]}}`), pod); err != nil {
		t.Fatal(err)
	}
	resource := pods.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(namespace)
	if _, err := resource.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace is gone with its pod", func() bool {
		_, err := client.CoreV1().Namespaces().Get(context.Background(), namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}
