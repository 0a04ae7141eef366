//go:build linux

package storage

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// eventKind is what a system call did to a file.
type eventKind uint8

const (
	eventNone     eventKind = iota // a call that changed nothing, or failed
	eventCreate                    // the name is there, if it was not
	eventWrite                     // data at off
	eventTruncate                  // to off octets
	eventSync                      // of what came before event from
	eventUnlink
	eventNote // the workload says data
)

// traceEvent is one step of a recording, in the order of their beginnings; a sync
// stands where it ended.
type traceEvent struct {
	kind eventKind
	file string // in the data folder; "": the folder itself
	off  int64
	data []byte
	from int
}

// tracedCalls are those that can change a file or make a change durable.
// tellTale is one of them by which SQLite or Go would change files in a way
// that the recording does not understand: it fails the test.
const (
	tracedCalls = "open,openat,creat,write,pwrite64,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2," + tellTales
	tellTales   = "writev,pwritev,pwritev2,truncate,fallocate,sync_file_range,sendfile,copy_file_range,link,linkat"
)

// record runs the test binary's workload under strace and returns what it did
// to the folder's files, with what it noted in between.
func record(t *testing.T, dir string, env ...string) []traceEvent {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no strace, which records writes and syncs")
	}
	if out, err := exec.Command(strace, "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	scratch := t.TempDir()
	pipe, notes := filepath.Join(scratch, "trace"), filepath.Join(scratch, "notes")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// -y: descriptors with their paths; -xx: strings in hex.
	cmd := exec.Command(strace, "-f", "-y", "-xx", "-s", "2097152", "-e", "trace="+tracedCalls, "-e", "signal=none", "-o", pipe,
		binary, "-test.run=^TestCrashWorkload$", "-test.timeout=5m")
	cmd.Env = append(append(os.Environ(), "POSTHORN_CRASH_DIR="+dir, "POSTHORN_CRASH_NOTES="+notes), env...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	// Both ends, so that neither side waits for the other to open it.
	in, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := newTraceParser(dir, notes)
	parsed := make(chan error, 1)
	go func() { parsed <- p.parse(in) }()
	err = cmd.Wait()
	if _, err := in.WriteString(endOfTrace + "\n"); err != nil {
		t.Fatal(err)
	}
	if perr := <-parsed; perr != nil {
		t.Fatal(perr)
	}
	if err != nil {
		t.Fatalf("the workload: %v\n%s", err, output.Bytes())
	}
	return p.events
}

const endOfTrace = "0 end"

// traceParser reads strace's lines: "PID call(arguments) = result", where a
// call that others interrupt has its line in two parts.
type traceParser struct {
	dir, notes string
	begun      map[string]begunCall // by PID
	events     []traceEvent
}

type begunCall struct {
	text string
	at   int
}

func newTraceParser(dir, notes string) *traceParser {
	return &traceParser{dir: dir, notes: notes, begun: map[string]begunCall{}}
}

// parse reads to the end in any case, so that strace never waits for it.
func (p *traceParser) parse(in io.Reader) (failure error) {
	r := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return errors.Join(failure, err)
		}
		line = strings.TrimSuffix(line, "\n")
		if line == endOfTrace {
			return failure
		}
		if err := p.line(line); err != nil && failure == nil {
			failure = fmt.Errorf("%w in %.300q", err, line)
		}
	}
}

func (p *traceParser) line(line string) error {
	pid, text, _ := strings.Cut(line, " ")
	text = strings.TrimLeft(text, " ")
	if strings.HasPrefix(text, "---") || strings.HasPrefix(text, "+++") {
		return nil // a signal, an exit
	}
	at := len(p.events)
	if part, ok := strings.CutSuffix(text, " <unfinished ...>"); ok {
		p.begun[pid] = begunCall{part, at}
		p.events = append(p.events, traceEvent{})
		return nil
	}
	if strings.HasPrefix(text, "<... ") {
		_, rest, _ := strings.Cut(text, " resumed>")
		text, at = p.begun[pid].text+rest, p.begun[pid].at
		delete(p.begun, pid)
	} else {
		p.events = append(p.events, traceEvent{})
	}
	e, err := p.call(text)
	if e.kind == eventSync {
		e.from = at
		p.events = append(p.events, e)
	} else {
		p.events[at] = e
	}
	return err
}

var errTrace = errors.New("the trace is not understood")

// call turns a whole line into its event.
func (p *traceParser) call(text string) (traceEvent, error) {
	name, rest, ok := strings.Cut(text, "(")
	end := strings.LastIndex(rest, ") ")
	if !ok || end < 0 {
		return traceEvent{}, errTrace
	}
	result := strings.TrimLeft(rest[end+2:], " ")
	args := strings.Split(rest[:end], ", ") // hex strings have no comma
	if !strings.HasPrefix(result, "= ") || strings.HasPrefix(result, "= -1 ") || strings.HasPrefix(result, "= ?") {
		return traceEvent{}, nil
	}
	result = strings.TrimPrefix(result, "= ")
	switch name {
	case "open", "openat", "creat":
		if name != "creat" && !strings.Contains(text, "O_CREAT") {
			return traceEvent{}, nil
		}
		return p.named(eventCreate, descriptor(result))
	case "write", "pwrite64", "ftruncate":
		return p.change(name, args, result)
	case "fsync", "fdatasync":
		return p.named(eventSync, descriptor(args[0]))
	case "unlink":
		return p.named(eventUnlink, quoted(args[0]))
	case "unlinkat":
		return p.named(eventUnlink, quoted(args[1]))
	}
	// Renames, and calls that no part of the store makes today.
	for _, a := range args {
		for _, path := range []string{descriptor(a), quoted(a)} {
			if _, ours := p.ours(path); ours {
				return traceEvent{}, errTrace
			}
		}
	}
	return traceEvent{}, nil
}

// change is a call that changes a file's bytes or length.
func (p *traceParser) change(name string, args []string, result string) (traceEvent, error) {
	path := descriptor(args[0])
	if path == p.notes {
		data, err := unhex(args[1])
		return traceEvent{kind: eventNote, data: data}, err
	}
	kind := eventWrite
	if name == "ftruncate" {
		kind = eventTruncate
	}
	e, err := p.named(kind, path)
	if e.kind == eventNone || err != nil {
		return e, err
	}
	if name == "write" {
		// Go writes the marker and the lock from their beginnings, at once.
		args = append(args, "0")
	}
	if e.off, err = strconv.ParseInt(args[len(args)-1], 10, 64); err != nil || kind == eventTruncate {
		return e, err
	}
	if e.data, err = unhex(args[1]); err == nil && result != strconv.Itoa(len(e.data)) {
		err = errTrace // a short write
	}
	return e, err
}

// named is an event of one of the folder's own files.
func (p *traceParser) named(kind eventKind, path string) (traceEvent, error) {
	if file, ok := p.ours(path); ok {
		return traceEvent{kind: kind, file: file}, nil
	}
	return traceEvent{}, nil
}

func (p *traceParser) ours(path string) (file string, ok bool) {
	if path == p.dir {
		return "", true
	}
	rest, ok := strings.CutPrefix(path, p.dir+"/")
	return rest, ok && !strings.Contains(rest, "/")
}

// descriptor is the path in 7<\x2f...>.
func descriptor(a string) string {
	_, path, _ := strings.Cut(a, "<")
	path, _, _ = strings.Cut(path, ">")
	b, _ := hex.DecodeString(strings.ReplaceAll(path, `\x`, ""))
	return string(b)
}

func quoted(a string) string {
	b, _ := unhex(a)
	return string(b)
}

// unhex reads "\x2f\x74"; a string that strace cut short ends in "..." and is refused.
func unhex(a string) ([]byte, error) {
	inner, ok := strings.CutPrefix(a, `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	if !ok || !closed {
		return nil, errTrace
	}
	return hex.DecodeString(strings.ReplaceAll(inner, `\x`, ""))
}
