package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
)

// groups are the API groups in which Applications live, Plumb's own first.
var groups = []schema.GroupVersion{v1alpha1.GroupVersion, v1alpha1.ArgoGroupVersion}

// application is an Application as it was read: typed for looking at, and as it
// is for printing.
type application struct {
	v1alpha1.Application
	key    engine.Key
	object *unstructured.Unstructured
}

func newApplication(u *unstructured.Unstructured) (application, error) {
	gv := u.GroupVersionKind()
	a := application{object: u, key: engine.Key{Group: gv.Group, Namespace: u.GetNamespace(), Name: u.GetName()}}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &a.Application); err != nil {
		return application{}, fmt.Errorf("read Application %s: %w", a.key, err)
	}
	return a, nil
}

// project that the Application is in.
func (a application) project() string {
	return cmp.Or(a.Spec.Project, v1alpha1.DefaultProject)
}

// sources of the Application, one or several.
func (a application) sources() []v1alpha1.ApplicationSource {
	if len(a.Spec.Sources) > 0 {
		return a.Spec.Sources
	}
	if a.Spec.Source != nil {
		return []v1alpha1.ApplicationSource{*a.Spec.Source}
	}
	return nil
}

// resource is the client for the Applications of a group.
func (k *connection) resource(group string) dynamic.NamespaceableResourceInterface {
	return k.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: v1alpha1.Version, Resource: v1alpha1.ApplicationResource})
}

// object is the client for the namespace of one Application.
func (k *connection) object(key engine.Key) dynamic.ResourceInterface {
	return k.resource(key.Group).Namespace(key.Namespace)
}

// reload reads an Application again.
func (k *connection) reload(ctx context.Context, key engine.Key) (application, error) {
	u, err := k.object(key).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return application{}, k.explain(err)
	}
	return newApplication(u)
}

// list gives the Applications of both groups, sorted. A group that is not
// served, or that the user may not read while they may read the other, has none.
func (k *connection) list(ctx context.Context, namespace string, options metav1.ListOptions) ([]application, error) {
	if err := k.open(); err != nil {
		return nil, err
	}
	var all []application
	var refused []error
	served := 0
	for _, gv := range groups {
		found, err := k.listGroup(ctx, gv.Group, namespace, options)
		switch {
		case apierrors.IsNotFound(err): // the group is not served
			continue
		case apierrors.IsForbidden(err):
			refused = append(refused, err)
			continue
		case err != nil:
			return nil, k.explain(err)
		}
		served++
		all = append(all, found...)
	}
	if served == 0 && len(refused) > 0 {
		return nil, k.explain(refused[0])
	}
	if served == 0 {
		return nil, fmt.Errorf("%s has no Applications: Plumb does not run there (start it with `plumb server --kubeconfig FILE`, or name another control plane with --kubeconfig; using %s)", k.host(), k.origin())
	}
	slices.SortFunc(all, func(a, b application) int {
		return cmp.Or(cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name), cmp.Compare(b.key.Group, a.key.Group))
	})
	return all, nil
}

// pageSize bounds one answer: an Application may be a megabyte.
const pageSize = 250

func (k *connection) listGroup(ctx context.Context, group, namespace string, options metav1.ListOptions) ([]application, error) {
	var all []application
	options.Limit = pageSize
	for {
		page, err := k.resource(group).Namespace(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			a, err := newApplication(&page.Items[i])
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return all, nil
		}
	}
}

// selection is which Applications a command is about.
type selection struct {
	namespace string
	all       bool
	selector  string
}

func (s *selection) bind(flags *pflag.FlagSet) {
	flags.StringVarP(&s.namespace, "namespace", "n", "", "`NAMESPACE` of the Application (default: any)")
}

func (s *selection) bindMany(flags *pflag.FlagSet) {
	s.bind(flags)
	flags.BoolVarP(&s.all, "all-namespaces", "A", false, "in all namespaces, which is the default")
	flags.StringVarP(&s.selector, "selector", "l", "", "`LABELS` that they must have, as kubectl takes them")
}

func (s selection) listOptions() (metav1.ListOptions, error) {
	if s.selector != "" {
		if _, err := labels.Parse(s.selector); err != nil {
			return metav1.ListOptions{}, fmt.Errorf("--selector: %w", err)
		}
	}
	return metav1.ListOptions{LabelSelector: s.selector}, nil
}

func (s selection) where() string {
	if s.all {
		return ""
	}
	return s.namespace
}

// parseName reads NAME, NAMESPACE/NAME, GROUP/NAMESPACE/NAME or kubectl's
// application.GROUP/NAME. Empty parts are not known.
func parseName(name string) (engine.Key, error) {
	parts := strings.Split(name, "/")
	if slices.Contains(parts, "") {
		return engine.Key{}, fmt.Errorf("%q is not a name: it is NAME, NAMESPACE/NAME or GROUP/NAMESPACE/NAME", name)
	}
	if kind, group, ok := strings.Cut(parts[0], "."); ok && len(parts) == 2 && (kind == "application" || kind == "applications") {
		return engine.Key{Group: group, Name: parts[1]}, nil
	}
	switch len(parts) {
	case 1:
		return engine.Key{Name: parts[0]}, nil
	case 2:
		return engine.Key{Namespace: parts[0], Name: parts[1]}, nil
	case 3:
		return engine.Key{Group: parts[0], Namespace: parts[1], Name: parts[2]}, nil
	}
	return engine.Key{}, fmt.Errorf("%q is not a name: it is NAME, NAMESPACE/NAME or GROUP/NAMESPACE/NAME", name)
}

// find gives the one Application that is meant by a name.
func (k *connection) find(ctx context.Context, name string, s selection) (application, error) {
	if err := k.open(); err != nil {
		return application{}, err
	}
	want, err := parseName(name)
	if err != nil {
		return application{}, err
	}
	want.Namespace = cmp.Or(want.Namespace, s.where())
	found, err := k.matching(ctx, want)
	if err != nil {
		return application{}, err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return application{}, k.notFound(ctx, want)
	}
	candidates := make([]string, len(found))
	for i, a := range found {
		candidates[i] = qualified(a.key, found)
	}
	return application{}, fmt.Errorf("there are %d Applications called %q: say which one: %s", len(found), want.Name, strings.Join(candidates, ", "))
}

// qualified is the shortest name that tells one of several apart.
func qualified(key engine.Key, among []application) string {
	for _, other := range among {
		if other.key != key && other.key.Namespace == key.Namespace && other.key.Name == key.Name {
			return key.Group + "/" + key.Namespace + "/" + key.Name
		}
	}
	return key.Namespace + "/" + key.Name
}

func (k *connection) matching(ctx context.Context, want engine.Key) ([]application, error) {
	found, err := k.list(ctx, want.Namespace, metav1.ListOptions{FieldSelector: "metadata.name=" + want.Name})
	if apierrors.IsForbidden(err) && want.Namespace == "" {
		// Who may not read everywhere is asked for what is theirs.
		found, err = k.list(ctx, k.namespace, metav1.ListOptions{FieldSelector: "metadata.name=" + want.Name})
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(a application) bool {
		return want.Group != "" && a.key.Group != want.Group
	}), nil
}

// missingError says that there is no Application of a name.
type missingError struct{ message string }

func (e missingError) Error() string { return e.message }

// notFound says that there is no such Application, and which one is likely meant.
func (k *connection) notFound(ctx context.Context, want engine.Key) error {
	where := ""
	if want.Namespace != "" {
		where = fmt.Sprintf(" in namespace %q", want.Namespace)
	}
	message := fmt.Sprintf("there is no Application %q%s", want.Name, where)
	all, err := k.list(ctx, "", metav1.ListOptions{})
	if err != nil {
		return missingError{message}
	}
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = a.key.Name
	}
	likely := similar(want.Name, names)
	if i := slices.Index(names, likely); likely != "" && i >= 0 {
		return missingError{fmt.Sprintf("%s, did you mean %q in namespace %q?", message, likely, all[i].key.Namespace)}
	}
	return missingError{message + ": `plumb get` lists them"}
}

// findAll gives the Applications that are meant by names, or by a selector.
func (k *connection) findAll(ctx context.Context, names []string, s selection) ([]application, error) {
	if len(names) == 0 {
		options, err := s.listOptions()
		if err != nil {
			return nil, err
		}
		return k.list(ctx, s.where(), options)
	}
	if s.selector != "" {
		return nil, errors.New("name Applications or select them with -l, not both")
	}
	var all []application
	for _, name := range names {
		a, err := k.find(ctx, name, s)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}
