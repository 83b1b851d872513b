package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// resourceWords are what people put between a verb and a name out of habit:
// "plumb get applications shop", "plumb reconcile kustomization shop".
var resourceWords = []string{
	"app", "apps", "application", "applications", "papp", "papps",
	"applications.argoproj.io", "applications.plumb.dev",
	"kustomization", "kustomizations", "ks", "helmrelease", "helmreleases", "hr",
}

// translate turns the words of argocd and flux into plumb's: "app get shop" is
// "describe shop", "reconcile kustomization shop" is "sync shop". What it does
// not know it leaves alone.
func translate(args []string) []string {
	if len(args) == 0 {
		return args
	}
	if slices.Contains(resourceWords[:4], args[0]) {
		return translateArgo(args[1:])
	}
	if args[0] == "status" {
		if slices.ContainsFunc(args[1:], isName) {
			return append([]string{"describe"}, args[1:]...)
		}
		return append([]string{"get"}, args[1:]...)
	}
	verbs := []string{"get", "list", "ls", "describe", "delete", "rm", "reconcile", "sync", "diff", "tree", "wait", "refresh", "history", "logs"}
	if len(args) > 1 && slices.Contains(verbs, args[0]) && slices.Contains(resourceWords, args[1]) {
		// An Application may itself be called "app": then that is its name,
		// unless there is another or the verb needs none.
		if args[0] == "get" || args[0] == "list" || args[0] == "ls" || slices.ContainsFunc(args[2:], isName) {
			return append([]string{args[0]}, args[2:]...)
		}
	}
	return args
}

func isName(arg string) bool { return !strings.HasPrefix(arg, "-") }

// translateArgo is for what follows "argocd app".
func translateArgo(args []string) []string {
	if len(args) == 0 {
		return []string{"get"}
	}
	verbs := map[string]string{
		"get": "describe", "list": "get", "manifests": "render", "resources": "tree",
		"actions": "kubectl", "delete-resource": "kubectl",
	}
	verb := args[0]
	if v, ok := verbs[verb]; ok {
		verb = v
	}
	return append([]string{verb}, args[1:]...)
}

// explanations answer the words for what is done in another way here. They are
// hidden: nobody needs to read of them before looking for them.
func explanations() []*cobra.Command {
	words := []struct {
		names  string
		answer string
	}{
		{"undo", "a rollback is a commit, which `plumb rollback NAME` makes and pushes (`plumb history NAME` shows which commit was applied when). To try an older revision first: `plumb sync NAME --revision COMMIT`"},
		{"apply create set patch edit", "Plumb is not told what to apply: change the files in Git and push. An Application itself is a Kubernetes object: `kubectl apply -f application.yaml`, or declare it in the Git repository of another Application"},
		{"login context", "there is nothing to log in to: plumb uses your kubeconfig, as kubectl does (--kubeconfig, --context, KUBECONFIG)"},
		{"suspend pause", "to suspend an Application, set spec.syncPolicy.automated.enabled to false in Git or with `kubectl edit applications.plumb.dev NAME`: differences are then shown and not applied"},
		{"resume", "to resume an Application, set spec.syncPolicy.automated.enabled to true in Git or with `kubectl edit applications.plumb.dev NAME`"},
		{"install bootstrap", "`plumb up` starts everything on this machine; `plumb server --kubeconfig FILE` runs on an existing cluster and installs what it needs there"},
		{"destroy", "`plumb delete NAME` deletes an Application with all that it applied; `plumb reset` removes the control plane of `plumb up`"},
		{"start", "did you mean `plumb up`?"},
		{"stop", "did you mean `plumb down`?"},
		{"kubectl exec scale restart", "use kubectl for that: Applications and what they apply are Kubernetes objects"},
		{"proj project projects repo cluster", "projects, repositories and clusters are Kubernetes objects: use `kubectl get appprojects.plumb.dev`, and Secrets with the label argocd.argoproj.io/secret-type"},
	}
	var commands []*cobra.Command
	for _, w := range words {
		names := strings.Fields(w.names)
		commands = append(commands, &cobra.Command{
			Use: names[0], Aliases: names[1:], Hidden: true, DisableFlagParsing: true,
			ValidArgsFunction: cobra.NoFileCompletions,
			RunE: func(*cobra.Command, []string) error {
				return errors.New(w.answer)
			},
		})
	}
	return commands
}
