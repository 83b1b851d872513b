package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/zclconf/go-cty/cty"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/plumb-dev/plumb/internal/driver/tofu/isolate"
)

// Command says how to run a provider.
type Command struct {
	Path string
	// Env is the whole environment: nothing of this process's is added.
	Env []string
	// Dir is the working folder. Some providers read files relative to it.
	Dir string
	// TempDir is an existing folder for sockets, whose path is short.
	TempDir string
	// Fence keeps the provider apart from all but its own folder for sockets and what
	// is in Read; nil does not.
	Fence *isolate.Fence
	Read  []string
	// StartTimeout bounds the start; a minute if 0.
	StartTimeout time.Duration
}

// Process is a running provider.
type Process struct {
	wire
	client *plugin.Client
	stderr *tail
	stop   sync.Once
}

// handshake is what all providers expect. The cookie is no secret.
var handshake = plugin.HandshakeConfig{
	ProtocolVersion:  4,
	MagicCookieKey:   "TF_PLUGIN_MAGIC_COOKIE",
	MagicCookieValue: "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
}

// connector gives the bare connection.
type connector struct{ plugin.NetRPCUnsupportedPlugin }

func (connector) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("no server")
}

func (connector) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// Start runs a provider. It is not configured yet.
func Start(s *Spawner, c Command) (*Process, error) {
	if c.StartTimeout == 0 {
		c.StartTimeout = time.Minute
	}
	stderr := &tail{}
	set := plugin.PluginSet{"provider": connector{}}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{5: set, 6: set},
		RunnerFunc: func(_ hclog.Logger, asked *exec.Cmd, own string) (runner.Runner, error) {
			cmd := exec.Command(c.Path) //nolint:noctx // it lives longer than any call; what is asked for names no program
			cmd.Env, cmd.Dir = slices.Concat(frugal(c.Path), []string{"HOME=" + own, "TMPDIR=" + own}, c.Env, quiet(c.Path), asked.Env), c.Dir
			if err := c.Fence.Confine(cmd, isolate.Reach{Read: append([]string{filepath.Dir(c.Path)}, c.Read...), Write: []string{own}}); err != nil {
				return nil, err
			}
			return newGroupRunner(s, cmd)
		},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     c.StartTimeout,
		Logger:           hclog.NewNullLogger(),
		Stderr:           stderr,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: c.TempDir},
		GRPCDialOptions:  []grpc.DialOption{grpc.WithChainUnaryInterceptor(readOnly), grpc.WithChainStreamInterceptor(noStreams)},
	})
	p := &Process{client: client, stderr: stderr}
	if err := p.connect(); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start the provider: %w%s", err, p.said())
	}
	return p, nil
}

// quiet keeps a provider from describing each call on its standard error, which
// takes longer than a read and is read by nobody.
func quiet(path string) []string {
	names := []string{"TF_LOG", "TF_LOG_SDK", "TF_LOG_SDK_PROTO", "TF_LOG_SDK_FRAMEWORK", "TF_LOG_SDK_HELPER_SCHEMA", "TF_LOG_SDK_MUX", "TF_LOG_PROVIDER"}
	name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), "terraform-provider-"), "_")
	names = append(names, "TF_LOG_PROVIDER_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	for i, name := range names {
		names[i] = name + "=off"
	}
	return names
}

// frugal lets a small provider collect its garbage less often, which otherwise
// takes a third of its time. The environment of the caller goes before that.
func frugal(path string) []string {
	if info, err := os.Stat(path); err != nil || info.Size() > smallProvider {
		return nil // a large one has a large heap
	}
	return []string{"GOGC=400"}
}

const smallProvider = 64 << 20

func (p *Process) connect() error {
	protocol, err := p.client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense("provider")
	if err != nil {
		return err
	}
	conn, ok := raw.(*grpc.ClientConn)
	if !ok {
		return fmt.Errorf("there is no gRPC connection, but %T", raw)
	}
	p.wire = wire{protocol: p.client.NegotiatedVersion(), conn: conn}
	if p.protocol != 5 && p.protocol != 6 {
		return fmt.Errorf("it speaks protocol %d, and only 5 and 6 are understood", p.protocol)
	}
	return nil
}

// Pid is the id of the process.
func (p *Process) Pid() string { return p.client.ID() }

// Exited tells whether the process has ended by itself or by Stop.
func (p *Process) Exited() bool { return p.client.Exited() }

// Stop kills the process and all that it started, and waits for its end.
func (p *Process) Stop() {
	p.stop.Do(func() {
		if id := p.client.ID(); id != "" && !p.client.Exited() {
			killGroup(id) // it only reads: there is nothing that it must finish
		}
		p.client.Kill()
	})
}

// Said is the end of what the provider wrote to its standard error, which can
// hold anything, secrets too.
func (p *Process) Said() string { return p.stderr.String() }

// Panic is the line of its standard error in which the provider says why it
// crashed; empty if there is none. A crash is noticed before all was read.
func (p *Process) Panic(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for !p.Exited() && ctx.Err() == nil {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	p.stderr.mu.Lock()
	defer p.stderr.mu.Unlock()
	return p.stderr.panic
}

func (p *Process) said() string {
	if said := p.Said(); said != "" {
		return "; it wrote: " + said
	}
	return ""
}

// Configure configures the provider, which is done once for each process.
func (p *Process) Configure(ctx context.Context, s *Schema, config cty.Value, toolVersion string) error {
	if !s.optional { // such a provider works only once it was asked for its schema
		if _, err := p.call(ctx, getSchema, nil); err != nil {
			return fmt.Errorf("ask the provider for its schema: %w", err)
		}
	}
	encoded, err := encode(config, s.Provider.Type())
	if err != nil {
		return fmt.Errorf("encode the configuration of the provider: %w", err)
	}
	_, err = p.call(ctx, validateConfig(p.protocol), func(req protoreflect.Message) error {
		setDynamic(req, "config", encoded)
		return nil
	})
	if err != nil {
		return fmt.Errorf("validate the configuration of the provider: %w", err)
	}
	_, err = p.call(ctx, configure(p.protocol), func(req protoreflect.Message) error {
		set(req, "terraform_version", toolVersion)
		setDynamic(req, "config", encoded)
		setCapabilities(req)
		return nil
	})
	if err != nil {
		return fmt.Errorf("configure the provider: %w", err)
	}
	return nil
}

// setCapabilities says what OpenTofu says, so that providers do what they do
// for it.
func setCapabilities(req protoreflect.Message) {
	f := field(req, "client_capabilities")
	if f == nil {
		return
	}
	capabilities := req.Mutable(f).Message()
	if field(capabilities, "write_only_attributes_allowed") != nil {
		set(capabilities, "write_only_attributes_allowed", true)
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu    sync.Mutex
	text  []byte
	panic string // the first line that says why a Go program ended
}

const tailSize = 2000

func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if line := string(text); t.panic == "" && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")) {
		t.panic, _, _ = strings.Cut(line[:min(len(line), tailSize)], "\n")
	}
	t.text = append(t.text, text...)
	if extra := len(t.text) - tailSize; extra > tailSize {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(text), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text[max(0, len(t.text)-tailSize):]))
}
