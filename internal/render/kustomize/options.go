package kustomize

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/render"
)

// keep in an image replacement stands for what the kustomization says.
const keep = "*"

// applyOptions makes the changes that the Application asks for, in the order in
// which Argo CD runs "kustomize edit".
func applyOptions(k *types.Kustomization, o *v1alpha1.ApplicationSourceKustomize, env render.Env, exists func(string) bool) error {
	if o.NamePrefix != "" {
		k.NamePrefix = o.NamePrefix
	}
	if o.NameSuffix != "" {
		k.NameSuffix = o.NameSuffix
	}
	if err := setImages(k, o.Images, env); err != nil {
		return err
	}
	if err := setReplicas(k, o.Replicas); err != nil {
		return err
	}
	if err := addLabels(k, o, env); err != nil {
		return err
	}
	if err := addAnnotations(k, o, env); err != nil {
		return err
	}
	if o.Namespace != "" {
		k.Namespace = o.Namespace
	}
	for _, p := range o.Patches {
		k.Patches = append(k.Patches, patchOf(p))
	}
	for _, c := range o.Components {
		if o.IgnoreMissingComponents && !exists(c) {
			continue
		}
		if !slices.Contains(k.Components, c) {
			k.Components = append(k.Components, c)
		}
	}
	return nil
}

func setImages(k *types.Kustomization, images v1alpha1.KustomizeImages, env render.Env) error {
	if len(images) == 0 {
		return nil
	}
	byName := map[string]types.Image{}
	for _, text := range images {
		img, err := parseImage(env.Subst(string(text)))
		if err != nil {
			return err
		}
		byName[img.Name] = img
	}
	for _, before := range k.Images {
		img, replaced := byName[before.Name]
		if !replaced {
			byName[before.Name] = before
			continue
		}
		img.NewName = orKept(img.NewName, before.NewName)
		img.NewTag = orKept(img.NewTag, before.NewTag)
		img.Digest = orKept(img.Digest, before.Digest)
		byName[img.Name] = img
	}
	k.Images = k.Images[:0]
	for _, img := range byName {
		img.NewName, img.NewTag, img.Digest = orKept(img.NewName, ""), orKept(img.NewTag, ""), orKept(img.Digest, "")
		k.Images = append(k.Images, img)
	}
	sort.Slice(k.Images, func(i, j int) bool { return k.Images[i].Name < k.Images[j].Name })
	return nil
}

func orKept(value, before string) string {
	if value == keep {
		return before
	}
	return value
}

// parseImage reads [old=]new[:tag][@digest].
func parseImage(text string) (types.Image, error) {
	name, value, renamed := strings.Cut(text, "=")
	if !renamed {
		value = text
	}
	image, tag, digest := splitImage(value)
	if image == "" || (!renamed && tag == "" && digest == "") {
		return types.Image{}, fmt.Errorf("kustomize.images: %q is not of the form [old=]new[:tag|@digest]", text)
	}
	if renamed {
		return types.Image{Name: name, NewName: image, NewTag: tag, Digest: digest}, nil
	}
	return types.Image{Name: image, NewTag: tag, Digest: digest}, nil
}

func splitImage(s string) (name, tag, digest string) {
	name, digest, _ = strings.Cut(s, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, tag = name[:i], name[i+1:]
	}
	return name, tag, digest
}

func setReplicas(k *types.Kustomization, replicas v1alpha1.KustomizeReplicas) error {
	if len(replicas) == 0 {
		return nil
	}
	byName := map[string]types.Replica{}
	for _, r := range k.Replicas {
		byName[r.Name] = r
	}
	for _, r := range replicas {
		count := int64(r.Count.IntVal)
		if r.Count.Type == intstr.String {
			n, err := strconv.ParseInt(r.Count.StrVal, 10, 64)
			if err != nil {
				return fmt.Errorf("kustomize.replicas: count %q of %s is not a number", r.Count.StrVal, r.Name)
			}
			count = n
		}
		byName[r.Name] = types.Replica{Name: r.Name, Count: count}
	}
	k.Replicas = k.Replicas[:0]
	for _, r := range byName {
		k.Replicas = append(k.Replicas, r)
	}
	sort.Slice(k.Replicas, func(i, j int) bool { return k.Replicas[i].Name < k.Replicas[j].Name })
	return nil
}

func addLabels(k *types.Kustomization, o *v1alpha1.ApplicationSourceKustomize, env render.Env) error {
	if len(o.CommonLabels) == 0 {
		return nil
	}
	labels := make(map[string]string, len(o.CommonLabels))
	for name, value := range o.CommonLabels {
		labels[name] = env.Subst(value)
	}
	if !o.LabelWithoutSelector {
		if o.LabelIncludeTemplates {
			return fmt.Errorf("kustomize.labelIncludeTemplates needs labelWithoutSelector: with selectors the templates get the labels anyway")
		}
		return addPairs(&k.CommonLabels, labels, o.ForceCommonLabels, "label", "forceCommonLabels") //nolint:staticcheck // what kustomize edit sets
	}
	for i, l := range k.Labels {
		if !l.IncludeSelectors && l.IncludeTemplates == o.LabelIncludeTemplates {
			return addPairs(&k.Labels[i].Pairs, labels, o.ForceCommonLabels, "label", "forceCommonLabels")
		}
	}
	k.Labels = append(k.Labels, types.Label{Pairs: labels, IncludeTemplates: o.LabelIncludeTemplates})
	return nil
}

func addAnnotations(k *types.Kustomization, o *v1alpha1.ApplicationSourceKustomize, env render.Env) error {
	if len(o.CommonAnnotations) == 0 {
		return nil
	}
	annotations := make(map[string]string, len(o.CommonAnnotations))
	for name, value := range o.CommonAnnotations {
		if o.CommonAnnotationsEnvsubst {
			value = env.Subst(value)
		}
		annotations[name] = value
	}
	return addPairs(&k.CommonAnnotations, annotations, o.ForceCommonAnnotations, "annotation", "forceCommonAnnotations")
}

func addPairs(to *map[string]string, pairs map[string]string, force bool, what, option string) error {
	if *to == nil {
		*to = map[string]string{}
	}
	for name, value := range pairs {
		if _, there := (*to)[name]; there && !force {
			return fmt.Errorf("%s %q is in the kustomization already: set kustomize.%s to replace it", what, name, option)
		}
		(*to)[name] = value
	}
	return nil
}

func patchOf(p v1alpha1.KustomizePatch) types.Patch {
	out := types.Patch{Path: p.Path, Patch: p.Patch}
	if p.Options != nil {
		out.Options = &types.PatchArgs{
			AllowNameChange: p.Options["allowNameChange"],
			AllowKindChange: p.Options["allowKindChange"],
		}
	}
	if t := p.Target; t != nil {
		out.Target = &types.Selector{
			ResId: resid.ResId{
				Gvk:  resid.Gvk{Group: t.Group, Version: t.Version, Kind: t.Kind},
				Name: t.Name, Namespace: t.Namespace,
			},
			AnnotationSelector: t.AnnotationSelector,
			LabelSelector:      t.LabelSelector,
		}
	}
	return out
}
