package localkube

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

// The engine's client: the name of its files, and of the user that it is.
const (
	engineName = "engine"
	engineUser = "plumb"
)

const auditDir = "audit"

// auditPolicy has the API server note who writes what, and nothing of what is
// written; nor what controllers and simulated nodes do all the time, nor what the
// engine does, which records that itself.
//
//go:embed audit-policy.yaml
var auditPolicy []byte

// AuditLog returns the path of the log in which the API server notes who has
// written what.
func (c *Cluster) AuditLog() string { return filepath.Join(c.opts.DataDir, auditDir, "audit.log") }

func (c *Cluster) auditPolicyFile() string {
	return filepath.Join(c.opts.DataDir, "config", "audit-policy.yaml")
}

func (c *Cluster) writeAuditPolicy() error {
	if err := os.MkdirAll(filepath.Dir(c.AuditLog()), 0o700); err != nil {
		return fmt.Errorf("create the directory for the audit log: %w", err)
	}
	return writeFile(c.auditPolicyFile(), auditPolicy)
}
