package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/controller"
)

// checker checks objects. Schemas are compiled when they are first needed.
type checker struct {
	builtin *runtime.Scheme
	ours    func() (map[string]*definition, error)
}

// definition is the schema of one of Plumb's own kinds. It is the same in both
// of their groups.
type definition struct {
	schema *structural.Structural
	values schemavalidation.SchemaValidator
	rules  *cel.Validator
}

func newChecker() *checker {
	known := runtime.NewScheme()
	_ = scheme.AddToScheme(known)          // fails on conflicting registrations only:
	_ = apiextensionsv1.AddToScheme(known) // a broken build
	return &checker{builtin: known, ours: sync.OnceValues(readDefinitions)}
}

// readDefinitions compiles the definitions, by kind.
func readDefinitions() (map[string]*definition, error) {
	out := map[string]*definition{}
	for _, text := range v1alpha1.CRDs(v1alpha1.Group) {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := json.Unmarshal(text, &crd); err != nil {
			return nil, fmt.Errorf("read the definitions of plumb: %w", err)
		}
		var internal apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
			crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
			return nil, fmt.Errorf("read the schema of %s: %w", crd.Name, err)
		}
		s, err := structural.NewStructural(&internal)
		if err != nil {
			return nil, fmt.Errorf("read the schema of %s: %w", crd.Name, err)
		}
		values, _, err := schemavalidation.NewSchemaValidator(&internal)
		if err != nil {
			return nil, fmt.Errorf("read the schema of %s: %w", crd.Name, err)
		}
		out[crd.Spec.Names.Kind] = &definition{s, values, cel.NewValidator(s, true, celconfig.PerCallLimit)}
	}
	return out, nil
}

// check checks an object. It tells whether there was a schema for it.
func (c *checker) check(m manifest) (findings []finding, checked bool) {
	gvk := m.obj.GroupVersionKind()
	named := checkName(m)
	if gvk.Group == v1alpha1.Group || gvk.Group == v1alpha1.ArgoGroup {
		if gvk.Kind == "Application" || gvk.Kind == "AppProject" {
			return append(named, c.checkOwn(m, gvk)...), true
		}
		if likely := similar(gvk.Kind, []string{"Application", "AppProject", "ApplicationSet"}); likely != "" && likely != gvk.Kind {
			return append(named, finding{Line: locate(m.text, "kind"), Severity: severityWarning, Field: "kind",
				Message: fmt.Sprintf("unknown kind %q, did you mean %q?", gvk.Kind, likely)}), false
		}
		return named, false
	}
	found, checked := c.checkBuiltin(m, gvk)
	return append(named, found...), checked
}

// checkName looks at what every object must have.
func checkName(m manifest) []finding {
	if _, ok := m.obj.Object["metadata"].(map[string]any); !ok && m.obj.Object["metadata"] != nil {
		return []finding{{Line: locate(m.text, "metadata"), Severity: severityError, Field: "metadata", Message: "must be a mapping"}}
	}
	if m.obj.GetName() == "" && m.obj.GetGenerateName() == "" && m.obj.GetKind() != "Kustomization" {
		return []finding{{Line: locate(m.text, "metadata"), Severity: severityError, Field: "metadata.name", Message: "the object has no name"}}
	}
	return nil
}

// checkOwn checks an Application or an AppProject.
func (c *checker) checkOwn(m manifest, gvk schema.GroupVersionKind) []finding {
	if gvk.Version != v1alpha1.GroupVersion.Version {
		return []finding{{Line: locate(m.text, "apiVersion"), Severity: severityError, Field: "apiVersion",
			Message: fmt.Sprintf("there is no %s of %s, write %s/%s", gvk.Version, gvk.Group, gvk.Group, v1alpha1.GroupVersion.Version)}}
	}
	all, err := c.ours()
	if err != nil {
		return []finding{{Severity: severityError, Message: err.Error()}}
	}
	d := all[gvk.Kind]
	out := walk(m.obj.Object, m.text, schemaShape{d.schema, shapeOf(reflect.TypeFor[metav1.ObjectMeta]())}, "")
	for _, problem := range apivalidation.NameIsDNSSubdomain(m.obj.GetName(), false) {
		if m.obj.GetName() != "" {
			out = append(out, finding{Line: locate(m.text, "metadata.name"), Severity: severityError, Field: "metadata.name", Message: problem})
		}
	}
	broken := d.validate(m)
	out = append(out, broken...)
	if len(broken) == 0 {
		out = append(out, checkMeaning(m)...)
	}
	return out
}

// validate does what the API server does with an object of a definition.
func (d *definition) validate(m manifest) []finding {
	obj := m.obj.DeepCopy().Object
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, d.schema)
	defaulting.Default(obj, d.schema)
	errs := schemavalidation.ValidateCustomResource(nil, obj, d.values)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, d.schema, obj)...)
	if d.rules != nil && len(errs) == 0 {
		found, _ := d.rules.Validate(context.Background(), nil, d.schema, obj, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, found...)
	}
	return fieldFindings(m, errs)
}

func fieldFindings(m manifest, errs field.ErrorList) []finding {
	var out []finding
	for _, e := range errs {
		where := strings.TrimPrefix(e.Field, "<nil>")
		text := e.ErrorBody()
		if e.Type == field.ErrorTypeInvalid && e.Detail != "" && reflect.ValueOf(e.BadValue).Kind() != reflect.Invalid {
			if _, isString := e.BadValue.(string); !isString || e.BadValue == "object" || e.BadValue == "array" {
				text = e.Detail
			}
		}
		out = append(out, finding{Line: locate(m.text, where), Severity: severityError, Field: where, Message: text})
	}
	return out
}

// checkMeaning finds what the schema lets through.
func checkMeaning(m manifest) []finding {
	if m.obj.GetKind() == "AppProject" {
		var p v1alpha1.AppProject
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m.obj.Object, &p); err != nil {
			return []finding{{Severity: severityError, Message: err.Error()}}
		}
		return append(notImplemented(m, v1alpha1.UnimplementedProject(&p.Spec), v1alpha1.UnimplementedProjectBlocking(&p.Spec)), checkProject(m, &p)...)
	}
	var app v1alpha1.Application
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m.obj.Object, &app); err != nil {
		return []finding{{Severity: severityError, Message: err.Error()}}
	}
	out := notImplemented(m, v1alpha1.Unimplemented(&app.Spec), v1alpha1.UnimplementedBlocking(&app.Spec))
	for i, s := range app.Spec.GetSources() {
		if _, err := s.ExplicitType(); err != nil {
			where := "spec.source"
			if app.Spec.HasMultipleSources() {
				where = fmt.Sprintf("spec.sources[%d]", i)
			}
			out = append(out, finding{Line: locate(m.text, where), Severity: severityError, Field: where, Message: err.Error()})
		}
	}
	if _, err := app.Spec.SyncPolicy.GetRetry().Wait(0); err != nil {
		where := "spec.syncPolicy.retry.backoff"
		out = append(out, finding{Line: locate(m.text, where), Severity: severityError, Field: where, Message: err.Error()})
	}
	return append(out, checkSyncOptions(m, app.Spec.SyncPolicy.GetSyncOptions())...)
}

// checkProject finds what would block a project's Applications.
func checkProject(m manifest, p *v1alpha1.AppProject) []finding {
	err := controller.CheckProject(p)
	if err == nil {
		return nil
	}
	where, text, ok := strings.Cut(err.Error(), ": ")
	if !ok || !strings.HasPrefix(where, "spec.") {
		return []finding{{Severity: severityError, Message: err.Error()}}
	}
	return []finding{{Line: locate(m.text, where), Severity: severityError, Field: where, Message: text + "; the project's Applications are blocked"}}
}

func notImplemented(m manifest, all, blocking []string) []finding {
	var out []finding
	for _, where := range all {
		text := "Plumb does not implement this yet: it has no effect"
		if slices.Contains(blocking, where) {
			text = "Plumb does not implement this yet, and does not sync while it is set"
		}
		out = append(out, finding{Line: locate(m.text, where), Severity: severityWarning, Field: where, Message: text})
	}
	return out
}

var syncOptions = []string{
	v1alpha1.SyncOptionCreateNamespace, v1alpha1.SyncOptionPrune, v1alpha1.SyncOptionPruneLast,
	v1alpha1.SyncOptionPrunePropagationPolicy, v1alpha1.SyncOptionDelete, v1alpha1.SyncOptionReplace,
	v1alpha1.SyncOptionForce, v1alpha1.SyncOptionServerSideApply, v1alpha1.SyncOptionClientSideApplyMigration,
	v1alpha1.SyncOptionValidate, v1alpha1.SyncOptionSkipDryRunOnMissing, v1alpha1.SyncOptionApplyOutOfSyncOnly,
	v1alpha1.SyncOptionFailOnSharedResource, v1alpha1.SyncOptionRespectIgnoreDifferences,
}

// checkSyncOptions warns of options that nothing understands.
func checkSyncOptions(m manifest, options v1alpha1.SyncOptions) []finding {
	var out []finding
	for i, o := range options {
		name, _, _ := strings.Cut(o, "=")
		if slices.Contains(syncOptions, name) {
			continue
		}
		where := fmt.Sprintf("spec.syncPolicy.syncOptions[%d]", i)
		text := fmt.Sprintf("unknown sync option %q: it has no effect", name)
		if likely := similar(name, syncOptions); likely != "" {
			text += fmt.Sprintf(", did you mean %q?", likely)
		}
		out = append(out, finding{Line: locate(m.text, where), Severity: severityWarning, Field: where, Message: text})
	}
	return out
}

// checkBuiltin checks an object of one of Kubernetes' own kinds.
func (c *checker) checkBuiltin(m manifest, gvk schema.GroupVersionKind) ([]finding, bool) {
	if !c.builtin.Recognizes(gvk) {
		return c.unknownKind(m, gvk), false
	}
	typed, err := c.builtin.New(gvk)
	if err != nil {
		return nil, false
	}
	out := walk(m.obj.Object, m.text, shapeOf(reflect.TypeOf(typed).Elem()), "")
	if len(out) > 0 {
		return out, true
	}
	// What is left are values that only their types can read, such as quantities.
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m.obj.Object, typed); err != nil {
		text, jsonErr := json.Marshal(m.obj.Object)
		if jsonErr == nil {
			jsonErr = json.Unmarshal(text, typed)
		}
		if jsonErr != nil {
			return []finding{{Severity: severityError, Message: err.Error()}}, true
		}
	}
	return nil, true
}

// unknownKind says which kind was probably meant.
func (c *checker) unknownKind(m manifest, gvk schema.GroupVersionKind) []finding {
	if !c.builtin.IsVersionRegistered(gvk.GroupVersion()) {
		return nil
	}
	var kinds []string
	for kind, t := range c.builtin.KnownTypes(gvk.GroupVersion()) {
		if _, isObject := jsonFields(t)["metadata"]; isObject && !strings.HasSuffix(kind, "List") {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	text := fmt.Sprintf("there is no kind %q in %s", gvk.Kind, gvk.GroupVersion())
	if likely := similar(gvk.Kind, kinds); likely != "" {
		text += fmt.Sprintf(", did you mean %q?", likely)
	}
	return []finding{{Line: locate(m.text, "kind"), Severity: severityError, Field: "kind", Message: text}}
}
