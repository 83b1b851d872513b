package assess

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/plumb-dev/plumb/internal/health"
)

// ignoreRestartPolicy on a Pod that is no hook: it is assessed as one that runs
// for ever, whatever its restart policy.
const ignoreRestartPolicy = "argocd.argoproj.io/ignore-restart-policy"

type pod struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		RestartPolicy string `json:"restartPolicy"`
	} `json:"spec"`
	Status struct {
		Phase          string            `json:"phase"`
		Message        string            `json:"message"`
		Conditions     []condition       `json:"conditions"`
		InitContainers []containerStatus `json:"initContainerStatuses"`
		Containers     []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type containerStatus struct {
	Name  string `json:"name"`
	State struct {
		Waiting *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"waiting"`
		Terminated *termination `json:"terminated"`
	} `json:"state"`
	LastState struct {
		Terminated *termination `json:"terminated"`
	} `json:"lastState"`
}

type termination struct {
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	ExitCode int32  `json:"exitCode"`
}

func podHealth(obj *unstructured.Unstructured) (health.Health, error) {
	var p pod
	if err := read(obj, "Pod", &p, "v1"); err != nil {
		return health.Health{}, err
	}
	lasting := p.Spec.RestartPolicy == "Always" ||
		p.Metadata.Annotations[ignoreRestartPolicy] == "true" && !isHook(p.Metadata.Annotations)
	if lasting {
		// A Pod that ends (often a hook) may still recover from these: only one
		// that is to run for ever is degraded by them.
		if why := stuck(p.Status.Containers); len(why) > 0 {
			return is(health.Degraded, strings.Join(why, ", "))
		}
	}
	switch p.Status.Phase {
	case "Pending":
		return is(health.Progressing, p.Status.Message)
	case "Succeeded":
		return is(health.Healthy, p.Status.Message)
	case "Failed":
		return is(health.Degraded, failureOf(&p))
	case "Running":
		return runningPodHealth(&p, lasting)
	}
	return is(health.Unknown, p.Status.Message)
}

func runningPodHealth(p *pod, lasting bool) (health.Health, error) {
	switch {
	case lasting:
		if ready := find(p.Status.Conditions, "Ready"); ready != nil && ready.Status == "True" {
			return is(health.Healthy, p.Status.Message)
		}
		for _, c := range p.Status.Containers {
			if c.LastState.Terminated != nil {
				return is(health.Degraded, p.Status.Message)
			}
		}
		return is(health.Progressing, p.Status.Message)
	case p.Spec.RestartPolicy == "OnFailure", p.Spec.RestartPolicy == "Never":
		return is(health.Progressing, p.Status.Message) // until it has ended
	}
	return is(health.Unknown, p.Status.Message)
}

// stuck gives the messages of containers that can't start.
func stuck(containers []containerStatus) []string {
	var why []string
	for _, c := range containers {
		w := c.State.Waiting
		if w != nil && (strings.HasPrefix(w.Reason, "Err") || strings.HasSuffix(w.Reason, "Error") || strings.HasSuffix(w.Reason, "BackOff")) {
			why = append(why, w.Message)
		}
	}
	return why
}

// failureOf says why a Pod failed: in its own words, or in those of the first
// container that has some.
func failureOf(p *pod) string {
	if p.Status.Message != "" {
		return p.Status.Message
	}
	for _, list := range [][]containerStatus{p.Status.InitContainers, p.Status.Containers} {
		for _, c := range list {
			t := c.State.Terminated
			switch {
			case t == nil:
			case t.Message != "":
				return t.Message
			case t.Reason == "OOMKilled":
				return t.Reason
			case t.ExitCode != 0:
				return fmt.Sprintf("container %q failed with exit code %d", c.Name, t.ExitCode)
			}
		}
	}
	return ""
}

// isHook tells whether annotations make an object a hook, of Argo CD's or of
// Helm's kind.
func isHook(annotations map[string]string) bool {
	if value, ok := annotations["argocd.argoproj.io/hook"]; ok {
		return strings.TrimSpace(value) != "Skip"
	}
	value, ok := annotations["helm.sh/hook"]
	return ok && value != "crd-install"
}
