package config

import (
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bindSocket binds [lmtp] to the path alone.
func bindSocket(path string) (net.Listener, error) {
	c := Default()
	c.LMTP.Listen = []string{"unix:" + path}
	bound, err := c.Bind(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return bound[0], nil
}

func TestSocketHasItsModeAndGoesWithItsListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := bindSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if ln.Addr().String() != path {
		t.Errorf("listens on %s", ln.Addr())
	}
	if _, err := bindSocket(path); err == nil || !strings.Contains(err.Error(), "another program answers there") {
		t.Errorf("a socket in use was taken: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first listener is gone: %v", err)
	} else {
		_ = c.Close()
	}
	_ = ln.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is still there")
	}
}

func TestOnlyADeadSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	ln, err := bindSocket(dead)
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bindSocket(file); err == nil {
		t.Error("a file was taken for a socket")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := bindSocket(filepath.Join(dir, "none", "s")); err == nil || !strings.Contains(err.Error(), "make the folder") {
		t.Error(err)
	}
}
