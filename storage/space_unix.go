//go:build linux || darwin || freebsd

package storage

import "golang.org/x/sys/unix"

// freeSpace is how many octets this user may still write in dir; known is false
// where the system does not tell.
func freeSpace(dir string) (free int64, known bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
