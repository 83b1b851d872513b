package fleet

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

// canary stands for a secret: it must show up nowhere.
const canary = "c4n4ry-s3cr3t"

func secret(name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: name}, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

func newFleet(t *testing.T, secrets ...*corev1.Secret) *Fleet {
	t.Helper()
	f, err := New(Options{Config: &rest.Config{Host: "https://127.0.0.1:1", BearerToken: "own"}, Namespaces: []string{"argocd"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		f.secretChanged(nil, s)
	}
	return f
}

func TestServer(t *testing.T) {
	f := newFleet(t,
		secret("a", map[string]string{"name": "prod", "server": "https://prod.example:6443/"}),
		secret("b", map[string]string{"name": "twin", "server": "https://one.example"}),
		secret("c", map[string]string{"name": "twin", "server": "https://two.example"}),
	)
	type answer struct{ Server, Name, Error string }
	for name, tc := range map[string]struct {
		reason string
		dest   v1alpha1.ApplicationDestination
		want   answer
	}{
		"missing": {
			reason: "a missing destination is the cluster that the Application lives in",
			want:   answer{Server: v1alpha1.InClusterServer, Name: "in-cluster"},
		},
		"in-cluster by name": {
			reason: "the control plane has a name without being registered",
			dest:   v1alpha1.ApplicationDestination{Name: "in-cluster"},
			want:   answer{Server: v1alpha1.InClusterServer, Name: "in-cluster"},
		},
		"by server": {
			reason: "a slash at the end does not matter",
			dest:   v1alpha1.ApplicationDestination{Server: "https://prod.example:6443/"},
			want:   answer{Server: "https://prod.example:6443", Name: "prod"},
		},
		"by name": {
			reason: "a registered name gives its server",
			dest:   v1alpha1.ApplicationDestination{Name: "prod"},
			want:   answer{Server: "https://prod.example:6443", Name: "prod"},
		},
		"both": {
			reason: "both could contradict each other",
			dest:   v1alpha1.ApplicationDestination{Name: "prod", Server: "https://x"},
			want:   answer{Error: "remove one of them"},
		},
		"name of two": {
			reason: "to pick one of two clusters would be a guess",
			dest:   v1alpha1.ApplicationDestination{Name: "twin"},
			want:   answer{Error: "2 clusters have the name twin"},
		},
		"unknown server": {
			reason: "what is not registered is not reached",
			dest:   v1alpha1.ApplicationDestination{Server: "https://elsewhere"},
			want:   answer{Error: "is not registered"},
		},
		"unknown name": {
			reason: "what is not registered is not reached",
			dest:   v1alpha1.ApplicationDestination{Name: "nowhere"},
			want:   answer{Error: "no cluster has the name nowhere"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got answer
			var err error
			got.Server, got.Name, err = f.Server(tc.dest)
			if err != nil {
				if tc.want.Error == "" || !strings.Contains(err.Error(), tc.want.Error) {
					t.Fatalf("%s: error %q, want %q", tc.reason, err, tc.want.Error)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		config string
		server string
		want   string // of the error
		check  func(*rest.Config) error
	}{
		"bearer token": {
			reason: "the usual service account",
			config: `{"bearerToken":"` + canary + `","tlsClientConfig":{"insecure":false,"serverName":"k8s","caData":"Y2E="}}`,
			check: func(c *rest.Config) error {
				if c.BearerToken != canary || c.ServerName != "k8s" || string(c.CAData) != "ca" || c.Host != "https://prod.example" {
					return fmt.Errorf("got host %q, server name %q, CA %q", c.Host, c.ServerName, c.CAData)
				}
				return nil
			},
		},
		"basic": {
			reason: "user name and password",
			config: `{"username":"u","password":"` + canary + `"}`,
			check: func(c *rest.Config) error {
				if c.Username != "u" || c.Password != canary {
					return fmt.Errorf("no basic authentication")
				}
				return nil
			},
		},
		"aws":       {reason: "not there yet", config: `{"awsAuthConfig":{"clusterName":"` + canary + `"}}`, want: "awsAuthConfig is not implemented"},
		"exec":      {reason: "a Secret must not choose a program", config: `{"execProviderConfig":{"command":"` + canary + `"}}`, want: "execProviderConfig names a program"},
		"no JSON":   {reason: "the error must not quote the text", config: canary, want: "not the JSON it should be"},
		"wrong CA":  {reason: "to verify and not to verify", config: `{"tlsClientConfig":{"insecure":true,"caData":"Y2E="}}`, want: "both insecure and caData"},
		"no server": {reason: "a URL is needed", server: "prod", want: "no http(s) URL"},
		"in-cluster": {
			reason: "the control plane with other credentials", server: v1alpha1.InClusterServer,
			config: `{"bearerToken":"` + canary + `"}`,
			check: func(c *rest.Config) error {
				if c.Host != "https://127.0.0.1:1" || c.BearerToken != canary {
					return fmt.Errorf("got host %q", c.Host)
				}
				return nil
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := tc.server
			if server == "" {
				server = "https://prod.example"
			}
			f := newFleet(t, secret("a", map[string]string{"name": "prod", "server": server, "config": tc.config}))
			got, err := f.Config(server)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("%s: error %v, want %q", tc.reason, err, tc.want)
				}
				if strings.Contains(err.Error(), canary) {
					t.Errorf("%s: the error shows a secret: %s", tc.reason, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if err := tc.check(got); err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

func TestChanged(t *testing.T) {
	f := newFleet(t)
	var told []string
	f.options.Changed = func(server string) { told = append(told, server) }
	f.live.Store(true)
	one := secret("a", map[string]string{"server": "https://one"})
	two := secret("a", map[string]string{"server": "https://two"})
	f.secretChanged(nil, one)
	f.secretChanged(one, two)
	f.secretChanged(two, nil)
	want := []string{"https://one", "https://one", "https://two", "https://two"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("servers that are told of (-want +got):\n%s", diff)
	}
	if _, err := f.Config("https://two"); err == nil {
		t.Error("a cluster is reached whose Secret is gone")
	}
}

func TestScope(t *testing.T) {
	f := newFleet(t, secret("a", map[string]string{"server": "https://one", "project": "shop", "namespaces": "a, b,"}))
	project, namespaces := f.Scope("https://one")
	got, _ := json.Marshal([]any{project, namespaces, f.OfProject("shop"), f.OfProject("")})
	if want := `["shop",["a","b"],["https://one"],null]`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
