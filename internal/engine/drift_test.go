package engine

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/api/v1alpha1"
)

func TestBoundedDrift(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	var all []v1alpha1.DriftStatus
	for i := range 30 {
		all = append(all, v1alpha1.DriftStatus{Name: fmt.Sprint("ended", i), Until: &at}, v1alpha1.DriftStatus{Name: fmt.Sprint("lasting", i)})
	}
	ended, lasting := []string{}, []string{}
	for _, d := range boundedDrift(all, 10) {
		if d.Until != nil {
			ended = append(ended, d.Name)
		} else {
			lasting = append(lasting, d.Name)
		}
	}
	if len(ended) != mostEnded || ended[len(ended)-1] != "ended29" {
		t.Errorf("the latest that have ended are kept: %v", ended)
	}
	if len(lasting) != 10 || lasting[0] != "lasting0" {
		t.Errorf("the first that last are kept: %v", lasting)
	}
}
