package storage

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks a byte far behind the text, so that others can read the pid.
func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{Offset: 1 << 20})
}

// syncFolder has nothing to do: NTFS journals a folder's entries itself, and
// Windows does not sync one.
func syncFolder(string) error { return nil }

// anotherOwner has nobody to name: Windows keeps owners elsewhere.
func anotherOwner(fs.FileInfo) (string, bool) { return "", false }
