package kube

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/plan"
)

// The reasons of problems.
const (
	ReasonNotPermitted         = "NotPermitted"
	ReasonSharedResource       = "SharedResource"
	ReasonUnknownKind          = "UnknownKind"
	ReasonForbidden            = "Forbidden"
	ReasonInvalid              = "Invalid"
	ReasonNamespaceMissing     = "NamespaceMissing"
	ReasonNamespaceTerminating = "NamespaceTerminating"
	ReasonUnreachable          = "Unreachable"
	ReasonImmutable            = "Immutable"
	ReasonAdmission            = "AdmissionRefused"
	ReasonConflict             = "Conflict"
)

var (
	namespaceMissing = regexp.MustCompile(`^namespaces "([^"]+)" not found`)
	webhookDenied    = regexp.MustCompile(`admission webhook "([^"]+)" denied the request`)
	policyDenied     = regexp.MustCompile(`ValidatingAdmissionPolicy '([^']+)'`)
	rbacDenied       = regexp.MustCompile(`cannot (\w+) resource`)
)

// problemOf says in Plumb's words why a request about a resource failed. The
// body that was sent is needed to keep a Secret's values out of the message.
func problemOf(err error, ref plan.Ref, body []byte) *driver.Problem {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		message := err.Error()
		if isSecret(ref.Group, ref.Kind) {
			message = maskText(message, scalars(body))
		}
		return &driver.Problem{Reason: ReasonUnreachable, Message: fmt.Sprintf("%s: %s", shown(ref), message), Transient: true}
	}
	s := status.Status()
	p := classify(err, s)
	message := s.Message
	if isSecret(ref.Group, ref.Kind) {
		message = secretMessage(p.Reason, s, body)
	}
	p.Message = fmt.Sprintf("%s: %s", shown(ref), message)
	p.Message += hint(p.Reason)
	return p
}

func classify(err error, s metav1.Status) *driver.Problem {
	switch {
	case webhookDenied.MatchString(s.Message) || policyDenied.MatchString(s.Message) ||
		strings.Contains(s.Message, "violates PodSecurity") || strings.Contains(s.Message, "exceeded quota"):
		return &driver.Problem{Reason: ReasonAdmission, Transient: strings.Contains(s.Message, "exceeded quota")}
	case apierrors.HasStatusCause(err, "NamespaceTerminating") || strings.Contains(s.Message, "because it is being terminated"):
		return &driver.Problem{Reason: ReasonNamespaceTerminating, Transient: true}
	case immutable(s):
		return &driver.Problem{Reason: ReasonImmutable}
	case apierrors.IsNotFound(err) && namespaceMissing.MatchString(s.Message):
		return &driver.Problem{Reason: ReasonNamespaceMissing, Transient: true}
	case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err):
		return &driver.Problem{Reason: ReasonUnknownKind, Transient: true}
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		return &driver.Problem{Reason: ReasonForbidden, Transient: rbacDenied.MatchString(s.Message)}
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		return &driver.Problem{Reason: ReasonConflict, Transient: true}
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		strings.Contains(s.Message, "field not declared in schema") || strings.Contains(s.Message, "failed to create typed patch object"):
		return &driver.Problem{Reason: ReasonInvalid}
	default:
		return &driver.Problem{Reason: ReasonUnreachable, Transient: true}
	}
}

func immutable(s metav1.Status) bool {
	if s.Reason != metav1.StatusReasonInvalid && s.Reason != metav1.StatusReasonForbidden {
		return false
	}
	return strings.Contains(s.Message, "field is immutable") || strings.Contains(s.Message, "is immutable") ||
		strings.Contains(s.Message, "updates to statefulset spec for fields other than") ||
		strings.Contains(s.Message, "may not change once set") || strings.Contains(s.Message, "cannot change roleRef") ||
		strings.Contains(s.Message, "pod updates may not change fields other than")
}

// hint says what to do next.
func hint(reason string) string {
	switch reason {
	case ReasonImmutable:
		return "; this field can't be changed in place: to delete the object and make it anew, set the sync options Replace=true and Force=true on it"
	case ReasonNamespaceMissing:
		return "; declare the namespace, or set the sync option CreateNamespace=true"
	case ReasonUnknownKind:
		return "; the destination does not serve this kind: is its CustomResourceDefinition missing?"
	case ReasonForbidden:
		return "; grant the right to the identity that changes are made as"
	}
	return ""
}

// secretMessage says why a Secret was refused without quoting what it holds.
func secretMessage(reason string, s metav1.Status, body []byte) string {
	switch reason {
	case ReasonInvalid, ReasonUnreachable, ReasonImmutable:
		var fields []string
		if s.Details != nil {
			for _, c := range s.Details.Causes {
				if c.Field != "" && !slices.Contains(fields, c.Field) {
					fields = append(fields, c.Field)
				}
			}
		}
		message := "the API server refused the Secret (" + string(s.Reason) + ")"
		if len(fields) > 0 {
			message += " because of " + maskText(strings.Join(fields, ", "), scalars(body))
		}
		return message + "; its answer is not shown, as it may quote what the Secret holds"
	default:
		return maskText(s.Message, scalars(body))
	}
}

// unreachable is the error for a destination that can't be looked at.
func unreachable(server string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cluster %s cannot be reached: no answer in time", server)
	}
	return fmt.Errorf("cluster %s cannot be reached: %w", server, err)
}

// shown is a reference as kubectl writes it.
func shown(r plan.Ref) string {
	s := strings.ToLower(r.Kind)
	if r.Group != "" {
		s += "." + r.Group
	}
	s += "/" + r.Name
	if r.Namespace != "" {
		s += " in namespace " + r.Namespace
	}
	return s
}
