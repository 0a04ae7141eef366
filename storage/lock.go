package storage

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// lockFolder takes the folder for this process: the lock lives as long as the
// returned file is open, and ends with the process however it ends.
func (s *Store) lockFolder() (*os.File, error) {
	path := s.path(lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, refuse("the data folder cannot be locked", path, s.ownership(), err)
	}
	if err := lockFile(f); err != nil {
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		who := "another posthorn"
		if p := strings.TrimSpace(string(pid)); p != "" {
			who += " (process " + p + ")"
		}
		return nil, fmt.Errorf("%w: %s: %s runs on it: stop that one first, or set another data_dir", ErrLocked, s.dir, who)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, refuse("the data folder cannot be locked", path, "check the disk's space and the folder's permissions", classify(err))
	}
	return f, nil
}
