package source

import (
	"errors"
	"regexp"
	"strings"
)

// Reason says what kind of failure a source met, so that callers can choose
// between "wait" and "tell the user" without reading the message.
type Reason string

// The reasons. Unreachable and TimedOut pass by themselves; the others need
// somebody to change something.
const (
	ReasonRefused          Reason = "Refused" // a URL, revision or path that is not allowed
	ReasonNotFound         Reason = "RepositoryNotFound"
	ReasonAuthentication   Reason = "AuthenticationFailed"
	ReasonHostKey          Reason = "HostKeyNotTrusted"
	ReasonCertificate      Reason = "CertificateNotTrusted"
	ReasonUnreachable      Reason = "Unreachable"
	ReasonTimedOut         Reason = "TimedOut"
	ReasonRevisionNotFound Reason = "RevisionNotFound"
	ReasonTooLarge         Reason = "TooLarge"
	ReasonFailed           Reason = "Failed"
)

// Error is a failure in a user's words. Its text holds no credentials.
type Error struct {
	Reason Reason
	// Repo is the repository's URL as written, credentials masked.
	Repo string
	// Message says what happened, why, and what to do next.
	Message string
	// Detail is what the tool underneath said, masked; it may be empty.
	Detail string
	// Err is the cause, for errors.Is. Its text is not shown.
	Err error
}

// Error gives the message, with the repository it is about.
func (e *Error) Error() string {
	text := e.Message
	if e.Repo != "" && !strings.Contains(text, e.Repo) {
		text = "repository " + e.Repo + ": " + text
	}
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	return text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf gives the reason in an error's chain, or ReasonFailed; it is empty
// for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ReasonFailed
}

// Passing tells whether the failure may pass without anybody changing anything.
func Passing(err error) bool {
	switch ReasonOf(err) {
	case ReasonUnreachable, ReasonTimedOut, ReasonFailed:
		return true
	default:
		return false
	}
}

var userinfo = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#\s@]+(?:@[^/?#\s@]+)*@`)

// MaskURL hides what stands before the @ of every URL in a text, except a user
// name alone in an ssh URL.
func MaskURL(text string) string {
	return userinfo.ReplaceAllStringFunc(text, func(m string) string {
		scheme, rest, _ := strings.Cut(m, "://")
		if strings.Contains(scheme, "ssh") && !strings.Contains(rest, ":") {
			return m
		}
		return scheme + "://***@"
	})
}
