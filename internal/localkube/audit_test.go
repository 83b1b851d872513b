package localkube_test

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/internal/localkube"
	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

// audited are the names of the ConfigMaps that a cluster's audit log tells of, with
// who wrote them.
func audited(t *testing.T, cluster *localkube.Cluster) map[string]string {
	t.Helper()
	file, err := os.Open(cluster.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	found := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e struct {
			Level, Verb      string
			User             struct{ Username string }
			ImpersonatedUser struct{ Username string }
			ObjectRef        struct{ Resource, Name string }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // a line that is being written
		}
		if e.Level != "Metadata" || e.Verb == "get" || e.Verb == "list" || e.Verb == "watch" {
			t.Errorf("the audit log has %s", lines.Text())
		}
		if e.ObjectRef.Resource == "configmaps" {
			found[e.ObjectRef.Name] = e.User.Username + ">" + e.ImpersonatedUser.Username
		}
	}
	return found
}

// TestAuditLog looks whether it is told who wrote what, not what was written, and
// nothing of the engine's own work.
func TestAuditLog(t *testing.T) {
	const planted = "c4n4ry-s3cr3t"
	cluster := kubetest.Cluster(t)
	namespace := kubetest.Namespace(t)
	engine, err := cluster.EngineConfig()
	if err != nil {
		t.Fatal(err)
	}
	ann := cluster.RESTConfig()
	ann.Impersonate = rest.ImpersonationConfig{UserName: "ann", Groups: []string{"system:masters"}}
	for name, config := range map[string]*rest.Config{"by-engine": engine, "by-admin": cluster.RESTConfig(), "by-ann": ann} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"x": planted}}
		if _, err := clientFor(t, config).CoreV1().ConfigMaps(namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var found map[string]string
	for deadline := time.Now().Add(time.Minute); found["by-ann"] == "" || found["by-admin"] == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the audit log tells of %v", found)
		}
		found = audited(t, cluster)
	}
	if found["by-ann"] != "plumb-admin>ann" || found["by-admin"] != "plumb-admin>" || found["by-engine"] != "" {
		t.Errorf("the audit log tells of %v", found)
	}
	text, err := os.ReadFile(cluster.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), planted) {
		t.Error("the audit log has what was written")
	}
}

// TestPolicyOfTheDocs keeps the policy that users give their own API servers the one
// that is tested here.
func TestPolicyOfTheDocs(t *testing.T) {
	const theirs = `"system:serviceaccount:plumb-system:plumb"`
	text, err := os.ReadFile("../../docs/existing-cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("audit-policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, policy, _ := strings.Cut(string(own), "apiVersion:")
	policy = strings.Replace(policy, "users: [plumb]", "users: ["+theirs+"]   # Plumb", 1)
	policy = strings.Replace(policy, `users: [plumb, "plumb:kwok", `, "users: ["+theirs+", ", 1)
	if !strings.Contains(string(text), "```yaml\napiVersion:"+policy+"```") {
		t.Errorf("docs/existing-cluster.md has another policy than\n%s", policy)
	}
}
