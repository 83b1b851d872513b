package controller

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func hostSecret(name, kind string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: SystemNamespace, Name: name, Labels: map[string]string{v1alpha1.PlumbLabelSecretType: kind}}, Data: map[string][]byte{}}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	return s
}

func TestHosts(t *testing.T) {
	c := &Controller{hosts: newHosts(), repos: newRepositories(), log: slog.New(slog.DiscardHandler)}
	const own, repository = v1alpha1.SecretTypeSCMCreds, v1alpha1.SecretTypeRepository
	c.hostChanged(nil, hostSecret("host", own, map[string]string{"url": "https://git.example", "type": "gitea", "token": "c4n4ry-1", "diffs": "false"}))
	c.hostChanged(nil, hostSecret("team", own, map[string]string{"url": "https://git.example/shop", "type": "gitea", "token": "c4n4ry-2"}))
	c.hostChanged(nil, hostSecret("read", repository, map[string]string{"url": "https://git.example/shop/secret", "password": "c4n4ry-3"}))
	c.hostChanged(nil, hostSecret("speak", repository, map[string]string{"url": "https://git.example/shop/web", "type": "git", "host": "gitlab", "password": "c4n4ry-4", "username": "robot", "pullRequests": "true"}))
	c.hostChanged(nil, hostSecret("broken", own, map[string]string{"url": "https://git.example/broken", "token": "c4n4ry-5", "forks": "c4n4ry"}))
	c.hostChanged(nil, hostSecret("empty", own, map[string]string{"url": "https://git.example/empty"}))
	under := func(repo, above string) (int, bool) { return len(above), above != "" && strings.HasPrefix(repo, above) }
	for name, tc := range map[string]struct {
		reason, repo, want, token string
		err                       string
	}{
		"host":    {"the host's", "https://git.example/x/y", "host", "c4n4ry-1", ""},
		"group":   {"the closest counts", "https://git.example/shop/y", "team", "c4n4ry-2", ""},
		"reading": {"credentials for reading are used for nothing else", "https://git.example/shop/secret", "team", "c4n4ry-2", ""},
		"allowed": {"where it says so, they are", "https://git.example/shop/web", "speak", "c4n4ry-4", ""},
		"broken":  {"what is wrong is told", "https://git.example/broken/x", "", "", "key forks is neither true nor false"},
		"empty":   {"without a token nothing can be said", "https://git.example/empty/x", "", "", "no token"},
		"nobody":  {"another host", "https://else.example/x/y", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, ok, err := c.HostOf(tc.repo, under)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "c4n4ry") {
					t.Errorf("%s: got %v", tc.reason, err)
				}
				return
			}
			if err != nil || ok != (tc.want != "") || ok && (h.Name != SystemNamespace+"/"+tc.want || h.Token != tc.token) {
				t.Errorf("%s: got %s, %v, %v", tc.reason, h.Name, ok, err)
			}
			if text := fmt.Sprintf("%v %+v %#v", h, h, h); strings.Contains(text, "c4n4ry") {
				t.Errorf("it shows its token: %s", text)
			}
		})
	}
	if h, _, _ := c.HostOf("https://git.example/x/y", under); h.Diffs || !h.Previews || !h.Modules {
		t.Error("what is not said is the default")
	}
	if n := len(c.Hosts()); n != 3 {
		t.Errorf("%d hosts can be used", n)
	}
	c.hostChanged(hostSecret("team", own, nil), nil)
	if h, _, _ := c.HostOf("https://git.example/shop/y", under); h.Name != SystemNamespace+"/host" {
		t.Errorf("after its deletion it is %s", h.Name)
	}
}
