package server

import (
	"net/http"
	"path/filepath"

	"github.com/plumb-dev/plumb/internal/artifact"
)

// ArtifactsDir is the directory below the data directory that artifacts are kept in.
const ArtifactsDir = "artifacts"

func (s *Server) artifacts() *artifact.Store {
	return artifact.Open(filepath.Join(s.DataDir, ArtifactsDir))
}

// artifact gives a text to whoever knows its digest. A digest is in a Plan, which
// the API server shows to those who may read it; nobody guesses one.
func (s *Server) artifact(w http.ResponseWriter, r *http.Request) {
	text, err := s.artifacts().Get(r.PathValue("digest"))
	if err != nil {
		answer(w, http.StatusNotFound, "there is no such artifact here")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(text)) //nolint:gosec // plain text, and said to be
}
