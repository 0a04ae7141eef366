package storage

import "golang.org/x/sys/windows"

// freeSpace is how many octets this user may still write in dir; known is false
// where the system does not tell.
func freeSpace(dir string) (free int64, known bool) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	var n uint64
	if err := windows.GetDiskFreeSpaceEx(path, &n, nil, nil); err != nil {
		return 0, false
	}
	return int64(n), true
}
