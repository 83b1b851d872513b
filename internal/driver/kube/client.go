package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
)

// mapping tells where a kind is served.
type mapping struct {
	gvr        schema.GroupVersionResource
	namespaced bool
}

func (m mapping) path(namespace, name string) string {
	var b strings.Builder
	if m.gvr.Group == "" {
		b.WriteString("/api/")
	} else {
		b.WriteString("/apis/" + m.gvr.Group + "/")
	}
	b.WriteString(m.gvr.Version)
	if m.namespaced && namespace != "" {
		b.WriteString("/namespaces/" + namespace)
	}
	b.WriteString("/" + m.gvr.Resource)
	if name != "" {
		b.WriteString("/" + name)
	}
	return b.String()
}

// client makes requests to one destination as one identity. It sends and
// receives JSON as it is.
type client struct {
	server string
	rest   *rest.RESTClient
	http   *http.Client
	config *rest.Config
	told   func(server, verb string)
}

// quietly keeps the warnings of API servers out of the log.
type quietly struct{}

func (quietly) HandleWarningHeader(int, string, string) {}

func newClient(server string, config *rest.Config, identity string, o *Options) (*client, error) {
	c := rest.CopyConfig(config)
	c.QPS, c.Burst, c.RateLimiter = -1, 0, nil // the API server's own fairness does it
	c.UserAgent = o.UserAgent
	c.WarningHandler = quietly{}
	c.WarningHandlerWithContext = nil
	if identity != "" {
		c.Impersonate = rest.ImpersonationConfig{UserName: identity}
	}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	c.GroupVersion, c.APIPath = nil, ""
	hc, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, err
	}
	rc, err := rest.UnversionedRESTClientForConfigAndClient(c, hc)
	if err != nil {
		return nil, err
	}
	return &client{server: server, rest: rc, http: hc, config: c, told: o.Requests}, nil
}

type countKey struct{}

// counting gives a context in which requests are counted.
func counting(ctx context.Context) (context.Context, *atomic.Int64) {
	n := &atomic.Int64{}
	return context.WithValue(ctx, countKey{}, n), n
}

func (c *client) tell(ctx context.Context, verb string) {
	if n, ok := ctx.Value(countKey{}).(*atomic.Int64); ok {
		n.Add(1)
	}
	if c.told != nil {
		c.told(c.server, verb)
	}
}

func (c *client) get(ctx context.Context, m mapping, namespace, name string) (map[string]any, error) {
	c.tell(ctx, "get")
	return object(c.rest.Get().AbsPath(m.path(namespace, name)).Do(ctx))
}

// patchOptions are those of a server-side apply.
type patchOptions struct {
	manager    string
	dryRun     bool
	noValidate bool
}

// apply applies an object and gives it as it is then stored, and whether it
// was made.
func (c *client) apply(ctx context.Context, m mapping, namespace, name string, body []byte, o patchOptions) (map[string]any, bool, error) {
	verb := "patch"
	if o.dryRun {
		verb = "dry-run"
	}
	c.tell(ctx, verb)
	r := c.rest.Patch(types.ApplyPatchType).AbsPath(m.path(namespace, name)).Param("fieldManager", o.manager).Param("force", "true")
	r = withWriteOptions(r, o)
	var code int
	res := r.Body(body).Do(ctx).StatusCode(&code)
	obj, err := object(res)
	return obj, code == http.StatusCreated, err
}

func withWriteOptions(r *rest.Request, o patchOptions) *rest.Request {
	validation := metav1.FieldValidationStrict
	if o.noValidate {
		validation = metav1.FieldValidationIgnore
	}
	r = r.Param("fieldValidation", validation)
	if o.dryRun {
		r = r.Param("dryRun", metav1.DryRunAll)
	}
	return r
}

func (c *client) patchJSON(ctx context.Context, m mapping, namespace, name string, patch []byte) error {
	c.tell(ctx, "patch")
	return c.rest.Patch(types.JSONPatchType).AbsPath(m.path(namespace, name)).Param("fieldManager", FieldManager).Body(patch).Do(ctx).Error()
}

func (c *client) create(ctx context.Context, m mapping, namespace string, body []byte, o patchOptions) (map[string]any, error) {
	c.tell(ctx, "create")
	r := c.rest.Post().AbsPath(m.path(namespace, "")).Param("fieldManager", o.manager)
	return object(withWriteOptions(r, o).Body(body).Do(ctx))
}

func (c *client) put(ctx context.Context, m mapping, namespace, name string, body []byte, o patchOptions) (map[string]any, error) {
	c.tell(ctx, "put")
	r := c.rest.Put().AbsPath(m.path(namespace, name)).Param("fieldManager", o.manager)
	return object(withWriteOptions(r, o).Body(body).Do(ctx))
}

// delete deletes an object and gives it where it is not gone at once.
func (c *client) delete(ctx context.Context, m mapping, namespace, name string, o metav1.DeleteOptions) (map[string]any, error) {
	c.tell(ctx, "delete")
	o.APIVersion, o.Kind = "v1", "DeleteOptions"
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	obj, err := object(c.rest.Delete().AbsPath(m.path(namespace, name)).Body(body).Do(ctx))
	if err != nil || obj["kind"] == "Status" || text(obj, "metadata", "deletionTimestamp") == "" {
		return nil, err
	}
	return obj, nil
}

func object(res rest.Result) (map[string]any, error) {
	raw, err := res.Raw()
	if err != nil {
		if se := res.Error(); se != nil {
			err = se
		}
		return nil, err
	}
	var obj map[string]any
	if err := decodeJSON(raw, &obj); err != nil {
		return nil, fmt.Errorf("read the API server's answer: %w", err)
	}
	return obj, nil
}

// decodeJSON decodes with integers as int64, as Kubernetes does.
func decodeJSON(b []byte, into any) error { return utiljson.Unmarshal(b, into) }

// text gives the string at a path in an object.
func text(object map[string]any, path ...string) string {
	v, _ := at(object, path...).(string)
	return v
}

func at(object map[string]any, path ...string) any {
	var v any = object
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}
