package render

import (
	"os"
	"strings"
)

// Env holds the build variables that options may name ($ARGOCD_APP_NAME).
type Env struct{ req *Request }

// BuildEnv gives the build variables of a request.
func BuildEnv(req *Request) Env { return Env{req} }

// Subst replaces $NAME and ${NAME}; an unknown name becomes empty, and $$ a
// dollar sign. The tree's revision is only asked for where the text names it.
func (e Env) Subst(s string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	return os.Expand(s, e.value)
}

func (e Env) value(name string) string {
	src := e.req.Input.Source
	switch name {
	case "$":
		return "$"
	case "ARGOCD_APP_NAME":
		return e.req.AppName
	case "ARGOCD_APP_NAMESPACE":
		return e.req.Namespace
	case "ARGOCD_APP_PROJECT_NAME":
		return e.req.Project
	case "ARGOCD_APP_REVISION":
		return e.req.Input.Tree.Revision()
	case "ARGOCD_APP_REVISION_SHORT":
		return short(e.req.Input.Tree.Revision(), 7)
	case "ARGOCD_APP_REVISION_SHORT_8":
		return short(e.req.Input.Tree.Revision(), 8)
	case "ARGOCD_APP_SOURCE_REPO_URL":
		return src.RepoURL
	case "ARGOCD_APP_SOURCE_PATH":
		return src.Path
	case "ARGOCD_APP_SOURCE_TARGET_REVISION":
		return src.TargetRevision
	case "KUBE_VERSION":
		e.noteDestination()
		return strings.TrimPrefix(e.req.KubeVersion, "v")
	case "KUBE_API_VERSIONS":
		e.noteDestination()
		return strings.Join(e.req.APIVersions, ",")
	}
	return ""
}

func (e Env) noteDestination() {
	if t, ok := e.req.Input.Tree.(interface{ noteDestination() }); ok {
		t.noteDestination()
	}
}

func short(revision string, n int) string { return revision[:min(n, len(revision))] }
