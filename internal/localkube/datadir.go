package localkube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// layout is the version of the layout of the data directory. A Plumb that does
// not know it must not touch the directory.
const layout = 1

// stampFile says that a directory is a data directory, and how it is laid out.
const stampFile = "cluster.json"

const (
	lockFile       = "lock"
	kubeconfigFile = "kubeconfig"
	clustersDir    = "clusters"
)

// ErrNotRunning is returned by Down when nothing runs in the data directory.
var ErrNotRunning = errors.New("nothing runs in this data directory")

// HeldError says which process holds a data directory.
type HeldError struct {
	DataDir string
	Pid     int
	Since   time.Time
}

func (e *HeldError) Error() string {
	if e.Pid == 0 {
		return fmt.Sprintf("the data directory %s is held by another process", e.DataDir)
	}
	return fmt.Sprintf("the data directory %s is held by process %d since %s; stop it with \"plumb down\", or choose another directory with --data-dir",
		e.DataDir, e.Pid, e.Since.Local().Format(time.DateTime))
}

// ClusterDir returns the data directory of the n-th further cluster of the data
// directory dataDir.
func ClusterDir(dataDir string, n int) string {
	return filepath.Join(dataDir, clustersDir, strconv.Itoa(n))
}

// KubeconfigPath returns where the admin kubeconfig of a data directory is.
func KubeconfigPath(dataDir string) string {
	return filepath.Join(dataDir, kubeconfigFile)
}

// stamp is the content of the stamp file.
type stamp struct {
	Layout     int       `json:"layout"`
	Created    time.Time `json:"created"`
	Kubernetes string    `json:"kubernetes,omitempty"`
	Ports      ports     `json:"ports"`
}

func readStamp(dataDir string) (stamp, error) {
	var s stamp
	path := filepath.Join(dataDir, stampFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(content, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", path, err)
	}
	if s.Layout > layout {
		return s, fmt.Errorf("the data directory %s was written by a newer Plumb (layout %d, this one knows %d): update plumb, or choose another directory with --data-dir", dataDir, s.Layout, layout)
	}
	return s, nil
}

func writeStamp(dataDir string, s stamp) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dataDir, stampFile), append(content, '\n'))
}

// openDataDir creates the data directory if need be, and reads its stamp. A
// directory that holds something else is refused: Reset would remove it.
func openDataDir(dataDir string) (stamp, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return stamp{}, fmt.Errorf("create the data directory: %w", err)
	}
	s, err := readStamp(dataDir)
	if !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		return s, fmt.Errorf("read the data directory: %w", err)
	}
	for _, entry := range entries {
		if !slices.Contains(ownEntries(), entry.Name()) {
			return s, fmt.Errorf("%s is not empty and not a data directory of Plumb (it holds %q): choose an empty or a new directory with --data-dir", dataDir, entry.Name())
		}
	}
	return stamp{Layout: layout, Created: time.Now().UTC()}, nil
}

// ownEntries are what a data directory may hold before it is stamped: the lock,
// what starts beside its cluster, and what an interrupted first start left.
func ownEntries() []string {
	return []string{lockFile, stampFile, kubeconfigFile, clustersDir, auditDir, "etcd", "logs", "pki", "config"}
}

// holder is the content of the lock file.
type holder struct {
	Pid   int       `json:"pid"`
	Since time.Time `json:"since"`
}

// dirLock is a held data directory. The kernel lets go of it when the process
// ends, however it ends.
type dirLock struct{ file *os.File }

// lockDataDir takes the lock of a data directory, or returns a *HeldError.
func lockDataDir(dataDir string) (*dirLock, error) {
	file, err := os.OpenFile(filepath.Join(dataDir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	// One who only looks whether it is held (see Holder) is gone in a moment.
	deadline := time.Now().Add(lockPatience)
	for {
		err = flock(file, syscall.LOCK_EX)
		if !errors.Is(err, errHeld) || time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		defer file.Close()
		if errors.Is(err, errHeld) {
			return nil, readHolder(dataDir, file)
		}
		return nil, fmt.Errorf("lock the data directory %s: %w", dataDir, err)
	}
	l := &dirLock{file: file}
	if err := l.sign(); err != nil {
		l.release()
		return nil, fmt.Errorf("lock the data directory %s: %w", dataDir, err)
	}
	return l, nil
}

const lockPatience = 300 * time.Millisecond

var errHeld = errors.New("held by another process")

func flock(file *os.File, how int) error {
	err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errHeld
	}
	return err
}

func readHolder(dataDir string, file *os.File) *HeldError {
	held := &HeldError{DataDir: dataDir}
	var h holder
	if content, err := io.ReadAll(io.LimitReader(file, 4096)); err == nil && json.Unmarshal(content, &h) == nil {
		held.Pid, held.Since = h.Pid, h.Since
	}
	return held
}

func (l *dirLock) sign() error {
	content, err := json.Marshal(holder{Pid: os.Getpid(), Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err = l.file.WriteAt(append(content, '\n'), 0)
	return err
}

func (l *dirLock) release() {
	_ = l.file.Truncate(0) // nobody is told of a process that has gone
	_ = l.file.Close()
}

// Holder returns which process holds a data directory, or nil if none does.
func Holder(dataDir string) (*HeldError, error) {
	file, err := os.Open(filepath.Join(dataDir, lockFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look who holds the data directory: %w", err)
	}
	defer file.Close()
	err = flock(file, syscall.LOCK_SH)
	if errors.Is(err, errHeld) {
		return readHolder(dataDir, file), nil
	}
	if err != nil {
		return nil, fmt.Errorf("look who holds the data directory %s: %w", dataDir, err)
	}
	return nil, nil
}

// Down asks the process that holds the data directory to stop, and waits until
// it has. It returns ErrNotRunning when there is none.
func Down(ctx context.Context, dataDir string) error {
	held, err := Holder(dataDir)
	if err != nil {
		return err
	}
	if held == nil {
		return ErrNotRunning
	}
	if held.Pid <= 0 {
		return held
	}
	if err := syscall.Kill(held.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop process %d: %w", held.Pid, err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := Holder(dataDir)
		if err != nil {
			return err
		}
		if now == nil || now.Pid != held.Pid {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d still holds %s: %w", held.Pid, dataDir, ctx.Err())
		case <-tick.C:
		}
	}
}

// Reset removes everything in the data directory: the objects of the cluster,
// its certificates, its logs. It refuses while a process holds the directory,
// and it refuses a directory that is not a data directory. The caller asks the
// user first.
func Reset(dataDir string) error {
	if _, err := os.Stat(filepath.Join(dataDir, stampFile)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is not a data directory of Plumb (it has no %s): nothing was removed", dataDir, stampFile)
		}
		return err
	}
	l, err := lockDataDir(dataDir)
	if err != nil {
		return err
	}
	defer l.release()
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		return fmt.Errorf("reset %s: %w", dataDir, err)
	}
	for _, entry := range entries {
		if entry.Name() == lockFile || entry.Name() == stampFile {
			continue // last, so that an interrupted reset can be repeated
		}
		if err := os.RemoveAll(filepath.Join(dataDir, entry.Name())); err != nil {
			return fmt.Errorf("reset %s: %w", dataDir, err)
		}
	}
	if err := os.Remove(filepath.Join(dataDir, stampFile)); err != nil {
		return fmt.Errorf("reset %s: %w", dataDir, err)
	}
	return nil
}

// writeFile replaces a private file at once, so that a reader or a crash never
// meets half of it. A file that has this content already is left alone.
func writeFile(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return os.Chmod(path, 0o600)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // created with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(content); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
