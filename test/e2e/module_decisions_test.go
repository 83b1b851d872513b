package e2e

import (
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
	"github.com/plumb-dev/plumb/test/tofutest"
)

const vpc = cloudModule + `
# the network that all is in
resource "cloud_vpc" "main" {
  cidr_block = "10.0.0.0/16" # kept
}
`

// It makes one more thing, and then can't go on.
const halfWay = vpc + `
resource "cloud_bucket" "more" {
  name = "more"
}

resource "terraform_data" "checked" {
  input = cloud_bucket.more.id

  lifecycle {
    postcondition {
      condition     = self.output == "never"
      error_message = "it does not work out"
    }
  }
}
`

// TestFailedModuleIsPlannedBack has a module fail half-way: it goes back to the
// revision that was healthy, by a plan of its own.
func TestFailedModuleIsPlannedBack(t *testing.T) {
	t.Parallel()
	w := plumb(t)
	ns, cloud := kubetest.Namespace(t), tofutest.Cloud(t)
	r := newRepository(t, map[string]string{"module/main.tf": vpc})
	w.declare(t, ns, application("net", r.url(), "module", ns, func(s map[string]any) {
		inCloud(cloud, tofutest.Token)(s)
		s["syncPolicy"].(map[string]any)["onFailure"] = "rollback"
		s["syncPolicy"].(map[string]any)["healthDeadline"] = "20s"
	}))
	w.await(t, ns, "net", "Synced", "Healthy")
	first := r.git("rev-parse", "HEAD")
	eventually(t, "it is known to be healthy", func() (bool, string) {
		return w.value(t, ".status.history[0].healthyAt", "applications.plumb.dev", "net", "-n", ns) != "", w.app(t, ns, "net").String()
	})
	r.commit(map[string]string{"module/main.tf": halfWay})
	made := false
	eventually(t, "it is back where it was, and pinned there", func() (bool, string) {
		a, kinds := w.app(t, ns, "net"), cloudKinds(cloud)
		made = made || strings.Contains(kinds, "bucket")
		pin := w.value(t, `.metadata.annotations.plumb\.dev/pin`, "applications.plumb.dev", "net", "-n", ns)
		return made && pin == first && kinds == "vpc" && a.is("Synced", "Healthy"), kinds + " " + pin + a.String()
	})
	eventually(t, "the ledger tells of it", func() (bool, string) {
		o := w.plumb(t, "audit", "log", ns+"/net", "--dir", w.ledger())
		return strings.Contains(o.stdout, "RolledBack") && strings.Contains(o.stdout, "Failed"), o.String()
	})
}

func cloudKinds(cloud tofutest.Server) string {
	var kinds []string
	for _, o := range cloud.Objects() {
		kinds = append(kinds, o.Kind)
	}
	return strings.Join(kinds, ",")
}

// TestDriftOfAModuleIsProposedToGit has somebody change a cloud: Plumb itself proposes
// it to Git, in the file.
func TestDriftOfAModuleIsProposedToGit(t *testing.T) {
	t.Parallel()
	w := plumb(t)
	ns, cloud := kubetest.Namespace(t), tofutest.Cloud(t)
	r := newRepository(t, map[string]string{"module/main.tf": strings.Replace(vpc, "# kept\n", "# kept\n  tags       = { team = \"shop\" }\n", 1)})
	w.declare(t, ns, application("net", r.url(), "module", ns, func(s map[string]any) {
		inCloud(cloud, tofutest.Token)(s)
		s["syncPolicy"].(map[string]any)["drift"] = map[string]any{"default": "adopt", "interval": "10s"}
	}))
	w.await(t, ns, "net", "Synced", "Healthy")
	for _, o := range cloud.Objects("vpc") {
		if err := cloud.Change(o.ID, func(body map[string]any) { body["tags"] = map[string]any{"team": "platform"} }); err != nil {
			t.Fatal(err)
		}
	}
	branch := ""
	eventually(t, "it is proposed", func() (bool, string) {
		branch = r.git("for-each-ref", "--format=%(refname:short)", "refs/heads/plumb")
		return branch != "" && !strings.Contains(branch, "\n"), branch + w.app(t, ns, "net").String()
	})
	got := r.git("show", branch+":module/main.tf")
	want := strings.Replace(r.git("show", "main:module/main.tf"), `"shop"`, `"platform"`, 1)
	if got != want {
		t.Errorf("the file is\n%s\nnot\n%s", got, want)
	}
	r.git("merge", "-q", "--no-edit", branch)
	w.await(t, ns, "net", "Synced", "Healthy")
	for _, o := range cloud.Objects("vpc") {
		if tags, _ := o.Body["tags"].(map[string]any); tags["team"] != "platform" {
			t.Errorf("it was changed back: %v", o.Body)
		}
	}
}
