package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/plumb-dev/plumb/internal/artifact"
	"github.com/plumb-dev/plumb/internal/server"
)

const (
	// fetchTime is how long the server may take to give a diff.
	fetchTime = 30 * time.Second
	// fetchBytes bounds what is taken of it.
	fetchBytes = 32 << 20
)

// planDiff is the JSON of the diff of a plan.
type planDiff struct {
	Plan   map[string]any `json:"plan"`
	Diff   string         `json:"diff"`
	Whole  bool           `json:"whole"`
	Notice string         `json:"notice,omitempty"`
}

// diffPlan shows what a plan changes, as people are asked to approve it: that is a
// difference, which the exit code says.
func (c commandline) diffPlan(ctx context.Context, p proposed, o *output, address string) error {
	if err := c.showPlan(ctx, p, o, address); err != nil {
		return failWith(2, err)
	}
	return exitError{code: 1}
}

func (c commandline) showPlan(ctx context.Context, p proposed, o *output, address string) error {
	text, notice := p.Spec.Diff, ""
	if p.Spec.DiffDigest != "" {
		whole, err := c.connection.fetchArtifact(ctx, p.Spec.DiffDigest, address)
		if err != nil {
			notice = fmt.Sprintf("this is only the beginning, because the rest can't be had: %v", err)
		} else {
			text = whole
		}
	}
	if o.machine() {
		p.object.SetManagedFields(nil)
		return o.print(c.streams.Out, planDiff{Plan: p.object.Object, Diff: text, Whole: notice == "", Notice: notice})
	}
	c.describePlan(c.streams.Out, p)
	paintDiff(c.streams.Out, c.palette(), text)
	if notice != "" {
		fmt.Fprintln(c.streams.Err, "warning: "+notice)
	}
	return nil
}

// fetchArtifact gets a text by its digest: from the data directory of plumb up, or
// from a server. What is not what the digest says is an error.
func (k *connection) fetchArtifact(ctx context.Context, digest, address string) (string, error) {
	dir := filepath.Join(k.dataDir, "engine")
	if address == "" {
		text, err := artifact.Open(filepath.Join(dir, server.ArtifactsDir)).Get(digest)
		if err == nil || !errors.Is(err, artifact.ErrUnknown) {
			return text, err
		}
		known, err := os.ReadFile(filepath.Join(dir, server.AddressFile))
		if err != nil {
			return "", errors.New("it is kept by the server: say where that is with --server http://HOST:PORT")
		}
		address = "http://" + strings.TrimSpace(string(known))
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(address, "/")+"/api/artifacts/"+digest, nil)
	if err != nil {
		return "", fmt.Errorf("--server: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the server: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, fetchBytes))
	switch {
	case err != nil:
		return "", fmt.Errorf("ask the server: %w", err)
	case response.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the server at %s answers %s", address, response.Status)
	case artifact.Digest(string(text)) != digest:
		return "", fmt.Errorf("the server at %s gives something else than what the plan says", address)
	}
	return string(text), nil
}
