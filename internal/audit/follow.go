package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// catchUp is how much of a log is read that was written before.
	catchUp = 8 << 20
	// mostLine is the longest line: with the bodies of requests they may be long.
	mostLine = 4 << 20
	chunk    = 64 << 10
	// breath bounds how often a log is read that is written all the time.
	breath = 20 * time.Millisecond
	// watchedPeriod is how often a file is looked at whose folder is watched, and
	// unwatchedPeriod, where it cannot be.
	watchedPeriod   = 10 * time.Second
	unwatchedPeriod = time.Second
)

// follower reads one log, as it grows, over rotation and truncation.
type follower struct {
	feed          *Feed
	cluster, path string

	file   *os.File
	info   os.FileInfo
	offset int64
	// half is the beginning of a line whose end is not written yet; skip is set where
	// it is too long.
	half    []byte
	skip    bool
	buffer  []byte
	problem string
}

// follow reads a log until ctx is done. It calls caught once it has read what was
// there at first.
func (f *Feed) follow(ctx context.Context, log Log, caught func()) {
	l := &follower{feed: f, cluster: log.Cluster, path: filepath.Clean(log.File)}
	defer caught()
	defer l.close()
	if abs, err := filepath.Abs(l.path); err == nil {
		l.path = abs
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		f.options.Log.Warn("audit logs are looked at each second, because files cannot be watched", "error", err)
	} else {
		defer watcher.Close()
	}
	watched := l.watch(watcher)
	l.note(l.begin())
	caught()
	for {
		l.note(l.look())
		if !watched {
			watched = l.watch(watcher)
		}
		if !l.await(ctx, watcher, watched) {
			return
		}
	}
}

// watch has the log's folder watched, and tells whether it is.
func (l *follower) watch(w *fsnotify.Watcher) bool {
	return w != nil && w.Add(filepath.Dir(l.path)) == nil
}

// await waits until there may be more to read. It is false at the end.
func (l *follower) await(ctx context.Context, w *fsnotify.Watcher, watched bool) bool {
	period := unwatchedPeriod
	var events chan fsnotify.Event
	var errs chan error
	if watched {
		period, events, errs = watchedPeriod, w.Events, w.Errors
	}
	pausing, tick := time.NewTimer(breath), time.NewTimer(period)
	defer pausing.Stop()
	defer tick.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-pausing.C:
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			return true
		case <-errs: //nolint:errcheck // whatever it is
			return true // events were lost
		case e := <-events:
			if e.Name == l.path {
				return true
			}
		}
	}
}

// note logs what is wrong, once.
func (l *follower) note(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == l.problem {
		return
	}
	if l.problem = text; err != nil {
		l.feed.options.Log.Warn("the API server's audit log cannot be read: who has changed what is not known", "cluster", l.cluster, "error", err)
		return
	}
	l.feed.options.Log.Info("reading the API server's audit log", "cluster", l.cluster, "file", l.path)
}

func (l *follower) close() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

var errNotRegular = errors.New("it is no regular file")

// open opens the log at its beginning.
func (l *follower) open() error {
	l.close()
	l.offset, l.half, l.skip = 0, nil, false
	var err error
	if l.file, l.info, err = openRegular(l.path); err != nil {
		l.file = nil
		return fmt.Errorf("read %s: %w", l.path, err)
	}
	return nil
}

func openRegular(path string) (*os.File, os.FileInfo, error) {
	info, err := os.Stat(path) // before it is opened: a pipe would block
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// begin reads the end of what was written before, also of the file before.
func (l *follower) begin() error {
	if err := l.open(); err != nil {
		return err
	}
	left := int64(catchUp)
	if before := l.rotated(); before != "" && l.info.Size() < left {
		if file, info, err := openRegular(before); err == nil {
			last := &follower{feed: l.feed, cluster: l.cluster, path: before, file: file, info: info}
			last.seekEnd(left - l.info.Size())
			_ = last.drain()
			last.close()
		}
	}
	l.seekEnd(left)
	return l.drain()
}

// seekEnd goes to so many bytes before the end.
func (l *follower) seekEnd(most int64) {
	if l.info.Size() > most {
		l.offset, l.skip = l.info.Size()-most, true // what is left of the first line is none
	}
}

// rotated is the latest file that the API server has put aside.
func (l *follower) rotated() string {
	ext := filepath.Ext(l.path)
	all, _ := filepath.Glob(globQuote(strings.TrimSuffix(l.path, ext)) + "-*" + globQuote(ext))
	if len(all) == 0 {
		return ""
	}
	return slices.Max(all) // they are called by their times
}

func globQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// look reads what is new, also in a file that has taken the log's place.
func (l *follower) look() error {
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if err := l.drain(); err != nil {
		return err
	}
	now, err := os.Stat(l.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil // it is being put aside
	case err != nil:
		return fmt.Errorf("read %s: %w", l.path, err)
	case !os.SameFile(now, l.info):
		if err := l.drain(); err != nil { // what was written until it was put aside
			return err
		}
		if err := l.open(); err != nil {
			return err
		}
	case now.Size() < l.offset:
		l.offset, l.half, l.skip = 0, nil, false
	default:
		return nil
	}
	return l.drain()
}

// drain reads to the end of the file.
func (l *follower) drain() error {
	if l.buffer == nil {
		l.buffer = make([]byte, chunk)
	}
	for {
		n, err := l.file.ReadAt(l.buffer, l.offset)
		l.offset += int64(n)
		if n > 0 {
			l.lines(l.buffer[:n])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			l.close()
			return fmt.Errorf("read %s: %w", l.path, err)
		}
	}
}

// lines takes the whole lines of what was read.
func (l *follower) lines(read []byte) {
	var batch []written
	var counts Counts
	for len(read) > 0 {
		line, rest, whole := bytes.Cut(read, []byte{'\n'})
		read = rest
		if !l.skip && len(l.half)+len(line) > mostLine {
			l.half, l.skip = nil, true
			counts.Invalid++
		}
		if !whole {
			if !l.skip {
				l.half = append(l.half, line...)
			}
			break
		}
		if l.skip {
			l.skip = false
			continue
		}
		if len(l.half) > 0 {
			line = append(l.half, line...)
			l.half = nil
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			batch = l.feed.takeLine(l.cluster, line, batch, &counts)
		}
	}
	l.feed.take(batch, counts)
}
