package server

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

// release gives memory back that is not in use: the heap's, and the pages of the
// program's own code, most of which only a start or a command runs. The kernel
// brings those back when they are run again, from its cache of the file.
func release() {
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// from-to r-xp offset device inode path. Only what can be run and not be
		// written: it is the file's, octet by octet.
		f := strings.Fields(lines.Text())
		if len(f) != 6 || f[1] != "r-xp" || f[5] != program {
			continue
		}
		low, high, _ := strings.Cut(f[0], "-")
		from, err1 := strconv.ParseUint(low, 16, 64)
		to, err2 := strconv.ParseUint(high, 16, 64)
		if err1 != nil || err2 != nil || to <= from {
			continue
		}
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(from), uintptr(to-from), syscall.MADV_DONTNEED)
	}
}
