package git

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"

	"github.com/plumb-dev/plumb/internal/source"
)

// symptom turns what git prints into a reason and a message for the user.
type symptom struct {
	match   *regexp.Regexp
	reason  source.Reason
	message string
}

// symptoms are tried in order; the first that matches holds.
var symptoms = []symptom{
	{regexp.MustCompile(`(?i)host key verification failed|no .* host key is known`), source.ReasonHostKey,
		"the server's ssh host key is not trusted: add it to the known hosts (argocd-ssh-known-hosts-cm, or ~/.ssh/known_hosts of the user that runs Plumb)"},
	{regexp.MustCompile(`(?i)(ssl|tls|server) certificate|certificate verif|unable to get local issuer|self.signed certificate`), source.ReasonCertificate,
		"the server's certificate is not trusted: give its CA (argocd-tls-certs-cm), or set insecure: \"true\" in the repository's Secret"},
	{regexp.MustCompile(`(?i)detected dubious ownership`), source.ReasonRefused,
		"the local repository belongs to another user and git refuses it: run git config --global --add safe.directory with its path"},
	{regexp.MustCompile(`(?i)authentication failed|could not read (username|password)|permission denied \(|invalid credentials|error: 40[13]\b|returned error: 40[13]|terminal prompts disabled|load key .* (invalid|error)`), source.ReasonAuthentication,
		"authentication failed: check the user name, password, token or key in the repository's Secret, and that it may read this repository"},
	{regexp.MustCompile(`(?i)repository .*not found|returned error: 404|does not appear to be a git repository|project you were looking for could not be found|not a git repository|no such file or directory|repository does not exist|dumb http.*404|/info/refs not found|not valid: is this a git repository`), source.ReasonNotFound,
		"repository not found: check the URL, and if it is private, that credentials for it are there"},
	{regexp.MustCompile(`(?i)could not resolve (host|proxy)|name or service not known|temporary failure in name resolution|no address associated`), source.ReasonUnreachable,
		"host unreachable: its name cannot be resolved; check the URL and the network's DNS"},
	{regexp.MustCompile(`(?i)connection refused|failed to connect|couldn't connect|no route to host|network is unreachable|connection (reset|closed|timed out)|operation timed out|timed out|unable to connect|early eof|hung up unexpectedly|unexpected disconnect|rpc failed|returned error: 5\d\d|operation too slow|empty reply|could not connect`), source.ReasonUnreachable,
		"host unreachable: it does not answer; it is asked again by itself"},
	{regexp.MustCompile(`(?i)transport '.*' not allowed|is not a git command|unable to find remote helper`), source.ReasonRefused,
		"the URL's kind of transport is not allowed: use https, ssh, or a local path"},
}

// explain makes a user's error of a failed command.
func explain(repo string, cred source.Credentials, err error) error {
	if err == nil {
		return nil
	}
	var known *source.Error
	if errors.As(err, &known) {
		return err
	}
	out := &source.Error{Reason: source.ReasonFailed, Repo: cred.Mask(repo), Message: "git failed", Err: cause(err)}
	var f *failure
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &f) && f.timedOut, errors.Is(err, context.DeadlineExceeded):
		out.Reason, out.Message = source.ReasonTimedOut, "the repository did not answer in time; it is asked again by itself"
		return out
	case errors.Is(err, errTooMuchOutput):
		out.Reason, out.Message = source.ReasonTooLarge, "the repository answers with more than is allowed"
	}
	text := err.Error()
	for _, s := range symptoms {
		if s.match.MatchString(text) {
			out.Reason, out.Message = s.reason, s.message
			break
		}
	}
	out.Detail = cred.Mask(telling(text))
	return out
}

// cause keeps of an error only what may be tested for: its text could hold
// what was not masked.
func cause(err error) error {
	for _, known := range []error{context.DeadlineExceeded, os.ErrNotExist, os.ErrPermission, errTooMuchOutput} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}

// telling picks from git's output the line that says most.
func telling(text string) string {
	lines := strings.Split(text, "\n")
	best := ""
	for _, prefix := range []string{"remote: error:", "ERROR:", "fatal:", "error:", "remote:", "ssh:"} {
		for _, line := range lines {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, prefix) && !strings.Contains(line, "Could not read from remote repository") {
				best = strings.TrimSpace(strings.TrimPrefix(line, prefix))
				break
			}
		}
		if best != "" {
			break
		}
	}
	if best == "" {
		best = strings.TrimSpace(lines[0])
	}
	if len(best) > 300 {
		best = best[:300] + "…"
	}
	return best
}

var (
	// refusedShallow is what servers say that give no single commit, or none
	// without its history.
	refusedShallow = regexp.MustCompile(`(?i)unadvertised object|does not allow request|does not support shallow|dumb http|couldn't find remote ref|could not find remote ref|no such remote ref|missing necessary objects|shallow file has changed`)
	// absent is what a server says that has no such commit at all.
	absent = regexp.MustCompile(`(?i)upload-pack: not our ref`)
	// broken is what git says of a damaged mirror.
	broken = regexp.MustCompile(`(?i)corrupt|bad object|object file .* is empty|is empty$|unable to read (tree|[0-9a-f]{40})|could not parse object|invalid object|packfile .* (cannot|does not)|not a git repository: '/|bad (config|signature|tree)|garbage|inflate:|unresolved deltas|did not send all necessary objects|fatal: bad|missing blob|missing tree|reference broken|unable to resolve reference`)
)

func notThere(repo string, cred source.Credentials, id string) error {
	return &source.Error{Reason: source.ReasonRevisionNotFound, Repo: cred.Mask(repo), Message: "commit " + id +
		" is not in the repository: it may have been removed by a force-push or never been pushed"}
}
