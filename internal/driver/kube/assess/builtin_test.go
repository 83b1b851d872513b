package assess

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/health"
)

type builtinCase struct {
	reason string
	object string
	want   health.Health
}

func object(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(raw); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return obj
}

func assessAll(t *testing.T, a *Assessor, cases map[string]builtinCase) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			obj := object(t, c.object)
			before := obj.DeepCopy()
			if diff := cmp.Diff(c.want, a.Health(obj)); diff != "" {
				t.Errorf("%s (-want, +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(before.Object, obj.Object); diff != "" {
				t.Errorf("the object was changed:\n%s", diff)
			}
		})
	}
}

func TestWorkloads(t *testing.T) {
	const deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, generation: 2}, "
	const stateful = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, generation: 2}, "
	const daemon = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: log, generation: 1}, "
	const replicas = "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: rs, generation: 1}, "
	assessAll(t, New(), map[string]builtinCase{
		"deployment rolled out": {"all replicas are new and available",
			deployment + "spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}}",
			health.Health{Status: health.Healthy}},
		"deployment paused": {"pausing goes before all else",
			deployment + "spec: {paused: true}, status: {observedGeneration: 1}}",
			health.Health{Status: health.Suspended, Message: "Deployment is paused"}},
		"deployment unseen": {"the controller has not seen the change",
			deployment + "spec: {replicas: 2}, status: {observedGeneration: 1}}",
			health.Health{Status: health.Progressing, Message: "Waiting for rollout to finish: observed deployment generation less than desired generation"}},
		"deployment too slow": {"the deadline has passed",
			deployment + `spec: {replicas: 2}, status: {observedGeneration: 2, conditions: [{type: Progressing, status: "False", reason: ProgressDeadlineExceeded}]}}`,
			health.Health{Status: health.Degraded, Message: `Deployment "web" exceeded its progress deadline`}},
		"deployment updating": {"new replicas are missing",
			deployment + "spec: {replicas: 3}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, availableReplicas: 3}}",
			health.Health{Status: health.Progressing, Message: "Waiting for rollout to finish: 1 out of 3 new replicas have been updated..."}},
		"deployment shrinking": {"old replicas are still there",
			deployment + "spec: {replicas: 3}, status: {observedGeneration: 2, replicas: 4, updatedReplicas: 3, availableReplicas: 3}}",
			health.Health{Status: health.Progressing, Message: "Waiting for rollout to finish: 1 old replicas are pending termination..."}},
		"deployment starting": {"new replicas are not available yet",
			deployment + "spec: {replicas: 3}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 3, availableReplicas: 1}}",
			health.Health{Status: health.Progressing, Message: "Waiting for rollout to finish: 1 of 3 updated replicas are available..."}},
		"deployment of an old version": {"Argo CD does not know it either",
			"{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: web}}",
			health.Health{Status: health.Unknown, Message: "unsupported Deployment GVK: apps/v1beta1, Kind=Deployment"}},
		"replica set short": {"replicas are missing",
			replicas + "spec: {replicas: 2}, status: {observedGeneration: 1, availableReplicas: 1}}",
			health.Health{Status: health.Progressing, Message: "Waiting for rollout to finish: 1 out of 2 new replicas are available..."}},
		"replica set failing": {"Pods can't be made",
			replicas + `spec: {replicas: 2}, status: {observedGeneration: 1, conditions: [{type: ReplicaFailure, status: "True", message: quota}]}}`,
			health.Health{Status: health.Degraded, Message: "quota"}},
		"stateful set unseen": {"nothing observed", stateful + "spec: {replicas: 1}}",
			health.Health{Status: health.Progressing, Message: "Waiting for statefulset spec update to be observed..."}},
		"stateful set starting": {"Pods are not ready",
			stateful + "spec: {replicas: 3}, status: {observedGeneration: 2, readyReplicas: 1}}",
			health.Health{Status: health.Progressing, Message: "Waiting for 2 pods to be ready..."}},
		"stateful set partition": {"the partition is being updated",
			stateful + "spec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}}, status: {observedGeneration: 2, readyReplicas: 3, updatedReplicas: 1}}",
			health.Health{Status: health.Progressing, Message: "Waiting for partitioned roll out to finish: 1 out of 2 new pods have been updated..."}},
		"stateful set partition done": {"the partition is updated",
			stateful + "spec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}}, status: {observedGeneration: 2, readyReplicas: 3, updatedReplicas: 2}}",
			health.Health{Status: health.Healthy, Message: "partitioned roll out complete: 2 new pods have been updated..."}},
		"stateful set on delete": {"users update Pods themselves",
			stateful + "spec: {replicas: 1, updateStrategy: {type: OnDelete}}, status: {observedGeneration: 2, readyReplicas: 1}}",
			health.Health{Status: health.Healthy, Message: "statefulset has 1 ready pods"}},
		"stateful set rolling": {"two revisions are alive",
			stateful + "spec: {replicas: 1}, status: {observedGeneration: 2, readyReplicas: 1, updatedReplicas: 0, currentRevision: a, updateRevision: b}}",
			health.Health{Status: health.Progressing, Message: "waiting for statefulset rolling update to complete 0 pods at revision b..."}},
		"stateful set rolled": {"one revision is alive",
			stateful + "spec: {replicas: 1}, status: {observedGeneration: 2, readyReplicas: 1, currentReplicas: 1, currentRevision: b, updateRevision: b}}",
			health.Health{Status: health.Healthy, Message: "statefulset rolling update complete 1 pods at revision b..."}},
		"daemon set updating": {"nodes have old Pods",
			daemon + "status: {observedGeneration: 1, desiredNumberScheduled: 3, updatedNumberScheduled: 1, numberAvailable: 3}}",
			health.Health{Status: health.Progressing, Message: `Waiting for daemon set "log" rollout to finish: 1 out of 3 new pods have been updated...`}},
		"daemon set starting": {"Pods are not available",
			daemon + "status: {observedGeneration: 1, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 2}}",
			health.Health{Status: health.Progressing, Message: `Waiting for daemon set "log" rollout to finish: 2 of 3 updated pods are available...`}},
		"daemon set on delete": {"users update Pods themselves",
			daemon + "spec: {updateStrategy: {type: OnDelete}}, status: {observedGeneration: 1, desiredNumberScheduled: 3, updatedNumberScheduled: 1}}",
			health.Health{Status: health.Healthy, Message: "daemon set 1 out of 3 new pods have been updated"}},
		"daemon set on no node": {"nothing to do", daemon + "status: {observedGeneration: 1}}", health.Health{Status: health.Healthy}},
	})
}

func TestPods(t *testing.T) {
	const pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, "
	assessAll(t, New(), map[string]builtinCase{
		"pending": {"not scheduled", pod + "spec: {restartPolicy: Always}, status: {phase: Pending}}", health.Health{Status: health.Progressing}},
		"ready": {"it serves",
			pod + `spec: {restartPolicy: Always}, status: {phase: Running, conditions: [{type: Ready, status: "True"}]}}`,
			health.Health{Status: health.Healthy}},
		"starting": {"it will serve", pod + "spec: {restartPolicy: Always}, status: {phase: Running}}", health.Health{Status: health.Progressing}},
		"restarted": {"it ended once and is not ready",
			pod + "spec: {restartPolicy: Always}, status: {phase: Running, containerStatuses: [{name: c, lastState: {terminated: {exitCode: 1}}}]}}",
			health.Health{Status: health.Degraded}},
		"stuck": {"no image",
			pod + "spec: {restartPolicy: Always}, status: {phase: Pending, containerStatuses: [{name: c, state: {waiting: {reason: ImagePullBackOff, message: no such image}}}, {name: d, state: {waiting: {reason: ErrImagePull, message: nor this}}}]}}",
			health.Health{Status: health.Degraded, Message: "no such image, nor this"}},
		"stuck hook": {"a Pod that ends may still recover",
			pod + "spec: {restartPolicy: Never}, status: {phase: Pending, containerStatuses: [{name: c, state: {waiting: {reason: ImagePullBackOff, message: no such image}}}]}}",
			health.Health{Status: health.Progressing}},
		"running to an end": {"it is healthy when it has ended",
			pod + `spec: {restartPolicy: Never}, status: {phase: Running, conditions: [{type: Ready, status: "True"}]}}`,
			health.Health{Status: health.Progressing}},
		"told to be lasting": {"the annotation says that it does not end",
			`{apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {argocd.argoproj.io/ignore-restart-policy: "true"}}, spec: {restartPolicy: Never}, status: {phase: Running, conditions: [{type: Ready, status: "True"}]}}`,
			health.Health{Status: health.Healthy}},
		"hook told to be lasting": {"not for hooks",
			`{apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/ignore-restart-policy: "true"}}, spec: {restartPolicy: Never}, status: {phase: Running, conditions: [{type: Ready, status: "True"}]}}`,
			health.Health{Status: health.Progressing}},
		"ended well": {"", pod + "spec: {restartPolicy: Never}, status: {phase: Succeeded}}", health.Health{Status: health.Healthy}},
		"evicted": {"the Pod says why", pod + "spec: {restartPolicy: Never}, status: {phase: Failed, message: evicted}}",
			health.Health{Status: health.Degraded, Message: "evicted"}},
		"failed": {"the first container that says why",
			pod + "spec: {restartPolicy: Never}, status: {phase: Failed, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 0}}}], containerStatuses: [{name: c, state: {terminated: {exitCode: 3}}}]}}",
			health.Health{Status: health.Degraded, Message: `container "c" failed with exit code 3`}},
		"out of memory": {"by its reason",
			pod + "spec: {restartPolicy: Never}, status: {phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: 137, reason: OOMKilled}}}]}}",
			health.Health{Status: health.Degraded, Message: "OOMKilled"}},
		"no status": {"nobody has seen it", pod + "spec: {restartPolicy: Always}}", health.Health{Status: health.Unknown}},
	})
}

func TestOtherKinds(t *testing.T) {
	const hpa2 = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: h}, "
	const hpa1 = "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: h, annotations: {autoscaling.alpha.kubernetes.io/conditions: '"
	const job = "{apiVersion: batch/v1, kind: Job, metadata: {name: j}, "
	assessAll(t, New(), map[string]builtinCase{
		"job running": {"", job + "status: {active: 1}}", health.Health{Status: health.Progressing}},
		"job done":    {"", job + `status: {conditions: [{type: Complete, status: "True", message: ok}]}}`, health.Health{Status: health.Healthy, Message: "ok"}},
		"job failed":  {"", job + `status: {conditions: [{type: Failed, status: "True", message: broken}]}}`, health.Health{Status: health.Degraded, Message: "broken"}},
		"job suspended": {"", job + `status: {conditions: [{type: Suspended, status: "True", message: Job suspended}]}}`,
			health.Health{Status: health.Suspended, Message: "Job suspended"}},
		"cluster service":       {"", "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ClusterIP}}", health.Health{Status: health.Healthy}},
		"load balancer pending": {"", "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: LoadBalancer}, status: {loadBalancer: {}}}", health.Health{Status: health.Progressing}},
		"load balancer":         {"", "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}}", health.Health{Status: health.Healthy}},
		"ingress pending":       {"", "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}}", health.Health{Status: health.Progressing}},
		"ingress":               {"", "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, status: {loadBalancer: {ingress: [{}]}}}", health.Health{Status: health.Healthy}},
		"claim bound":           {"", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, status: {phase: Bound}}", health.Health{Status: health.Healthy}},
		"claim pending":         {"", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, status: {phase: Pending}}", health.Health{Status: health.Progressing}},
		"claim lost":            {"", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, status: {phase: Lost}}", health.Health{Status: health.Degraded}},
		"autoscaler new":        {"", hpa2 + "}", health.Health{Status: health.Progressing, Message: "Waiting to Autoscale"}},
		"autoscaler failing": {"degraded goes first",
			hpa2 + `status: {conditions: [{type: AbleToScale, status: "True", message: ok}, {type: ScalingActive, status: "False", reason: FailedGetResourceMetric, message: no metrics}]}}`,
			health.Health{Status: health.Degraded, Message: "no metrics"}},
		"autoscaler": {"", hpa2 + `status: {conditions: [{type: AbleToScale, status: "True", message: ok}]}}`, health.Health{Status: health.Healthy, Message: "ok"}},
		"autoscaler v1": {"its conditions are in an annotation",
			hpa1 + `[{"type":"AbleToScale","status":"True","message":"ok"}]'}}}`, health.Health{Status: health.Healthy, Message: "ok"}},
		"API service": {"", `{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: a}, status: {conditions: [{type: Available, status: "True", reason: Local, message: here}]}}`,
			health.Health{Status: health.Healthy, Message: "Local: here"}},
		"API service down": {"", `{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: a}, status: {conditions: [{type: Available, status: "False", reason: Gone, message: away}]}}`,
			health.Health{Status: health.Progressing, Message: "Gone: away"}},
		"workflow": {"", "{apiVersion: argoproj.io/v1alpha1, kind: Workflow, metadata: {name: w}, status: {phase: Error, message: bad}}",
			health.Health{Status: health.Degraded, Message: "bad"}},
		"application": {"it says so itself", "{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: a}, status: {health: {status: Degraded}}}",
			health.Health{Status: health.Degraded}},
		"application of ours": {"in both groups", "{apiVersion: plumb.dev/v1alpha1, kind: Application, metadata: {name: a}, status: {health: {status: Healthy}}}",
			health.Health{Status: health.Healthy}},
		"application unseen": {"nobody has looked at it", "{apiVersion: plumb.dev/v1alpha1, kind: Application, metadata: {name: a}}",
			health.Health{Status: health.Progressing}},
		"config map": {"no check", "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}", health.Health{Status: health.Healthy}},
		"pending deletion": {"whatever else it says",
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: c, deletionTimestamp: "2026-01-01T00:00:00Z"}}`,
			health.Health{Status: health.Progressing, Message: "Pending deletion"}},
		"hook pending deletion": {"a hook is held until its phase is over",
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: c, deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: [argocd.argoproj.io/hook-finalizer]}}`,
			health.Health{Status: health.Healthy}},
	})
}

func TestUnknownKinds(t *testing.T) {
	const widget = "{apiVersion: example.org/v1, kind: Widget, metadata: {name: w, generation: 2}, "
	assessAll(t, New(), map[string]builtinCase{
		"says nothing":    {"as Argo CD", widget + "spec: {}}", health.Health{Status: health.Healthy}},
		"other condition": {"kstatus does not know it", widget + `status: {conditions: [{type: Sunny, status: "False"}]}}`, health.Health{Status: health.Healthy}},
		"ready":           {"", widget + `status: {observedGeneration: 2, conditions: [{type: Ready, status: "True"}]}}`, health.Health{Status: health.Healthy}},
		"not ready": {"", widget + `status: {conditions: [{type: Ready, status: "False", reason: Wait, message: not yet}]}}`,
			health.Health{Status: health.Progressing, Message: "not yet"}},
		"stalled": {"", widget + `status: {conditions: [{type: Stalled, status: "True", message: stuck}]}}`,
			health.Health{Status: health.Degraded, Message: "stuck"}},
		"unseen": {"", widget + "status: {observedGeneration: 1}}",
			health.Health{Status: health.Progressing, Message: "Widget generation is 2, but latest observed generation is 1"}},
		"status of another form": {"must not fail", widget + "status: fine}", health.Health{Status: health.Healthy}},
	})
}
