// Package integration_test builds the program and drives it from outside, with
// nothing but what an operator and a mail client have: a configuration file,
// the command line, signals, the log on stderr, and sockets.
//
// Each test has servers and data folders of its own, on ports that the system
// chooses, so that all of them can run at once. The clients are the Go
// libraries go-imap and go-smtp, and, where they are installed, programs that
// people read their mail with; a test whose program is missing says skip.
//
// The program is built with the race detector where a C compiler is found;
// what it, or a panic, leaves in a server's log fails the test. POSTHORN_BINARY
// names a program to test instead.
package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// binary is the program under test. Only TestMain sets it.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) (exit int) {
	if binary = os.Getenv("POSTHORN_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "posthorn-integration")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "posthorn")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes the program, with the race detector where that works.
func build() error {
	if hasCompiler() {
		_, err := goBuild("-race")
		if err == nil {
			return nil
		}
		fmt.Fprintf(os.Stderr, "no race detector here: %v\n", err)
	}
	output, err := goBuild()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

func goBuild(flags ...string) ([]byte, error) { return goBuildTo(binary, flags...) }

func goBuildTo(file string, flags ...string) ([]byte, error) {
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", file, "posthorn")...)
	return cmd.CombinedOutput()
}

func hasCompiler() bool {
	settings, err := exec.Command("go", "env", "CGO_ENABLED", "CC").Output()
	lines := strings.Split(string(settings), "\n")
	if err != nil || len(lines) < 2 || lines[0] != "1" {
		return false
	}
	_, err = exec.LookPath(strings.Fields(lines[1] + " ")[0])
	return err == nil
}
