package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/internal/driver/kube/assess"
)

const healthLong = `Show the health of each object in manifests, without a cluster.

The health is what Argo CD says of the object as it stands in the file, status
included: Healthy, Suspended, Progressing, Missing, Degraded or Unknown, with
Argo CD's message. Its checks are Argo CD's own; what argocd-cm overrides is
taken into account with --argocd-cm-path.

An object for whose kind there is no check (a ConfigMap, say) is Healthy without
a message: Argo CD shows nothing for it and counts it so. An object of a kind
that Argo CD does not know, but that has a Ready, Reconciling or Stalled
condition, or has not observed its own generation yet, is judged by these.

The exit code is 1 where something could not be read, and 0 otherwise, whatever
the health is.

With -o json the output is a list of objects with the fields file, apiVersion,
kind, namespace, name, status and message.`

const healthExample = `  plumb health -f deployment.yaml
  plumb health -f manifests/ -o json
  kubectl get deploy,po -A -o yaml | plumb health -f -`

// objectHealth is one entry of the JSON of health.
type objectHealth struct {
	File       string `json:"file"`
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Status     string `json:"status"`
	Message    string `json:"message"`
}

func newHealthCommand(streams Streams) *cobra.Command {
	var files manifestFiles
	var o output
	var overrides string
	cmd := &cobra.Command{
		Use:     "health -f FILE...",
		Short:   "Show the health of the objects in manifests, offline",
		Long:    healthLong,
		Example: healthExample,
		Args:    files.named,
		RunE: func(cmd *cobra.Command, args []string) error {
			assessor, err := newAssessor(overrides)
			if err != nil {
				return err
			}
			texts, errs := files.read(cmd, streams.In, args)
			errs = append(errs, assessor.Problems()...)
			found := []objectHealth{}
			for _, t := range texts {
				objects, err := t.objects(false)
				if err != nil {
					errs = append(errs, err)
				}
				for _, m := range objects {
					found = append(found, healthOf(assessor, m))
				}
			}
			if err := printHealth(streams.Out, &o, found); err != nil {
				return err
			}
			return printErrors(streams.Err, errs)
		},
	}
	files.bind(cmd)
	o.bind(cmd, "json", "yaml")
	cmd.Flags().StringVar(&overrides, "argocd-cm-path", "", "manifest of the ConfigMap argocd-cm, with health checks of your own")
	_ = cmd.MarkFlagFilename("argocd-cm-path", "yaml", "yml", "json")
	return cmd
}

func newAssessor(overrides string) (*assess.Assessor, error) {
	if overrides == "" {
		return assess.New(), nil
	}
	text, err := os.ReadFile(overrides)
	if err != nil {
		return nil, fmt.Errorf("read argocd-cm: %w", err)
	}
	var cm struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &cm); err != nil {
		return nil, fmt.Errorf("read argocd-cm from %s: %w", overrides, err)
	}
	return assess.New(assess.WithOverrides(cm.Data)), nil
}

func healthOf(a *assess.Assessor, m manifest) objectHealth {
	h := a.Health(m.obj)
	return objectHealth{
		File: m.file, APIVersion: m.obj.GetAPIVersion(), Kind: m.obj.GetKind(),
		Namespace: m.obj.GetNamespace(), Name: m.obj.GetName(), Status: string(h.Status), Message: h.Message,
	}
}

func printHealth(out io.Writer, o *output, found []objectHealth) error {
	if o.machine() {
		return o.print(out, found)
	}
	if len(found) == 0 {
		return nil
	}
	t := newTable(out, "FILE", "KIND", "NAMESPACE", "NAME", "STATUS", "MESSAGE")
	for _, h := range found {
		t.add(plain(h.File), plain(h.Kind), plain(orNone(h.Namespace)), plain(orNone(h.Name)), plain(h.Status), plain(h.Message))
	}
	t.flush()
	return nil
}
