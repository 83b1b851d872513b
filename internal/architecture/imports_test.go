package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/plumb-dev/plumb/"

// listed is what go list says of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// packages lists all packages of the module and all that they depend on.
func packages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	all := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// matches tells whether a path is one of the patterns, or below one that ends
// in "/...".
func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
			return path == parent || strings.HasPrefix(path, parent+"/")
		}
		return path == pattern
	})
}

var (
	core      = []string{"internal/plan", "internal/health"}
	hclfile   = "internal/hclfile"
	contracts = []string{"api/v1alpha1", "internal/plan", "internal/health", "internal/source", "internal/render", "internal/driver"}
)

// layers say which packages of this module a package may import.
var layers = []struct {
	of     string
	may    []string
	reason string
}{
	{"api/v1alpha1", nil, "others import the API's types without importing Plumb"},
	{"internal/plan", nil, "the pure core does no I/O and knows nobody, so that tables test all of it"},
	{"internal/health", []string{"internal/plan"}, "the pure core, in this order"},
	{"internal/decide", core, "the pure core, in this order"},
	{"internal/diff", core, "shows changes to whoever asks"},
	{"internal/artifact", nil, "keeps texts by their digest, and does not know whose"},
	{"internal/audit", nil, "hears who writes what, and does not know what that means"},
	{"internal/window", []string{"api/v1alpha1"}, "when windows are open is a function of windows and a time"},
	{"internal/signature", []string{"internal/source"}, "whether a signature is good is a function of bytes and keys"},
	{"internal/source", core, "a contract imports the core alone: whoever implements it needs nothing else"},
	{"internal/hclfile", nil, "reads files without knowing what they mean"},
	{"internal/render", append([]string{"api/v1alpha1", "internal/source", hclfile}, core...), "a contract: rendering is a function of trees and the API's options"},
	{"internal/driver", append([]string{"api/v1alpha1", "internal/render"}, core...), "a contract: a driver compares bundles with a destination"},

	{"internal/source/archive", []string{"internal/source"}, "what sources share knows only their contract"},
	{"internal/source/memo", []string{"internal/source"}, "what sources share knows only their contract"},
	{"internal/source/memtree", []string{"internal/source"}, "what sources share knows only their contract"},
	{"internal/source/registry", []string{"internal/source"}, "what sources share knows only their contract"},
	{"internal/source/...", []string{"internal/source", "internal/source/archive", "internal/source/memo", "internal/source/memtree", "internal/source/registry"}, "one source never knows another, nor the engine"},
	{"internal/render/secrets", []string{"internal/render"}, "it knows files and texts; whose keys it uses others say"},
	{"internal/render/...", append([]string{"api/v1alpha1", "internal/source", "internal/render", hclfile}, core...), "one renderer never knows another, nor the engine"},
	{"internal/driver/kube/assess", core, "health is a function of an object"},
	{"internal/driver/kube", append([]string{"internal/driver/kube/assess"}, contracts...), "a driver never knows another, nor the engine"},
	{"internal/driver/tofu/isolate/shim", nil, "it imports next to nothing, since it is made ready again for each program"},
	{"internal/driver/tofu/isolate", []string{"internal/driver/tofu/isolate/shim"}, "confines processes without knowing what they are for"},
	{"internal/driver/tofu/probe/module", []string{hclfile}, "evaluates configurations of providers, and knows neither states nor processes"},
	{"internal/driver/tofu/probe/provider", []string{"internal/driver/tofu/isolate"}, "speaks to providers, and knows neither states nor modules"},
	{"internal/driver/tofu/probe/state", nil, "reads states, and knows no provider"},
	{"internal/driver/tofu/probe", []string{"internal/driver/tofu/probe/...", "internal/driver/tofu/isolate"}, "watches without knowing what for: neither the loop nor Kubernetes"},
	{"internal/driver/tofu/run", []string{hclfile, "internal/driver/tofu/isolate"}, "runs a program in a folder without knowing what for"},
	{"internal/driver/tofu/guard", []string{hclfile}, "reads a module's files: what they may do does not depend on what they are for"},
	{"internal/driver/tofu/planjson", core, "a plan's words become ours by a function of its JSON"},
	{"internal/driver/tofu/kubestate", []string{"internal/driver/tofu"}, "keeps what the driver asks it to keep"},
	{"internal/driver/tofu", append([]string{"internal/driver/tofu/run", "internal/driver/tofu/guard", "internal/driver/tofu/planjson", "internal/driver/tofu/probe/...", "internal/driver/tofu/isolate", hclfile}, contracts...), "a driver never knows another, nor the engine"},
	{"internal/driver/...", contracts, "a driver never knows another, nor the engine"},

	{"internal/engine/...", append([]string{"internal/engine", "internal/decide", "internal/diff", "internal/window", "internal/signature"}, contracts...), "the engine knows contracts, and no implementation"},
	{"internal/ledger/entry", nil, "what is recorded, as a pure type: whoever makes entries needs nothing else"},
	{"internal/ledger/report", []string{"internal/ledger/entry"}, "figures are a function of entries"},
	{"internal/ledger/index", []string{"internal/ledger/entry"}, "finds entries without knowing how the log is kept"},
	{"internal/ledger", []string{"internal/ledger/entry", "internal/ledger/index"}, "keeps entries without knowing who makes them"},
	{"internal/gitwrite", []string{"internal/source", "internal/source/git"}, "makes commits without knowing what files mean"},
	{"internal/adopt", []string{"api/v1alpha1", "internal/plan", "internal/source", "internal/source/memtree", "internal/render", hclfile}, "edits what repositories hold: whoever renders and pushes gives it the means"},
	{"internal/scm", nil, "a contract: what hosts of repositories are beside Git"},
	{"internal/scm/rest", nil, "speaks with an API without knowing whose"},
	{"internal/scm/connect", []string{"internal/scm/..."}, "makes each kind of host"},
	{"internal/scm/...", []string{"internal/scm", "internal/scm/rest"}, "one host never knows another, nor what is said there"},
	{"internal/preview", append([]string{"internal/scm", "internal/engine", "internal/diff"}, contracts...), "uses the engine as a command line does: to look, never to act"},
	{"internal/mirror", nil, "copies objects without knowing what they mean"},
	{"internal/controller", append([]string{"internal/engine", "internal/mirror", "internal/window", "internal/signature"}, contracts...), "stands between the Kubernetes API and the engine's ports"},
	{"internal/fleet", append([]string{"internal/engine", "internal/mirror"}, contracts...), "knows how clusters are reached; the driver asks it by an interface of its own"},
	{"internal/localkube/components", nil, "only starts Kubernetes' own programs"},
	{"internal/localkube", nil, "starts a control plane without knowing what it is for"},
	{"internal/localkube/kubetest/controlplane", []string{"internal/localkube/components"}, "a program of the components alone, so that tests need not build all of Plumb"},
	{"internal/localkube/kubetest", []string{"internal/localkube"}, "test support for any package"},
	{"internal/notify", []string{"api/v1alpha1"}, "tells of events without knowing whose they are: the composition root adapts"},
	{"internal/demo", []string{"api/v1alpha1"}, "examples are files"},
	{"internal/architecture", nil, "only a test"},
	{"internal/server", append([]string{
		"internal/source/...", "internal/render/...", "internal/driver/...", "internal/engine", "internal/decide", "internal/artifact",
		"internal/controller", "internal/fleet", "internal/mirror", "internal/ledger", "internal/ledger/entry", "internal/notify",
		"internal/adopt", "internal/gitwrite", "internal/audit",
		"internal/scm/...", "internal/preview",
	}, contracts...), "the composition root knows every part, but neither the command line nor the local control plane"},
	{"internal/cli", append([]string{
		"internal/source/...", "internal/render/...", "internal/driver/kube/assess", "internal/engine",
		"internal/localkube", "internal/demo", "internal/server", "internal/controller", "internal/diff", "internal/artifact", "internal/window", "internal/notify",
		"internal/ledger/...",
		"internal/adopt", "internal/gitwrite",
		"internal/scm/...", "internal/preview",
	}, contracts...), "a client: it starts the composition root, and uses renderers and health checks offline; it never drives a destination itself"},
	{"cmd/plumb", []string{"internal/cli", "internal/localkube/components"}, "the one program that holds everything"},
	{"bench/tofu", append([]string{"internal/driver/tofu", "internal/driver/tofu/probe/..."}, contracts...), "it measures the probe and the driver themselves, beside bare tools"},
	{"bench/ledger", []string{"internal/ledger", "internal/ledger/entry"}, "it measures the ledger itself, beside bare files"},
	{"bench/...", []string{"api/v1alpha1", "internal/localkube", "bench/..."}, "a benchmark looks from outside"},
	{"test/...", []string{"api/v1alpha1", "internal/localkube/...", "bench/harness", "test/..."}, "end-to-end tests look from outside"},
}

func TestImports(t *testing.T) {
	all := packages(t)
	t.Run("layers", func(t *testing.T) { checkLayers(t, all) })
	t.Run("fences", func(t *testing.T) { checkFences(t, all) })
	t.Run("pure core", func(t *testing.T) { checkPureCore(t, all) })
}

func checkLayers(t *testing.T, all map[string]listed) {
	for path, p := range all {
		name, ours := strings.CutPrefix(path, module)
		if !ours {
			continue
		}
		i := -1
		for n, layer := range layers { // an exact entry goes before a pattern
			if layer.of == name || i < 0 && matches(name, []string{layer.of}) {
				i = n
			}
			if layer.of == name {
				break
			}
		}
		if i < 0 {
			t.Errorf("%s is not in the list of layers: say what it may import, and why", name)
			continue
		}
		for _, imported := range p.Imports {
			if to, ours := strings.CutPrefix(imported, module); ours && !matches(to, layers[i].may) {
				t.Errorf("%s must not import %s: %s", name, to, layers[i].reason)
			}
		}
	}
}

// fences say who may import packages of others directly.
var fences = []struct {
	packages []string
	only     []string
	reason   string
}{
	{
		[]string{"k8s.io/client-go/..."},
		[]string{
			"internal/driver/kube/...", "internal/driver/tofu/kubestate", "internal/controller", "internal/fleet", "internal/mirror", "internal/localkube/...", "internal/server",
			"internal/cli",  // it is a client of the API like kubectl
			"bench/...",     // it measures the API server with the bare client
			"test/...",      // end-to-end scripts look at the API
			"internal/demo", // it makes objects in a cluster
		},
		"the rest of Plumb is tested without an API server, and other drivers come without one",
	},
	{
		[]string{"k8s.io/kubernetes/...", "go.etcd.io/etcd/server/v3/...", "sigs.k8s.io/kwok/..."},
		[]string{"internal/localkube/components"},
		"it takes minutes to build: nothing but the program itself pays for it",
	},
	{
		[]string{module + "internal/localkube/components"},
		[]string{"cmd/plumb", "internal/localkube/kubetest/controlplane"},
		"it takes minutes to build: nothing but the program itself pays for it",
	},
	{
		[]string{"helm.sh/helm/v4/..."},
		[]string{"internal/render/helm", "internal/source/helmrepo"},
		"Helm is one renderer among others",
	},
	{
		[]string{"sigs.k8s.io/kustomize/..."},
		[]string{"internal/render/kustomize", "internal/render"},
		"Kustomize is one renderer among others",
	},
	{
		[]string{
			"github.com/getsops/sops/v3/...", "github.com/helmfile/vals/...", "filippo.io/age/...", "github.com/ProtonMail/go-crypto/...",
			"github.com/aws/...", "github.com/Azure/...", "cloud.google.com/...", "golang.org/x/oauth2/...", "github.com/hashicorp/vault/...",
		},
		[]string{
			"internal/render/secrets",
			"internal/signature", // public keys only
		},
		"keys and credentials of projects are used in one place, where nothing is taken from the environment",
	},
	{
		[]string{"github.com/nicholas-fedor/shoutrrr/...", "github.com/cloudevents/sdk-go/...", "github.com/expr-lang/expr/..."},
		[]string{"internal/notify"},
		"what others say of an error may hold their secrets: one place takes them out",
	},
	{
		[]string{"github.com/spf13/cobra/..."},
		[]string{"internal/cli", "internal/localkube/components", "cmd/plumb", "bench/..."},
		"command lines are parsed in one place",
	},
	{
		[]string{"sigs.k8s.io/controller-runtime/..."},
		nil,
		"the engine has its own queue and workers: two loops would fight",
	},
	{
		[]string{"testing"},
		[]string{"internal/localkube/kubetest", "internal/driver/drivertest", "test/tofutest", "test/forge", "test/pgtest"},
		"what is tested holds no test code",
	},
}

func checkFences(t *testing.T, all map[string]listed) {
	for path, p := range all {
		name, ours := strings.CutPrefix(path, module)
		if !ours {
			continue
		}
		for _, fence := range fences {
			for _, imported := range p.Imports {
				if matches(imported, fence.packages) && !matches(name, fence.only) {
					t.Errorf("%s must not import %s: %s", name, imported, fence.reason)
				}
			}
		}
	}
}

// pure packages depend, whatever lies between, on nothing but the standard
// library and what is listed.
var pure = []struct {
	of     string
	may    []string
	reason string
}{
	{"internal/plan", nil, "the pure core needs nobody"},
	{"internal/health", []string{module + "internal/plan"}, "the pure core needs nobody"},
	{"internal/decide", []string{module + "internal/plan", module + "internal/health"}, "the pure core needs nobody"},
	{"internal/source", []string{module + "internal/plan", module + "internal/health"}, "a contract without weight"},
}

// impure are the parts of the standard library that reach out of the process.
var impure = []string{"net", "net/http", "os/exec", "database/sql"}

func checkPureCore(t *testing.T, all map[string]listed) {
	for _, rule := range pure {
		p, ok := all[module+rule.of]
		if !ok {
			t.Errorf("there is no package %s", rule.of)
			continue
		}
		for _, dep := range p.Deps {
			if !all[dep].Standard && !slices.Contains(rule.may, dep) {
				t.Errorf("%s must not depend on %s: %s", rule.of, dep, rule.reason)
			}
			if slices.Contains(impure, dep) {
				t.Errorf("%s must not depend on %s: it does no I/O", rule.of, dep)
			}
		}
	}
	for _, imported := range all[module+"api/v1alpha1"].Imports {
		if !all[imported].Standard && !strings.HasPrefix(imported, "k8s.io/apimachinery/") {
			t.Errorf("api/v1alpha1 must not import %s: others import it with apimachinery alone", imported)
		}
	}
}
