package kube

import (
	"slices"
	"strconv"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

const (
	helmHook             = "helm.sh/hook"
	helmHookDeletePolicy = "helm.sh/hook-delete-policy"
	helmHookWeight       = "helm.sh/hook-weight"
	skipHook             = "Skip"
)

// The policies of deletion of hooks.
const (
	BeforeHookCreation = "BeforeHookCreation"
	HookSucceeded      = "HookSucceeded"
	HookFailed         = "HookFailed"
)

var hookPhases = map[string]plan.Phase{
	"PreSync": plan.PreSync, "Sync": plan.Sync, "PostSync": plan.PostSync, "SyncFail": plan.SyncFail,
	"PreDelete": plan.PreDelete, "PostDelete": plan.PostDelete,
}

// helmPhases maps Helm's hooks to phases as Argo CD does. A crd-install hook is
// an ordinary resource; test and rollback hooks are never run.
var helmPhases = map[string]plan.Phase{
	"pre-install": plan.PreSync, "pre-upgrade": plan.PreSync,
	"post-install": plan.PostSync, "post-upgrade": plan.PostSync,
	"pre-delete": plan.PreDelete, "post-delete": plan.PostDelete,
}

var helmPolicies = map[string]string{
	"before-hook-creation": BeforeHookCreation, "hook-succeeded": HookSucceeded, "hook-failed": HookFailed,
}

// parseHook reads what annotations say of a hook: nil for an ordinary resource;
// skip where the resource is not to be made at all.
func parseHook(annotations map[string]string) (hook *driver.Hook, skip bool) {
	words := list(annotation(annotations, v1alpha1.NameHook))
	phases := hookPhases
	if len(words) == 0 {
		words, phases = list(annotations[helmHook]), helmPhases
		if len(words) == 0 || slices.Contains(words, "crd-install") {
			return nil, false
		}
	}
	if slices.Contains(words, skipHook) {
		return nil, true
	}
	hook = &driver.Hook{Policies: hookPolicies(annotations)}
	for _, w := range words {
		if p, ok := phases[w]; ok && !slices.Contains(hook.Phases, p) {
			hook.Phases = append(hook.Phases, p)
		}
	}
	slices.Sort(hook.Phases)
	return hook, len(hook.Phases) == 0
}

func hookPolicies(annotations map[string]string) []string {
	var out []string
	for _, w := range list(annotation(annotations, v1alpha1.NameHookDeletePolicy)) {
		if w == BeforeHookCreation || w == HookSucceeded || w == HookFailed {
			out = append(out, w)
		}
	}
	for _, w := range list(annotations[helmHookDeletePolicy]) {
		if p, ok := helmPolicies[w]; ok && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		out = []string{BeforeHookCreation}
	}
	return out
}

func list(s string) []string {
	var out []string
	for _, w := range strings.Split(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// waveOf reads the wave of a resource; a Helm hook's weight is one.
func waveOf(annotations map[string]string) int {
	s := annotation(annotations, v1alpha1.NameSyncWave)
	if s == "" && annotations[helmHook] != "" {
		s = annotations[helmHookWeight]
	}
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 0
	}
	return n
}
