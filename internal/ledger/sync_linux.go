package ledger

import (
	"os"
	"syscall"
)

// syncData has the disk keep what was written to a file, but not when.
func syncData(file *os.File) error {
	for {
		if err := syscall.Fdatasync(int(file.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
