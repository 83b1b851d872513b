package controller

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumb-dev/plumb/internal/mirror"
)

// RightID names a role or a binding.
type RightID struct{ Kind, Namespace, Name string }

// Right is a role that lets people do something with Plumb's objects, or a binding
// that gives such a role to somebody.
type Right struct {
	RightID
	// Text says what it allows, or whom it gives what.
	Text string
	// Role is what a binding gives.
	Role    RightID
	Created time.Time
}

// RightChange is what has become of a role or binding.
type RightChange struct {
	ID RightID
	// Now is what it says by itself; nil where that is nothing about Plumb's objects.
	Now  *Right
	Gone bool
}

// The kinds of rights.
const (
	kindRole               = "Role"
	kindClusterRole        = "ClusterRole"
	kindRoleBinding        = "RoleBinding"
	kindClusterRoleBinding = "ClusterRoleBinding"
)

const (
	// bootstrapLabel is on the roles and bindings that every cluster has.
	bootstrapLabel = "kubernetes.io/bootstrapping"
	// ownRoles is how the names of Plumb's roles begin.
	ownRoles = "plumb-"
	// mostText bounds what is told of one right, and mostSubjects, how many a binding
	// is told with.
	mostText     = 900
	mostSubjects = 20
)

// rights mirrors the roles and bindings of the control plane.
type rights struct {
	log *slog.Logger
	// groups are the API groups that Plumb serves.
	groups          []string
	changed         func(RightChange)
	roles           *mirror.Mirror[*rbacv1.Role]
	clusterRoles    *mirror.Mirror[*rbacv1.ClusterRole]
	bindings        *mirror.Mirror[*rbacv1.RoleBinding]
	clusterBindings *mirror.Mirror[*rbacv1.ClusterRoleBinding]
	live            atomic.Bool
}

// addRights mirrors roles and bindings, where somebody is told of them.
func (c *Controller) addRights(o Options) error {
	if o.Declared == nil || o.Lenient {
		return nil
	}
	scheme := runtime.NewScheme()
	if err := rbacv1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register the types of roles: %w", err)
	}
	client, err := mirror.ClientFor(o.Config, rbacv1.SchemeGroupVersion, scheme)
	if err != nil {
		return err
	}
	r := &rights{log: c.log, changed: o.Declared.Right}
	for group := range c.groups {
		r.groups = append(r.groups, group)
	}
	r.roles = mirror.New(mirror.Options[*rbacv1.Role]{
		Client: client, Resource: "roles", Example: &rbacv1.Role{}, Log: c.log,
		Trim:    func(role *rbacv1.Role) { role.ObjectMeta = trimMeta(role.ObjectMeta) },
		Changed: func(old, now *rbacv1.Role) { tell(r, kindRole, old, now) },
	})
	r.clusterRoles = mirror.New(mirror.Options[*rbacv1.ClusterRole]{
		Client: client, Resource: "clusterroles", Example: &rbacv1.ClusterRole{}, Log: c.log,
		Trim:    func(role *rbacv1.ClusterRole) { role.ObjectMeta = trimMeta(role.ObjectMeta) },
		Changed: func(old, now *rbacv1.ClusterRole) { tell(r, kindClusterRole, old, now) },
	})
	r.bindings = mirror.New(mirror.Options[*rbacv1.RoleBinding]{
		Client: client, Resource: "rolebindings", Example: &rbacv1.RoleBinding{}, Log: c.log,
		Trim:    func(b *rbacv1.RoleBinding) { b.ObjectMeta = trimMeta(b.ObjectMeta) },
		Changed: func(old, now *rbacv1.RoleBinding) { tell(r, kindRoleBinding, old, now) },
	})
	r.clusterBindings = mirror.New(mirror.Options[*rbacv1.ClusterRoleBinding]{
		Client: client, Resource: "clusterrolebindings", Example: &rbacv1.ClusterRoleBinding{}, Log: c.log,
		Trim:    func(b *rbacv1.ClusterRoleBinding) { b.ObjectMeta = trimMeta(b.ObjectMeta) },
		Changed: func(old, now *rbacv1.ClusterRoleBinding) { tell(r, kindClusterRoleBinding, old, now) },
	})
	c.rights = r
	return nil
}

// trimMeta keeps what names an object, and whether every cluster has it.
func trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	out := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, ResourceVersion: m.ResourceVersion, UID: m.UID, CreationTimestamp: m.CreationTimestamp,
	}
	if v, ok := m.Labels[bootstrapLabel]; ok {
		out.Labels = map[string]string{bootstrapLabel: v}
	}
	return out
}

// tell passes on what has changed once all is known.
func tell[T mirror.Object](r *rights, kind string, old, now T) {
	if !r.live.Load() {
		return
	}
	var none T
	if now == none {
		r.changed(RightChange{ID: RightID{kind, old.GetNamespace(), old.GetName()}, Gone: true})
		return
	}
	c := RightChange{ID: RightID{kind, now.GetNamespace(), now.GetName()}}
	for _, right := range r.alone(any(now)) {
		if right.RightID == c.ID {
			c.Now = &right
		}
	}
	r.changed(c)
}

// alone works out what one object says, with the role that it speaks of.
func (r *rights) alone(object any) []Right {
	var roles []*rbacv1.Role
	var clusterRoles []*rbacv1.ClusterRole
	find := func(namespace string, ref rbacv1.RoleRef) {
		if role, ok := r.clusterRoles.Get("", ref.Name); ok && ref.Kind == kindClusterRole {
			clusterRoles = append(clusterRoles, role)
		}
		if role, ok := r.roles.Get(namespace, ref.Name); ok && ref.Kind == kindRole {
			roles = append(roles, role)
		}
	}
	switch o := object.(type) {
	case *rbacv1.Role:
		roles = append(roles, o)
	case *rbacv1.ClusterRole:
		clusterRoles = append(clusterRoles, o)
	case *rbacv1.RoleBinding:
		find(o.Namespace, o.RoleRef)
		return rightsOf(r.groups, roles, clusterRoles, []*rbacv1.RoleBinding{o}, nil)
	case *rbacv1.ClusterRoleBinding:
		find("", o.RoleRef)
		return rightsOf(r.groups, roles, clusterRoles, nil, []*rbacv1.ClusterRoleBinding{o})
	}
	return rightsOf(r.groups, roles, clusterRoles, nil, nil)
}

// run mirrors until ctx is done, and lets it be where Plumb may not.
func (r *rights) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.roles.Run(ctx)
	go r.clusterRoles.Run(ctx)
	go r.bindings.Run(ctx)
	go r.clusterBindings.Run(ctx)
	for _, await := range []func(context.Context) error{r.roles.Await, r.clusterRoles.Await, r.bindings.Await, r.clusterBindings.Await} {
		err := await(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case apierrors.IsForbidden(err):
			r.log.Warn("changes of roles and their bindings are not recorded: Plumb may not list and watch them", "error", err)
			return
		case err != nil:
			r.log.Warn("changes of roles and their bindings are not recorded", "error", err)
			return
		}
	}
	r.live.Store(true)
	r.changed(RightChange{})
	<-ctx.Done()
}

// Rights are all that there are, in order; false where they are not known.
func (c *Controller) Rights() ([]Right, bool) {
	if c.rights == nil || !c.rights.live.Load() {
		return nil, false
	}
	r := c.rights
	return rightsOf(r.groups, r.roles.List(), r.clusterRoles.List(), r.bindings.List(), r.clusterBindings.List()), true
}

// rightsOf works out who may do what with objects of the groups. What every cluster
// has is told of only where it is given to somebody that not every cluster has.
func rightsOf(groups []string, roles []*rbacv1.Role, clusterRoles []*rbacv1.ClusterRole, bindings []*rbacv1.RoleBinding, clusterBindings []*rbacv1.ClusterRoleBinding) []Right {
	found := map[RightID]Right{} // roles
	builtin := map[RightID]bool{}
	role := func(id RightID, meta *metav1.ObjectMeta, rules []rbacv1.PolicyRule) {
		text, touches := allows(groups, rules)
		if !touches && !strings.HasPrefix(id.Name, ownRoles) {
			return
		}
		found[id] = Right{RightID: id, Created: meta.CreationTimestamp.Time, Text: shortened(id.String() + " " + text)}
		builtin[id] = meta.Labels[bootstrapLabel] != ""
	}
	for _, o := range roles {
		role(RightID{kindRole, o.Namespace, o.Name}, &o.ObjectMeta, o.Rules)
	}
	for _, o := range clusterRoles {
		role(RightID{kindClusterRole, "", o.Name}, &o.ObjectMeta, o.Rules)
	}
	var out []Right
	binding := func(id RightID, meta *metav1.ObjectMeta, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		to := RightID{ref.Kind, "", ref.Name}
		if ref.Kind == kindRole {
			to.Namespace = id.Namespace
		}
		_, touches := found[to]
		if !touches && !strings.HasPrefix(ref.Name, ownRoles) || builtin[to] && !slices.ContainsFunc(subjects, matters) {
			return
		}
		builtin[to] = false
		out = append(out, Right{RightID: id, Role: to, Created: meta.CreationTimestamp.Time, Text: shortened(id.String() + " binds " + to.String() + " to " + subjectsOf(subjects))})
	}
	for _, o := range bindings {
		binding(RightID{kindRoleBinding, o.Namespace, o.Name}, &o.ObjectMeta, o.RoleRef, o.Subjects)
	}
	for _, o := range clusterBindings {
		binding(RightID{kindClusterRoleBinding, "", o.Name}, &o.ObjectMeta, o.RoleRef, o.Subjects)
	}
	for id, r := range found {
		if !builtin[id] {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Right) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// String is the kind and the name.
func (id RightID) String() string {
	if id.Namespace == "" {
		return id.Kind + " " + word(id.Name)
	}
	return id.Kind + " " + id.Namespace + "/" + word(id.Name)
}

// matters tells whether a subject is more than what every cluster has.
func matters(s rbacv1.Subject) bool {
	switch {
	case s.Kind == rbacv1.ServiceAccountKind:
		return s.Namespace != metav1.NamespaceSystem
	case !strings.HasPrefix(s.Name, "system:"):
		return true
	}
	for _, everybody := range []string{"system:authenticated", "system:unauthenticated", "system:anonymous", "system:serviceaccount"} {
		if strings.HasPrefix(s.Name, everybody) {
			return !strings.HasPrefix(s.Name, "system:serviceaccount:"+metav1.NamespaceSystem+":") && s.Name != "system:serviceaccounts:"+metav1.NamespaceSystem
		}
	}
	return false
}

func subjectsOf(all []rbacv1.Subject) string {
	var words []string
	for _, s := range all[:min(len(all), mostSubjects)] {
		name := word(s.Name)
		if s.Kind == rbacv1.ServiceAccountKind {
			name = s.Namespace + "/" + name
		}
		words = append(words, s.Kind+" "+name)
	}
	if more := len(all) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more (%s)", more, hashOfText(fmt.Sprint(all))))
	}
	if len(words) == 0 {
		return "nobody"
	}
	return strings.Join(words, ", ")
}

// allows says in words what rules allow with objects of the groups.
func allows(groups []string, rules []rbacv1.PolicyRule) (text string, touches bool) {
	var words []string
	for _, r := range rules {
		var of []string
		for _, g := range r.APIGroups {
			if g == rbacv1.APIGroupAll || slices.Contains(groups, g) {
				of = append(of, g)
			}
		}
		if len(of) == 0 {
			continue
		}
		what := listOf(r.Verbs) + " " + listOf(r.Resources) + " of " + listOf(of)
		if len(r.ResourceNames) > 0 {
			what += " called " + listOf(r.ResourceNames)
		}
		words = append(words, what)
	}
	if len(words) == 0 {
		return "allows nothing with Plumb's objects", false
	}
	return "allows: " + strings.Join(words, "; "), true
}

func listOf(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = word(w)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// word is a name as it is; one that somebody chose to be misread is quoted.
func word(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strconv.IsPrint(r) || strings.ContainsRune(" ,;\"'()", r)
	})
	if plain {
		return s
	}
	return strconv.Quote(s)
}

// shortened cuts a text, and keeps two that differ apart.
func shortened(s string) string {
	if len(s) <= mostText {
		return s
	}
	return strings.ToValidUTF8(s[:mostText], "") + "… (" + hashOfText(s) + ")"
}

func hashOfText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:8])
}
