package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// versionInfo is the JSON of version.
type versionInfo struct {
	Client clientVersion  `json:"client"`
	Server *serverVersion `json:"server,omitempty"`
}

type clientVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Built    string `json:"built,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

type serverVersion struct {
	Address    string `json:"address"`
	Kubernetes string `json:"kubernetes"`
}

func (c commandline) newVersionCommand() *cobra.Command {
	var o output
	var client bool
	cmd := &cobra.Command{
		Use:               "version",
		Short:             "Show the versions of plumb and of the control plane",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info := versionInfo{Client: readClientVersion()}
			if !client {
				info.Server = c.serverVersion(cmd.Context())
			}
			if o.machine() {
				return o.print(c.streams.Out, info)
			}
			text := info.Client.Version
			if info.Client.Commit != "" {
				text += " (" + shortRevision(info.Client.Commit) + ")"
			}
			fmt.Fprintf(c.streams.Out, "plumb %s, %s, %s\n", text, info.Client.Go, info.Client.Platform)
			if info.Server != nil {
				fmt.Fprintf(c.streams.Out, "control plane: Kubernetes %s at %s\n", info.Server.Kubernetes, info.Server.Address)
			} else if !client {
				fmt.Fprintln(c.streams.Out, "control plane: none can be reached")
			}
			return nil
		},
	}
	c.connection.bind(cmd.Flags())
	o.bind(cmd, "json", "yaml")
	cmd.Flags().BoolVar(&client, "client", false, "the version of this program only")
	return cmd
}

func readClientVersion() clientVersion {
	v := clientVersion{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Built = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// serverVersion asks the control plane, if there is one.
func (c commandline) serverVersion(ctx context.Context) *serverVersion {
	if err := c.connection.open(); err != nil {
		return nil
	}
	c.connection.config.Timeout = 5 * time.Second
	client, err := c.connection.discovery()
	if err != nil {
		return nil
	}
	v, err := client.ServerVersion()
	if err != nil || ctx.Err() != nil {
		return nil
	}
	return &serverVersion{Address: c.connection.host(), Kubernetes: v.GitVersion}
}
