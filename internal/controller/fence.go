package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/engine"
	"github.com/plumb-dev/plumb/internal/plan"
	"github.com/plumb-dev/plumb/internal/window"
)

// serviceAccountForbidden are the characters that the name of an identity must
// not hold.
const serviceAccountForbidden = `!*[]{}\/`

// rules are an AppProject made ready to be asked.
type rules struct {
	// where names the project in messages: "project shop (AppProject
	// plumb-system/shop)".
	where            string
	name             string
	spec             v1alpha1.AppProjectSpec
	sources          []pattern
	destinations     []destination
	sourceNamespaces []func(string) bool
	identities       []identity
	windows          window.Set
	integrity        []integrity
	signatureKeys    *integrity
}

type destination struct{ server, name, namespace pattern }

type identity struct {
	server, namespace pattern
	account           string
}

// compileProject makes a project ready, or says which of its entries cannot be
// understood: a fence that is not understood lets nothing through.
func compileProject(where string, project *v1alpha1.AppProject) (*rules, error) {
	r := &rules{where: where, name: project.Name, spec: project.Spec}
	fail := func(field string, i int, err error) error {
		return fmt.Errorf("%s cannot be understood: spec.%s[%d]: %w; correct it", where, field, i, err)
	}
	for i, repo := range project.Spec.SourceRepos {
		p, err := compile(repo, normalRepo, '/')
		if err != nil {
			return nil, fail("sourceRepos", i, err)
		}
		r.sources = append(r.sources, p)
	}
	for i, d := range project.Spec.Destinations {
		compiled, err := compileDestination(d)
		if err != nil {
			return nil, fail("destinations", i, err)
		}
		r.destinations = append(r.destinations, compiled)
	}
	for i, ns := range project.Spec.SourceNamespaces {
		match, err := namespacePattern(ns)
		if err != nil {
			return nil, fail("sourceNamespaces", i, err)
		}
		r.sourceNamespaces = append(r.sourceNamespaces, match)
	}
	for i, sa := range project.Spec.DestinationServiceAccounts {
		server, err := compile(sa.Server, nil)
		if err != nil {
			return nil, fail("destinationServiceAccounts", i, err)
		}
		namespace, err := compile(sa.Namespace, nil)
		if err != nil {
			return nil, fail("destinationServiceAccounts", i, err)
		}
		r.identities = append(r.identities, identity{server, namespace, sa.DefaultServiceAccount})
	}
	var err error
	if r.windows, err = window.Compile(project.Spec.SyncWindows); err != nil {
		return nil, fmt.Errorf("%s cannot be understood: %w; correct it", where, err)
	}
	if r.integrity, r.signatureKeys, err = compileIntegrity(&project.Spec); err != nil {
		return nil, fmt.Errorf("%s cannot be understood: %w; correct it", where, err)
	}
	return r, nil
}

// CheckProject says which of a project's entries cannot be understood, beginning
// with its field.
func CheckProject(project *v1alpha1.AppProject) error {
	_, err := compileProject("", project)
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), " cannot be understood: ")
	return errors.New(strings.TrimSuffix(text, "; correct it"))
}

func compileDestination(d v1alpha1.ApplicationDestination) (destination, error) {
	var out destination
	for _, part := range []struct {
		to   *pattern
		text string
	}{{&out.server, d.Server}, {&out.name, d.Name}, {&out.namespace, d.Namespace}} {
		p, err := compile(part.text, nil)
		if err != nil {
			return out, err
		}
		*part.to = p
	}
	return out, nil
}

// fence is a project as far as it holds one Application in.
type fence struct {
	*rules
	appNamespace string
	clusters     Clusters
	// scoped are the repositories that belong to the project.
	scoped []string
}

var _ engine.Fence = (*fence)(nil)

// AllowSource says why a repository may not be used.
func (f *fence) AllowSource(repo string) error {
	url := normalRepo(repo)
	if url == "" && repo != "" {
		return fmt.Errorf("%s cannot allow the repository %q: it is no URL", f.where, v1alpha1.RedactURL(repo))
	}
	allowed := slices.ContainsFunc(f.scoped, func(own string) bool { return sameRepo(own, repo) })
	for i, p := range f.sources {
		switch {
		case p.match(url):
			allowed = true
		case p.deny:
			return fmt.Errorf("%s denies the repository %s by spec.sourceRepos[%d] %q", f.where, v1alpha1.RedactURL(repo), i, p.text)
		}
	}
	if !allowed {
		return fmt.Errorf("%s does not allow the repository %s: no entry of spec.sourceRepos matches it", f.where, v1alpha1.RedactURL(repo))
	}
	return nil
}

// AllowDestination says why a cluster and namespace may not be applied to.
func (f *fence) AllowDestination(server, name, namespace string) error {
	own := f.clusters != nil && slices.Contains(f.clusters.OfProject(f.name), server)
	allowed := own
	for i, d := range f.destinations {
		serverOK := server != "" && d.server.match(server)
		nameOK := name != "" && d.name.match(name)
		namespaceOK := d.namespace.match(namespace)
		switch {
		case (serverOK || nameOK) && namespaceOK:
			allowed = true
		case !nameOK && d.name.deny,
			!serverOK && d.server.deny && namespaceOK,
			!namespaceOK && d.namespace.deny && serverOK:
			return fmt.Errorf("%s denies %s by spec.destinations[%d]", f.where, place(server, name, namespace), i)
		}
	}
	if !allowed {
		return fmt.Errorf("%s does not allow %s: no entry of spec.destinations matches it", f.where, place(server, name, namespace))
	}
	if f.spec.PermitOnlyProjectScopedClusters && !own {
		return fmt.Errorf("%s does not allow %s: spec.permitOnlyProjectScopedClusters is set and the cluster does not belong to the project", f.where, place(server, name, namespace))
	}
	return nil
}

func place(server, name, namespace string) string {
	cluster := server
	if name != "" {
		cluster = name + " (" + server + ")"
	}
	if namespace == "" {
		return "the cluster " + cluster
	}
	return fmt.Sprintf("the namespace %q of the cluster %s", namespace, cluster)
}

// Modules is what the project lets modules do.
func (f *fence) Modules() *v1alpha1.ModulePolicy { return f.spec.Modules }

// AllowResource says why a resource may not be applied.
func (f *fence) AllowResource(ref plan.Ref, namespaced bool, server, name, namespace string) error {
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	if !namespaced {
		return f.allowClusterResource(ref, server)
	}
	if err := f.allowNamespaced(ref); err != nil {
		return err
	}
	if err := f.withinScope(ref, server, namespace); err != nil {
		return err
	}
	return f.AllowDestination(server, name, namespace)
}

func (f *fence) allowClusterResource(ref plan.Ref, server string) error {
	if i := indexClusterKind(f.spec.ClusterResourceBlacklist, ref); i >= 0 {
		return fmt.Errorf("%s denies the cluster-scoped %s by spec.clusterResourceBlacklist[%d]", f.where, ref.Address(), i)
	}
	if indexClusterKind(f.spec.ClusterResourceWhitelist, ref) < 0 {
		return fmt.Errorf("%s does not allow the cluster-scoped %s: no entry of spec.clusterResourceWhitelist matches it", f.where, ref.Address())
	}
	return f.withinScope(ref, server, "")
}

func (f *fence) allowNamespaced(ref plan.Ref) error {
	for i, item := range f.spec.NamespaceResourceBlacklist {
		if matchKind(item.Kind, ref.Kind) && matchKind(item.Group, ref.Group) {
			return fmt.Errorf("%s denies %s by spec.namespaceResourceBlacklist[%d]", f.where, ref.Address(), i)
		}
	}
	if f.spec.NamespaceResourceWhitelist == nil {
		return nil
	}
	for _, item := range f.spec.NamespaceResourceWhitelist {
		if matchKind(item.Kind, ref.Kind) && matchKind(item.Group, ref.Group) {
			return nil
		}
	}
	return fmt.Errorf("%s does not allow %s: no entry of spec.namespaceResourceWhitelist matches it", f.where, ref.Address())
}

func indexClusterKind(list []v1alpha1.ClusterResourceRestrictionItem, ref plan.Ref) int {
	return slices.IndexFunc(list, func(item v1alpha1.ClusterResourceRestrictionItem) bool {
		return matchKind(item.Kind, ref.Kind) && matchKind(item.Group, ref.Group) &&
			(item.Name == "" || matchKind(item.Name, ref.Name))
	})
}

// withinScope holds a cluster to the namespaces that it is registered for.
func (f *fence) withinScope(ref plan.Ref, server, namespace string) error {
	if f.clusters == nil {
		return nil
	}
	_, namespaces := f.clusters.Scope(server)
	if len(namespaces) == 0 || namespace == "" || slices.Contains(namespaces, namespace) {
		return nil
	}
	return fmt.Errorf("%s: the cluster %s is registered for the namespaces %s only", ref.Address(), server, strings.Join(namespaces, ", "))
}

// Identity that changes to a destination are made as.
func (f *fence) Identity(server, namespace string) (string, error) {
	if len(f.identities) == 0 {
		return "", nil
	}
	for i, id := range f.identities {
		if !id.server.match(server) || !id.namespace.match(namespace) {
			continue
		}
		account := strings.TrimSpace(id.account)
		owner, name, qualified := strings.Cut(account, ":")
		if !qualified {
			owner, name = namespace, account
			if owner == "" {
				owner = f.appNamespace
			}
		}
		if owner == "" || name == "" || strings.ContainsAny(account, serviceAccountForbidden+" ") || strings.Contains(name, ":") {
			return "", fmt.Errorf("%s: spec.destinationServiceAccounts[%d] has the service account %q, which is no name: write name or namespace:name", f.where, i, id.account)
		}
		return "system:serviceaccount:" + owner + ":" + name, nil
	}
	return "", fmt.Errorf("%s names identities to apply with, but none for %s: add an entry to spec.destinationServiceAccounts", f.where, place(server, "", namespace))
}
