package admin

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is what sun_path of unix(7) holds, the final NUL apart.
const maxSocketPath = 107

// listenUnix makes a socket with mode 0600.
func listenUnix(path string) (net.Listener, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	// Before the chmod the umask and the data folder's own mode, 0700, protect it.
	ln, err := net.Listen("unix", short)
	if err != nil {
		return nil, err
	}
	// The short path is gone after done, so that the name is removed by hand.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return &unlinkingListener{ln, path}, nil
}

type unlinkingListener struct {
	net.Listener
	path string
}

func (l *unlinkingListener) Close() error {
	os.Remove(l.path)
	return l.Listener.Close()
}

func dialUnix(ctx context.Context, d *net.Dialer, path string) (net.Conn, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	return d.DialContext(ctx, "unix", short)
}

// shortPath names the same file in few enough characters for sun_path: a deep
// data folder is reached through its open descriptor.
func shortPath(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}
