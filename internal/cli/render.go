package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
)

// renderFlags are the parameters of rendering a directory.
type renderFlags struct {
	preview                  previewFlags
	showSecrets, noDecrypt   bool
	name, namespace, project string
	recurse                  bool
	include, exclude         string
	values, sets, setStrings []string
	releaseName              string
	skipCrds, skipTests      bool
	namePrefix, nameSuffix   string
	images                   []string
	kubeVersion              string
	apiVersions              []string
}

func (c commandline) newRenderCommand() *cobra.Command {
	var s selection
	var o output
	var f renderFlags
	cmd := &cobra.Command{
		Use:     "render DIR|NAME",
		Aliases: []string{"manifests", "build", "template"},
		Short:   "Print the manifests that a directory or an Application gives",
		Long: `Prints the manifests that Plumb would apply.

For a directory (a word with a slash that exists, or "."), it renders what is
there: plain manifests, a kustomization, a Helm chart or Jsonnet. That needs no
control plane, and Secrets are printed as they are. What is encrypted with SOPS is
decrypted with your own keys, as the sops command finds them (SOPS_AGE_KEY_FILE,
SOPS_AGE_KEY, gpg), unless --no-decrypt is given.

For an Application, it renders what Git has, with your own rights. Values of
Secrets, and what was decrypted or looked up for other objects, are masked unless
--show-secrets is given.`,
		Example: `  plumb render ./apps/web
  plumb render ./charts/web --values values-prod.yaml --set replicas=3
  plumb render web --revision feature/blue`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, "name one directory or Application")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
			names, _ := c.completeName(cmd, given, typed)
			return names, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var bundle render.Bundle
			var err error
			mask := false
			if isDirectory(args[0]) {
				bundle, err = c.renderDirectory(cmd.Context(), args[0], f)
			} else {
				mask = !f.showSecrets
				bundle, err = c.renderApplication(cmd.Context(), args[0], s, f.preview)
			}
			if err != nil {
				return err
			}
			return c.printBundle(bundle, &o, mask)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	f.preview.bind(cmd)
	o.bind(cmd, "yaml", "json")
	f.bind(cmd)
	return cmd
}

func (f *renderFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.showSecrets, "show-secrets", false, "print the values of an Application's Secrets, and what else is masked")
	flags.BoolVar(&f.noDecrypt, "no-decrypt", false, "leave files of a DIR that are encrypted with SOPS as they are")
	flags.StringVar(&f.name, "app-name", "", "the name of the Application for a DIR (default: the directory's)")
	flags.StringVar(&f.namespace, "app-namespace", "default", "the namespace of the destination for a DIR")
	flags.StringVar(&f.project, "app-project", v1alpha1.DefaultProject, "the project for a DIR")
	flags.BoolVarP(&f.recurse, "recurse", "R", false, "plain manifests: the directories below, too")
	flags.StringVar(&f.include, "include", "", "plain manifests: only files that match this `GLOB`")
	flags.StringVar(&f.exclude, "exclude", "", "plain manifests: no files that match this `GLOB`")
	flags.StringArrayVarP(&f.values, "values", "f", nil, "Helm: values `FILE`, relative to DIR; may be repeated")
	flags.StringArrayVar(&f.sets, "set", nil, "Helm: a value, as `NAME=VALUE`; may be repeated")
	flags.StringArrayVar(&f.setStrings, "set-string", nil, "Helm: a value that is a text, as `NAME=VALUE`; may be repeated")
	flags.StringVar(&f.releaseName, "release-name", "", "Helm: the name of the release (default: the Application's)")
	flags.BoolVar(&f.skipCrds, "skip-crds", false, "Helm: leave out the chart's crds directory")
	flags.BoolVar(&f.skipTests, "skip-tests", false, "Helm: leave out test hooks")
	flags.StringVar(&f.namePrefix, "name-prefix", "", "Kustomize: put before all names")
	flags.StringVar(&f.nameSuffix, "name-suffix", "", "Kustomize: put after all names")
	flags.StringArrayVar(&f.images, "image", nil, "Kustomize: replace an image, as `[OLD=]NEW[:TAG]`; may be repeated")
	flags.StringVar(&f.kubeVersion, "kube-version", "v1.36.3", "the Kubernetes version that charts see")
	flags.StringSliceVar(&f.apiVersions, "api-versions", nil, "the API versions that charts see")
}

// isDirectory tells whether a word is meant as a directory: the name of an
// Application has at most two slashes, and does not begin with a dot.
func isDirectory(word string) bool {
	info, err := os.Stat(word)
	if err == nil && info.IsDir() {
		return true
	}
	return strings.HasPrefix(word, ".") || strings.HasPrefix(word, "/") || strings.HasSuffix(word, "/")
}

func (c commandline) renderApplication(ctx context.Context, name string, s selection, f previewFlags) (render.Bundle, error) {
	a, err := c.connection.find(ctx, name, s)
	if err != nil {
		return render.Bundle{}, err
	}
	app, o, closeTree, err := f.options(a)
	if err != nil {
		return render.Bundle{}, err
	}
	defer closeTree()
	p, end, err := c.newPreviewer(ctx)
	if err != nil {
		return render.Bundle{}, err
	}
	defer end()
	bundle, err := p.Render(ctx, app, a.key, o)
	if err != nil {
		return render.Bundle{}, fmt.Errorf("render %s: %w", a.key, c.connection.explain(err))
	}
	return bundle, nil
}

func (c commandline) renderDirectory(ctx context.Context, dir string, f renderFlags) (render.Bundle, error) {
	if len(f.preview.revisions) > 0 || f.preview.local != "" {
		return render.Bundle{}, errors.New("--revision and --local are for Applications, not for a directory")
	}
	tree, within, err := openTree(dir)
	if err != nil {
		return render.Bundle{}, err
	}
	defer tree.Close()
	source, err := f.source(tree, within)
	if err != nil {
		return render.Bundle{}, err
	}
	var keys render.Keys
	if !f.noDecrypt {
		if keys, err = c.env.Sops.keys(); err != nil {
			return render.Bundle{}, err
		}
	}
	name := f.name
	if name == "" {
		if absolute, err := filepath.Abs(dir); err == nil {
			name = filepath.Base(absolute)
		}
	}
	return renderers().Render(ctx, render.Request{
		AppName: name, Namespace: f.namespace, Project: f.project,
		Input:       render.Input{Source: source, Tree: tree, Path: within},
		KubeVersion: f.kubeVersion, APIVersions: f.apiVersions, Keys: keys,
	})
}

// source gives the options of the tool that the directory needs.
func (f renderFlags) source(tree *dirTree, within string) (v1alpha1.ApplicationSource, error) {
	source := v1alpha1.ApplicationSource{Path: within}
	kind, err := render.Detect(tree, within, &source)
	if err != nil {
		return source, err
	}
	switch kind {
	case v1alpha1.ApplicationSourceTypeHelm:
		source.Helm, err = f.helm()
	case v1alpha1.ApplicationSourceTypeKustomize:
		source.Kustomize = &v1alpha1.ApplicationSourceKustomize{NamePrefix: f.namePrefix, NameSuffix: f.nameSuffix}
		for _, image := range f.images {
			source.Kustomize.Images = append(source.Kustomize.Images, v1alpha1.KustomizeImage(image))
		}
	case v1alpha1.ApplicationSourceTypeDirectory:
		source.Directory = &v1alpha1.ApplicationSourceDirectory{Recurse: f.recurse, Include: f.include, Exclude: f.exclude}
	default: // has no options here; rendering says whether it can be rendered
	}
	return source, err
}

func (f renderFlags) helm() (*v1alpha1.ApplicationSourceHelm, error) {
	h := &v1alpha1.ApplicationSourceHelm{
		ValueFiles: f.values, ReleaseName: f.releaseName, SkipCrds: f.skipCrds, SkipTests: f.skipTests,
	}
	for i, text := range append(append([]string{}, f.sets...), f.setStrings...) {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not NAME=VALUE", text)
		}
		h.Parameters = append(h.Parameters, v1alpha1.HelmParameter{Name: name, Value: value, ForceString: i >= len(f.sets)})
	}
	return h, nil
}

func (c commandline) printBundle(bundle render.Bundle, o *output, mask bool) error {
	for _, warning := range bundle.Warnings {
		fmt.Fprintf(c.streams.Err, "warning: %s\n", printable(warning))
	}
	objects := make([]map[string]any, len(bundle.Objects))
	for i, object := range bundle.Objects {
		decoder := json.NewDecoder(bytes.NewReader(object.JSON))
		decoder.UseNumber()
		if err := decoder.Decode(&objects[i]); err != nil {
			return fmt.Errorf("read %s: %w", object.Ref.Address(), err)
		}
		if mask {
			objects[i] = maskSecret(objects[i])
			bundle.Secrets.MaskObjects(nil, objects[i])
		}
	}
	if o.format == "json" {
		return o.print(c.streams.Out, map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
	}
	for i, object := range objects {
		text, err := json.Marshal(object)
		if err != nil {
			return err
		}
		manifest, err := yaml.JSONToYAML(text)
		if err != nil {
			return fmt.Errorf("write %s: %w", bundle.Objects[i].Ref.Address(), err)
		}
		fmt.Fprintf(c.streams.Out, "---\n")
		if file := bundle.Objects[i].File; file != "" {
			fmt.Fprintf(c.streams.Out, "# Source: %s\n", printable(file))
		}
		if _, err := c.streams.Out.Write(manifest); err != nil {
			return err
		}
	}
	return nil
}
