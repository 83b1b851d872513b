package v1alpha1_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// groups are the two groups that the API is served as.
var groups = []schema.GroupVersion{v1alpha1.GroupVersion, v1alpha1.ArgoGroupVersion}

// install installs the definitions of both groups on a real API server, which
// checks the schemas and the cost of the rules, and waits until they are served.
func install(t *testing.T) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, gv := range groups {
		for _, text := range v1alpha1.CRDs(gv.Group) {
			crd := &unstructured.Unstructured{}
			if err := crd.UnmarshalJSON(text); err != nil {
				t.Fatal(err)
			}
			force := metav1.ApplyOptions{FieldManager: "test", Force: true}
			if _, err := client.Resource(definitions).Apply(t.Context(), crd.GetName(), crd, force); err != nil {
				t.Fatalf("install %s: %v", crd.GetName(), err)
			}
		}
		for _, resource := range []string{v1alpha1.ApplicationResource, v1alpha1.AppProjectResource} {
			eventually(t, func() error {
				_, err := client.Resource(gv.WithResource(resource)).List(t.Context(), metav1.ListOptions{})
				return err
			})
		}
	}
	return client
}

func eventually(t *testing.T, do func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// manifest reads a manifest as an object of a group.
func manifest(t *testing.T, text []byte, gv schema.GroupVersion) (*unstructured.Unstructured, schema.GroupVersionResource) {
	t.Helper()
	object := &unstructured.Unstructured{}
	text, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := object.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	object.SetGroupVersionKind(gv.WithKind(object.GetKind()))
	object.SetFinalizers(nil) // nothing here would take them off
	if object.GetKind() == v1alpha1.AppProjectKind {
		return object, gv.WithResource(v1alpha1.AppProjectResource)
	}
	return object, gv.WithResource(v1alpha1.ApplicationResource)
}

func TestServerAcceptsManifests(t *testing.T) {
	client := install(t)
	for name, text := range manifests(t, "accepted") {
		for _, gv := range groups {
			t.Run(gv.Group+"/"+name, func(t *testing.T) {
				namespace := kubetest.Namespace(t)
				object, resource := manifest(t, text, gv)
				object.SetNamespace(namespace)
				strict := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
				created, err := client.Resource(resource).Namespace(namespace).Create(t.Context(), object, strict)
				if err != nil {
					t.Fatal(err)
				}
				if created.Object["status"] != nil {
					t.Error("the status was created with the object: it is a subresource")
				}
				if status := object.Object["status"]; status != nil {
					created.Object["status"] = status
					if created, err = client.Resource(resource).Namespace(namespace).UpdateStatus(t.Context(), created, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
						t.Fatal(err)
					}
				}
				for _, part := range []string{"spec", "status", "operation"} {
					if diff := cmp.Diff(object.Object[part], created.Object[part]); diff != "" {
						t.Errorf("%s was stored otherwise (-sent +stored):\n%s", part, diff)
					}
				}
			})
		}
	}
	t.Run("typed", func(t *testing.T) { listTyped(t) })
}

// listTyped lists what the other tests created, as the controller does: with a
// typed client of one group.
func listTyped(t *testing.T) {
	for _, gv := range groups {
		config := rest.CopyConfig(kubetest.Config(t))
		s := v1alpha1.NewScheme(gv)
		config.GroupVersion, config.APIPath = &gv, "/apis"
		config.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
		restClient, err := rest.RESTClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		applications := gentype.NewClientWithList[*v1alpha1.Application, *v1alpha1.ApplicationList](
			v1alpha1.ApplicationResource, restClient, runtime.NewParameterCodec(s), "",
			func() *v1alpha1.Application { return &v1alpha1.Application{} },
			func() *v1alpha1.ApplicationList { return &v1alpha1.ApplicationList{} })
		list, err := applications.List(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if meta.LenList(list) == 0 {
			t.Errorf("%s: the list is empty", gv)
		}
		for _, app := range list.Items {
			if len(app.Spec.GetSources()) == 0 {
				t.Errorf("%s %s: no sources", gv, app.Name)
			}
		}
	}
}

// The package comment says which group `kubectl get applications` means.
func TestNamesForKubectl(t *testing.T) {
	install(t)
	client, err := discovery.NewDiscoveryClientForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]schema.GroupVersion{
		"applications":           v1alpha1.ArgoGroupVersion,
		"app":                    v1alpha1.ArgoGroupVersion,
		"appproj":                v1alpha1.ArgoGroupVersion,
		"applications.plumb.dev": v1alpha1.GroupVersion,
		"papp":                   v1alpha1.GroupVersion,
		"pproj":                  v1alpha1.GroupVersion,
	} {
		eventually(t, func() error {
			resources, err := restmapper.GetAPIGroupResources(client)
			if err != nil {
				return err
			}
			mapper := restmapper.NewShortcutExpander(restmapper.NewDiscoveryRESTMapper(resources), client, func(string) {})
			kind, err := mapper.KindFor(schema.ParseGroupResource(name).WithVersion(""))
			if err != nil {
				return err
			}
			if got := kind.GroupVersion(); got != want {
				return fmt.Errorf("kubectl get %s: %s, want %s", name, got, want)
			}
			return nil
		})
	}
}

func TestServerRefusesManifests(t *testing.T) {
	client := install(t)
	namespace := kubetest.Namespace(t)
	for name, text := range manifests(t, "refused") {
		first, _, _ := strings.Cut(string(text), "\n")
		want, ok := strings.CutPrefix(first, "# want: ")
		if !ok {
			t.Fatalf("%s: the first line is not # want: …", name)
		}
		for _, gv := range groups {
			t.Run(gv.Group+"/"+name, func(t *testing.T) {
				object, resource := manifest(t, text, gv)
				object.SetNamespace(namespace)
				strict := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
				_, err := client.Resource(resource).Namespace(namespace).Create(t.Context(), object, strict)
				if err == nil {
					t.Fatalf("accepted; want a refusal that says %q", want)
				}
				if !strings.Contains(err.Error(), want) {
					t.Errorf("refused with\n  %v\nwhich does not say\n  %s", err, want)
				}
			})
		}
	}
}
