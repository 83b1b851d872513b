package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// maxStreams bounds how many logs are followed at once.
const maxStreams = 50

// logOptions say which logs to show, and how.
type logOptions struct {
	follow, previous, timestamps bool
	container, component         string
	tail                         int64
	since                        time.Duration
}

func (c commandline) newLogsCommand() *cobra.Command {
	var s selection
	var l logOptions
	cmd := &cobra.Command{
		Use:   "logs NAME | --component NAME",
		Short: "Show the logs of an Application's pods",
		Long: `Shows the logs of the pods of an Application, each line with its pod.

With --component, shows the log of a part of what plumb up started: etcd,
kube-apiserver, kube-controller-manager, kube-scheduler, kwok, plumb-server.

Pods on simulated nodes run nothing, and so write no logs.`,
		Example: `  plumb logs web -f --tail 20
  plumb logs --component plumb-server -f`,
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.component != "" {
				if len(args) > 0 {
					return errors.New("name an Application or a --component, not both")
				}
				return c.componentLog(cmd.Context(), l)
			}
			if err := oneName(cmd, args); err != nil {
				return err
			}
			return c.podLogs(cmd.Context(), args[0], s, l)
		},
	}
	c.connection.bind(cmd.Flags())
	s.bind(cmd.Flags())
	f := cmd.Flags()
	f.BoolVarP(&l.follow, "follow", "f", false, "go on and show what is written, until Ctrl-C")
	f.BoolVarP(&l.previous, "previous", "p", false, "the logs of the containers before their last restart")
	f.BoolVar(&l.timestamps, "timestamps", false, "each line with its time")
	f.StringVarP(&l.container, "container", "c", "", "only this `CONTAINER` of each pod")
	f.StringVar(&l.component, "component", "", "the log of a part of what plumb up started")
	f.Int64Var(&l.tail, "tail", -1, "only the last `LINES` of each log")
	f.DurationVar(&l.since, "since", 0, "only what is younger than this")
	_ = cmd.RegisterFlagCompletionFunc("component", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return components(c.connection.dataDir), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func (l logOptions) podOptions(container string) *corev1.PodLogOptions {
	o := &corev1.PodLogOptions{Container: container, Follow: l.follow, Previous: l.previous, Timestamps: l.timestamps}
	if l.tail >= 0 {
		o.TailLines = &l.tail
	}
	if l.since > 0 {
		seconds := int64(l.since.Round(time.Second).Seconds())
		o.SinceSeconds = &seconds
	}
	return o
}

func (c commandline) podLogs(ctx context.Context, name string, s selection, l logOptions) error {
	a, err := c.connection.find(ctx, name, s)
	if err != nil {
		return err
	}
	destination, err := c.connection.destination(a)
	if err != nil {
		return err
	}
	root := c.growTree(ctx, a)
	pods := podsOf(root)
	if len(pods) == 0 {
		return fmt.Errorf("application %s has no pods (`plumb tree %s` shows what it has)", a.key, qualifiedArgument(a.key))
	}
	client, err := destination.typed()
	if err != nil {
		return err
	}
	p := podLogs{c: c, client: client, options: l}
	return p.show(ctx, pods)
}

func podsOf(b *branch) []*branch {
	if b.Kind == "Pod" && b.Group == "" {
		return []*branch{b}
	}
	var pods []*branch
	for _, child := range b.Children {
		pods = append(pods, podsOf(child)...)
	}
	return pods
}

// podLogs copies the logs of containers, line by line.
type podLogs struct {
	c       commandline
	client  kubernetes.Interface
	options logOptions
	mu      sync.Mutex
}

func (p *podLogs) show(ctx context.Context, pods []*branch) error {
	type stream struct{ pod, namespace, container string }
	var streams []stream
	simulated := 0
	for _, b := range pods {
		pod, err := p.client.CoreV1().Pods(b.Namespace).Get(ctx, b.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue // gone meanwhile
		}
		if err != nil {
			return fmt.Errorf("read the pod %s in namespace %s: %w", b.Name, b.Namespace, err)
		}
		if strings.HasPrefix(pod.Spec.NodeName, "simulated-") {
			simulated++
			continue
		}
		for _, container := range pod.Spec.Containers {
			if p.options.container == "" || p.options.container == container.Name {
				streams = append(streams, stream{b.Name, b.Namespace, container.Name})
			}
		}
	}
	if simulated > 0 {
		fmt.Fprintf(p.c.streams.Err, "%s on simulated nodes: nothing runs in them, so there is nothing in their logs\n", plural(simulated, "pod"))
	}
	if p.options.follow && len(streams) > maxStreams {
		return fmt.Errorf("there are %d logs, and %d can be followed at once: choose one container with --container, or use kubectl logs", len(streams), maxStreams)
	}
	var wait sync.WaitGroup
	problems := make([]error, len(streams))
	for i, s := range streams {
		one := func() { problems[i] = p.copy(ctx, s.namespace, s.pod, s.container) }
		if p.options.follow {
			wait.Go(one)
		} else {
			one()
		}
	}
	wait.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C is how following ends
	}
	return errors.Join(problems...)
}

func (p *podLogs) copy(ctx context.Context, namespace, pod, container string) error {
	log, err := p.client.CoreV1().Pods(namespace).GetLogs(pod, p.options.podOptions(container)).Stream(ctx)
	if err != nil {
		return fmt.Errorf("read the log of %s/%s, container %s: %w", namespace, pod, container, err)
	}
	defer log.Close()
	prefix := p.c.palette().dim("[" + pod + "/" + container + "] ")
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			p.mu.Lock()
			fmt.Fprintln(p.c.streams.Out, prefix+strings.TrimSuffix(line, "\n"))
			p.mu.Unlock()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log of %s/%s: %w", namespace, pod, err)
		}
	}
}

// componentLog shows the log of a supervised process.
func (c commandline) componentLog(ctx context.Context, l logOptions) error {
	known := components(c.connection.dataDir)
	if !slices.Contains(known, l.component) {
		if len(known) == 0 {
			return fmt.Errorf("there are no logs in %s: has `plumb up` ever run there?", c.connection.dataDir)
		}
		return fmt.Errorf("there is no component %q: there are %s", l.component, strings.Join(known, ", "))
	}
	path := logFile(c.connection.dataDir, l.component)
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer func() { f.Close() }()
	if err := skipToTail(f, l.tail); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	for {
		if _, err := io.Copy(c.streams.Out, f); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if !l.follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(250 * time.Millisecond):
		}
		if f, err = reopened(f, path); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
	}
}

// reopened gives the file that is at the path now, if another one has taken its
// place.
func reopened(f *os.File, path string) (*os.File, error) {
	was, err := f.Stat()
	if err != nil {
		return f, err
	}
	now, err := os.Stat(path)
	if err != nil || os.SameFile(was, now) {
		return f, nil //nolint:nilerr // between two files, or the same
	}
	next, err := os.Open(path)
	if err != nil {
		return f, nil //nolint:nilerr // between two files: the next look finds it
	}
	f.Close()
	return next, nil
}

// skipToTail goes to where the last lines of a file begin.
func skipToTail(f *os.File, lines int64) error {
	if lines < 0 {
		return nil
	}
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	const step = 16 << 10
	buffer, seen, first := make([]byte, step), int64(0), true
	for at > 0 {
		n := min(step, at)
		at -= n
		if _, err := f.ReadAt(buffer[:n], at); err != nil {
			return err
		}
		for i := n - 1; i >= 0; i-- {
			if buffer[i] != '\n' {
				first = false
				continue
			}
			if first { // the end of the last line
				first = false
				if lines == 0 {
					return nil
				}
				continue
			}
			if seen++; seen >= lines {
				_, err := f.Seek(at+i+1, io.SeekStart)
				return err
			}
		}
	}
	if lines == 0 {
		return nil
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
