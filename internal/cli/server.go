package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/plumb-dev/plumb/internal/server"
)

const serverLong = `Runs Plumb's engine against an existing Kubernetes cluster: installs or upgrades
the definitions of Applications and AppProjects, and then holds Applications true
to Git until it is stopped. Several servers may run: one works, the others stand
by and take over.

Without --kubeconfig it uses KUBECONFIG, ~/.kube/config, or, in a pod, the pod's
own service account.

Where Argo CD has defined argoproj.io Applications, they are left alone unless
--argocd-objects is given; stop Argo CD's application controller first.

On --listen it answers /healthz, /readyz, /metrics and POST /api/webhook. The
latter has repositories looked at again: it takes push payloads of GitHub,
GitLab, Gitea, Gogs, Bitbucket and Azure DevOps, {"repo": "URL"}, or ?repo=URL.
With --audit-webhook-token-file it takes audit events on POST /api/audit, too.`

// serverFlags are the flags of plumb server.
type serverFlags struct {
	kubeconfig, context, dataDir string
	webhookSecret                string
	logFormat, logLevel          string
	ledger, ledgerPostgres       string
	stateDir                     string
	auditLogs                    []string
	auditToken                   string
	options                      server.Options
}

func newServerCommand(streams Streams, env environment) *cobra.Command {
	tools := env.Tools
	f := serverFlags{options: server.Options{Tools: tools}, stateDir: env.StateDir}
	cmd := &cobra.Command{
		Use:               "server",
		Aliases:           []string{"controller", "serve"},
		Short:             "Run the engine against an existing cluster",
		Long:              serverLong,
		Example:           "  plumb server --kubeconfig ~/.kube/config",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), streams.Err)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the control plane")
	flags.StringVar(&f.context, "context", "", "`NAME` of the context in the kubeconfig")
	flags.StringVar(&f.dataDir, "data-dir", "", "`DIR` for mirrors of repositories and working folders of modules; keep it over restarts (default: plumb in the user's cache directory)")
	flags.StringVar(&f.ledger, "ledger", ledgerRequired, "`MODE` of recording changes: required (nothing is changed that cannot be recorded) or off")
	flags.StringVar(&f.options.Ledger.Dir, "ledger-dir", "", "`DIR` of the ledger, never to be lost (default: ledger in --data-dir or, without that, in plumb in the user's state directory)")
	flags.StringVar(&f.ledgerPostgres, "ledger-postgres-file", "", "`FILE` with the address of a PostgreSQL database for the ledger's index (default: a file beside the log)")
	flags.BoolVar(&f.options.ArgoObjects, "argocd-objects", false, "hold argoproj.io Applications also where Argo CD has defined them")
	flags.BoolVar(&f.options.LeaderElect, "leader-elect", true, "let one of several servers work and the others stand by")
	flags.StringVar(&f.options.Listen, "listen", "", "`ADDRESS` for HTTP, or \"off\" (default: "+server.DefaultListen+", or a free port)")
	flags.IntVar(&f.options.Workers, "workers", 20, "how many Applications are worked on at once")
	flags.DurationVar(&f.options.PollInterval, "poll-interval", 3*time.Minute, "how often repositories that cannot be watched are asked for new commits")
	flags.DurationVar(&f.options.PullRequestInterval, "pull-request-interval", server.DefaultPullRequestInterval, "how often open pull requests are listed, where a Secret says that they get previews; negative leaves it to webhooks")
	flags.BoolVar(&f.options.SelfServiceNotifications, "self-service-notification-enabled", false, "let teams configure notifications in the namespaces of their Applications")
	flags.StringVar(&f.webhookSecret, "webhook-secret-file", "", "`FILE` with the secret that senders of webhooks must know")
	flags.StringArrayVar(&f.auditLogs, "audit-log", nil, "audit log `[CLUSTER=]FILE` of an API server, to know who has changed what: of the control plane, or of the destination CLUSTER; may be repeated")
	flags.StringVar(&f.auditToken, "audit-webhook-token-file", "", "`FILE` with the token that API servers must have who send audit events to POST /api/audit[/CLUSTER]")
	flags.BoolVar(&f.options.AllowExec, "allow-exec-credentials", false, "let cluster Secrets name programs that give credentials")
	flags.BoolVar(&f.options.Pprof, "pprof", false, "serve profiles on /debug/pprof, on a loopback address only")
	flags.StringVar(&f.options.Tools.Isolation, "module-isolation", cmp.Or(tools.Isolation, "preferred"), "`MODE` of keeping OpenTofu and Terraform modules apart from each other and from Plumb: required, preferred (as far as the kernel can) or off")
	flags.StringArrayVar(&f.options.Tools.Readable, "module-readable", tools.Readable, "`PATH` that all modules may read; may be repeated")
	flags.StringArrayVar(&f.options.Tools.Writable, "module-writable", tools.Writable, "`PATH` that all modules may read and write; may be repeated")
	flags.StringVar(&f.logFormat, "log-format", "text", "`FORMAT` of the log: text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "least `LEVEL` to log: debug, info, warn or error")
	_ = cmd.MarkFlagFilename("kubeconfig")
	_ = cmd.MarkFlagDirname("data-dir")
	_ = cmd.MarkFlagFilename("webhook-secret-file")
	_ = cmd.MarkFlagFilename("audit-log")
	_ = cmd.MarkFlagFilename("audit-webhook-token-file")
	_ = cmd.MarkFlagDirname("ledger-dir")
	_ = cmd.MarkFlagFilename("ledger-postgres-file")
	_ = cmd.RegisterFlagCompletionFunc("ledger", cobra.FixedCompletions([]string{ledgerRequired, ledgerOff}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("module-isolation", cobra.FixedCompletions([]string{"required", "preferred", "off"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *serverFlags) run(ctx context.Context, logs io.Writer) error {
	log, err := newLog(logs, f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	klog.SetSlogLogger(log) // what client-go logs
	f.options.Log = log
	if f.options.RESTConfig, err = serverConfig(f.kubeconfig, f.context); err != nil {
		return err
	}
	if f.options.DataDir = f.dataDir; f.dataDir == "" {
		if f.options.DataDir, err = serverDataDir(); err != nil {
			return err
		}
	}
	if err := f.setLedger(); err != nil {
		return err
	}
	if f.options.Workers < 1 {
		return fmt.Errorf("--workers is %d: it must be at least 1", f.options.Workers)
	}
	if f.webhookSecret != "" {
		secret, err := os.ReadFile(f.webhookSecret)
		if err != nil {
			return fmt.Errorf("read the webhook's secret: %w", err)
		}
		if f.options.WebhookSecret = bytes.TrimSpace(secret); len(f.options.WebhookSecret) == 0 {
			return fmt.Errorf("the webhook's secret in %s is empty", f.webhookSecret)
		}
	}
	if err := f.setAudit(); err != nil {
		return err
	}
	return server.Run(ctx, f.options)
}

// setAudit says where it is heard who changes what.
func (f *serverFlags) setAudit() error {
	for _, text := range f.auditLogs {
		log, err := auditLog(text)
		if err != nil {
			return err
		}
		f.options.Audit.Logs = append(f.options.Audit.Logs, log)
	}
	if f.auditToken == "" {
		return nil
	}
	token, err := os.ReadFile(f.auditToken)
	if err != nil {
		return fmt.Errorf("read the token for audit events: %w", err)
	}
	if f.options.Audit.Token = bytes.TrimSpace(token); len(f.options.Audit.Token) == 0 {
		return fmt.Errorf("the token for audit events in %s is empty", f.auditToken)
	}
	return nil
}

// auditLog reads [CLUSTER=]FILE. A path may have a "=" of its own.
func auditLog(text string) (server.AuditLog, error) {
	cluster, file, named := strings.Cut(text, "=")
	if !named || strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") {
		cluster, file = "", text
	}
	if file == "" || named && cluster == "" && file != text {
		return server.AuditLog{}, fmt.Errorf("--audit-log is %q: it must be FILE or CLUSTER=FILE", text)
	}
	return server.AuditLog{Cluster: cluster, File: file}, nil
}

// The values of --ledger.
const (
	ledgerRequired = "required"
	ledgerOff      = "off"
)

// setLedger says where changes are recorded. A cache directory is no place for it.
func (f *serverFlags) setLedger() error {
	o := &f.options.Ledger
	switch f.ledger {
	case ledgerRequired:
	case ledgerOff:
		o.Off = true
		return nil
	default:
		return fmt.Errorf("--ledger is %q: it must be %s or %s", f.ledger, ledgerRequired, ledgerOff)
	}
	if f.ledgerPostgres != "" {
		raw, err := os.ReadFile(f.ledgerPostgres)
		if err != nil {
			return fmt.Errorf("read the address of the ledger's database: %w", err)
		}
		if o.Postgres = strings.TrimSpace(string(raw)); o.Postgres == "" {
			return fmt.Errorf("there is no address of a database in %s", f.ledgerPostgres)
		}
	}
	if o.Dir == "" && f.dataDir == "" {
		if f.stateDir == "" {
			return errors.New("there is no home directory to keep the ledger in: say where with --ledger-dir, or do without it with --ledger=off")
		}
		o.Dir = filepath.Join(f.stateDir, "ledger")
	}
	return nil
}

// serverConfig finds the control plane: a kubeconfig, or the cluster that the
// server runs in.
func serverConfig(file, context string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = file
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no cluster to run against: name a kubeconfig with --kubeconfig, or start a local control plane with `plumb up`")
	}
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	return config, nil
}

// serverDataDir is where mirrors go if nobody says where.
func serverDataDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil { // as for a user without a home
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "plumb")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create the data directory: %w; choose another one with --data-dir", err)
	}
	return dir, nil
}

func newLog(to io.Writer, format, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level is %q: it must be debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(slog.NewTextHandler(to, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(to, options)), nil
	}
	return nil, fmt.Errorf("--log-format is %q: it must be text or json", format)
}
