package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// socketPath is the file of a listen address that names a unix socket:
// "unix:/run/posthorn/lmtp.sock", or the absolute path alone.
func socketPath(addr string) (string, bool) {
	path, marked := strings.CutPrefix(addr, "unix:")
	return path, marked || strings.HasPrefix(addr, "/")
}

func checkSocket(section, addr, path string) error {
	if section != "lmtp" {
		return fmt.Errorf("listen address %q: only [lmtp] listens on unix sockets", addr)
	}
	if !filepath.IsAbs(path) {
		return fmt.Errorf("listen address %q: give the socket's whole path, such as unix:/run/posthorn/lmtp.sock", addr)
	}
	return nil
}

// listenSocket makes a unix socket with these permissions. A socket that is
// there already and that nobody answers on was left by a server that was killed,
// and is replaced; any other file stays.
func listenSocket(path string, mode fs.FileMode) (net.Listener, error) {
	ln, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && isStale(path) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		ln, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

func isStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
