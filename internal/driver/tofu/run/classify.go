package run

import (
	"regexp"
	"slices"
	"strings"
)

// signs are texts by which the kind of an error is known. The programs give no
// codes: these are their own words, of OpenTofu 1.6 to 1.12 and Terraform 1.5
// to 1.11, and those of common providers. The first that fits wins.
var signs = []struct {
	kind  Kind
	texts []string
}{
	{KindLocked, []string{"lock info:"}},
	{KindStale, []string{"saved plan is stale", "saved plan does not match the given state"}},
	{KindMissingVariable, []string{"no value for required variable", "no value for variable"}},
	{KindStateTooNew, []string{
		"unsupported state file format", "state snapshot was created by", "managed by newer provider version",
		"created by a newer version", "created by a newer provider version", "newer than current",
	}},
	{KindChecksum, []string{"doesn't match any of the checksums", "does not match any of the checksums", "checksum", "authentication signature"}},
	{KindUnknownProvider, []string{
		"was not found in any of the search locations", "does not have a provider named", "no available releases match",
		"no versions matching", "invalid provider registry host", "failed to resolve provider packages",
		"not available for", "inconsistent dependency lock file", "required plugins are not installed",
	}},
	{KindCancelled, []string{"execution halted", "operation canceled", "operation cancelled", "interrupt received", "context canceled"}},
	{KindProviderCrash, []string{"plugin did not respond", "plugin crashed", "the plugin encountered an error, and failed to respond", "plugin exited", "error reading from server: eof", "code = unavailable"}},
	{KindBackend, []string{
		"error refreshing state", "error loading state", "failed to get existing workspaces", "failed to load state", "failed to read state",
		"error acquiring the state lock", "error releasing the state lock", "failed to save state", "failed to persist state", "error saving state",
		"backend initialization required", "backend configuration", "error configuring the backend", "failed to write state", "failed to unlock state",
		"failed to write the imported state", "failed to write imported state", "error inspecting states", "failed to get state",
		"cannot import state with lineage", "cannot overwrite existing state", "failed to upload state", "backend type",
	}},
	{KindRegistry, []string{
		"failed to query available provider packages", "failed to install provider", "failed to download module", "error accessing remote module registry",
		"could not download module", "failed to request discovery document", "module not found", "failed to retrieve available versions for module", "error downloading",
	}},
	{KindCredentials, []string{
		"no valid credential sources", "invalidclienttokenid", "expiredtoken", "unauthorizedoperation", "accessdenied", "access denied",
		"statuscode: 403", "statuscode: 401", "status code: 403", "status code: 401", "status 403", "status 401", "401 unauthorized", "403 forbidden",
		"unauthorized", "forbidden", "unauthenticated", "could not find default credentials", "invalid_grant", "authenticationfailed",
		"authentication failed", "authorizationfailed", "not authorized", "invalid token", "bad credentials", "invalid credentials", "missing credentials",
	}},
}

// unreachable are texts by which a registry that does not have a provider
// differs from one that could not be asked.
var unreachable = []string{
	"could not connect to", "failed to request discovery document", "could not query provider registry", "dial tcp", "no such host",
	"connection refused", "timeout", "deadline exceeded", "proxyconnect", "x509:",
}

// refusedPath is how programs in Go tell that the kernel refuses a path. Others,
// and APIs, have a denied permission without one.
var refusedPath = regexp.MustCompile(`\b(open|openat|openfdat|mkdir|mkdirat|rename|renameat|remove|unlink|unlinkat|link|symlink|truncate|readdirent|fork/exec|cannot access|can't open|cannot open|stat)\b[^\n]*/[^\n]*:\s+(permission denied|invalid cross-device link)`)

// classify tells the kind of one error.
func classify(d Diagnostic) Kind {
	text := strings.ToLower(d.Summary + "\n" + d.Detail)
	if d.confined && refusedPath.MatchString(text) {
		return KindReach
	}
	for _, sign := range signs {
		for _, s := range sign.texts {
			if !strings.Contains(text, s) || !fits(sign.kind, d) {
				continue
			}
			if sign.kind == KindUnknownProvider && slices.ContainsFunc(unreachable, func(s string) bool { return strings.Contains(text, s) }) {
				return KindRegistry
			}
			return sign.kind
		}
	}
	switch {
	case d.Address != "":
		return KindProvider
	case d.File != "":
		return KindConfig
	default:
		return KindProgram
	}
}

// fits leaves to the provider what is said about a resource: its own words
// ("checksum", "not available for") mean other things.
func fits(k Kind, d Diagnostic) bool {
	return d.Address == "" || k == KindProviderCrash || k == KindCredentials || k == KindCancelled || k == KindStateTooNew
}
