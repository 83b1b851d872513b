package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/plumb-dev/plumb/api/v1alpha1"
	"github.com/plumb-dev/plumb/internal/demo"
)

// paymentsName is the Application of the demo whose changes need approval.
const paymentsName = "default/payments"

// people of the demo. They are names that the admin takes on (kubectl --as): the API
// server then decides by the rights of that name.
const (
	approver = "ann"  // may approve
	author   = "dora" // may approve, too, but makes the change
	viewer   = "vera" // may only look
)

// approvalSteps show that a change waits, and who may let it go on.
func (d *scenario) approvalSteps() []scenarioStep {
	return []scenarioStep{
		{"Commit a change to payments, as Dora: its plan waits for approval", d.paymentsChanged},
		{"Dora, who made the change, and Vera, who may only look, approve it: the API server refuses", d.paymentsRefused},
		{"Ann approves it with kubectl: it is applied", d.paymentsApproved},
	}
}

// paymentsPlan waits for a plan of payments that waits, other than one that is known.
func (d *scenario) paymentsPlan(ctx context.Context, known string) (proposed, error) {
	var plan proposed
	err := d.poll(ctx, func() error {
		a, err := d.k.find(ctx, paymentsName, selection{})
		if err != nil {
			return err
		}
		if a.Status.Plan == nil || a.Status.Plan.Name == "" || a.Status.Plan.Name == known {
			return fmt.Errorf("no plan waits%s", conditionHint(a))
		}
		if plan, err = d.k.findPlan(ctx, "plan/"+a.key.Namespace+"/"+a.Status.Plan.Name, selection{}); err == nil && !plan.waits() {
			err = fmt.Errorf("plan %s is %s", plan.Name, plan.Status.Phase)
		}
		return err
	})
	return plan, err
}

// approval is what somebody says of a plan, as a file for kubectl.
func approvalFile(p proposed, user string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.ApprovalKind,
		"metadata": map[string]any{"generateName": p.Name + "-", "namespace": p.Namespace},
		"spec": map[string]any{
			"plan": p.Name, "digest": p.Spec.Digest, "decision": string(v1alpha1.DecisionApprove), "user": user, "reason": "the demo",
			"application": map[string]any{"group": p.Spec.Application.Group, "name": p.Spec.Application.Name},
		},
	}}
}

// approveAs creates an Approval in somebody's name: with kubectl where there is one,
// else as kubectl would.
func (d *scenario) approveAs(ctx context.Context, user string, p proposed) error {
	object := approvalFile(p, user)
	if kubectl, err := exec.LookPath("kubectl"); err == nil {
		text, err := json.Marshal(object)
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, kubectl, "--kubeconfig", d.local.main.Kubeconfig(), "--as", user, "create", "-f", "-")
		cmd.Stdin = bytes.NewReader(text)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Run(); err != nil {
			return errors.New(strings.TrimSpace(said.String()))
		}
		return nil
	}
	config := rest.CopyConfig(d.k.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.ApprovalResource)).Namespace(p.Namespace).Create(ctx, object, metav1.CreateOptions{})
	return err
}

// approved approves a plan as Ann. Policies take a moment to be in force after they
// were installed; a plan that the API server does not know of yet is refused.
func (d *scenario) approved(ctx context.Context, p proposed) error {
	return d.poll(ctx, func() error { return d.approveAs(ctx, approver, p) })
}

func (d *scenario) paymentsFirst(ctx context.Context) (string, error) {
	p, err := d.paymentsPlan(ctx, "")
	if err != nil {
		return "", err
	}
	shown, err := d.plumb(ctx, 0, "plans")
	if err != nil {
		return "", err
	}
	d.quote(shown, 3)
	if _, err := d.client.AppsV1().Deployments("payments").Get(ctx, "payments", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return "", errors.New("the Deployment payments was made without approval")
	}
	if err := d.approved(ctx, p); err != nil {
		return "", err
	}
	return fmt.Sprintf("plan %s was approved by Ann", p.Name), d.paymentsLimit(ctx, "100")
}

// paymentsLimit waits until the ConfigMap payments has a limit.
func (d *scenario) paymentsLimit(ctx context.Context, want string) error {
	return d.poll(ctx, func() error {
		settings, err := d.client.CoreV1().ConfigMaps("payments").Get(ctx, "payments", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if has := settings.Data["LIMIT"]; has != want {
			return fmt.Errorf("the limit is %s, not %s", has, want)
		}
		return nil
	})
}

func (d *scenario) paymentsChanged(ctx context.Context) (string, error) {
	if err := changeFile(filepath.Join(d.shop(), "apps", "payments", "settings.yaml"), `"100"`, `"500"`); err != nil {
		return "", err
	}
	if err := demo.CommitAs(ctx, d.shop(), "Dora <dora@plumb.invalid>", "payments: a higher limit"); err != nil {
		return "", err
	}
	p, err := d.paymentsPlan(ctx, "")
	if err != nil {
		return "", err
	}
	shown, err := d.plumb(ctx, 1, "diff", p.Name)
	if err != nil {
		return "", err
	}
	d.quote(shown, 20)
	if !strings.Contains(shown, "dora@plumb.invalid") || !strings.Contains(shown, `+  LIMIT: "500"`) {
		return "", errors.New("plumb diff does not show the change and its author")
	}
	d.paymentsNow = p
	return fmt.Sprintf("plan %s waits, nothing is changed", p.Name), d.paymentsLimit(ctx, "100")
}

func (d *scenario) paymentsRefused(ctx context.Context) (string, error) {
	for _, who := range []struct{ user, want string }{{author, "has made the change"}, {viewer, "forbidden"}} {
		user, want, refused := who.user, who.want, ""
		err := d.poll(ctx, func() error {
			err := d.approveAs(ctx, user, d.paymentsNow)
			if err == nil {
				return fmt.Errorf("the API server has accepted an approval of %s", user)
			}
			if refused = err.Error(); !strings.Contains(refused, want) {
				return fmt.Errorf("refused with %q, not with %q", refused, want)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		d.quote(user+": "+refused, 2)
	}
	time.Sleep(time.Second) // an engine that took them for approvals would have acted by now
	return "refused by the API server itself, and nothing is changed", d.paymentsLimit(ctx, "100")
}

func (d *scenario) paymentsApproved(ctx context.Context) (string, error) {
	began := time.Now()
	if err := d.approved(ctx, d.paymentsNow); err != nil {
		return "", err
	}
	if err := d.paymentsLimit(ctx, "500"); err != nil {
		return "", err
	}
	took := time.Since(began)
	err := d.poll(ctx, func() error {
		p, err := d.k.findPlan(ctx, "plan/"+d.paymentsNow.Namespace+"/"+d.paymentsNow.Name, selection{})
		if err == nil && p.Status.Phase != v1alpha1.PlanApplied {
			err = fmt.Errorf("plan %s is %s", p.Name, p.Status.Phase)
		}
		return err
	})
	return fmt.Sprintf("applied %s after the approval", short(took)), err
}
