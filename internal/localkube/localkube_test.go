package localkube_test

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/plumb-dev/plumb/internal/localkube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m, kubetest.WithControllers()) }

func TestServerVersion(t *testing.T) {
	client, err := kubernetes.NewForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	v, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(v, kubetest.Namespace(t))
	nodes, err := client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 2 {
		t.Fatal(len(nodes.Items), err)
	}
}
