package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"posthorn/storage"
)

// socketName is the control socket within the data folder.
const socketName = "control.sock"

// Bounds of one request over the control socket.
const (
	maxRequest    = 1 << 20
	requestWait   = 10 * time.Second
	maxConcurrent = 8
)

// request is what a command sends to the server, one JSON object on a line.
type request struct {
	Args  []string `json:"args"`
	Input []byte   `json:"input"` // the first line of standard input, for passwords: any octets
	Dir   string   `json:"dir"`   // where the command was typed, for paths among Args
}

// frame is a piece of the answer; the last one carries Exit.
type frame struct {
	Out  string `json:"out,omitempty"`
	Err  string `json:"err,omitempty"`
	Exit *int   `json:"exit,omitempty"`
}

// Control serves the control socket of a running server.
type Control struct {
	store *storage.Store
	site  Site
	log   *slog.Logger
	ln    net.Listener
	slots chan struct{}
	open  sync.WaitGroup
}

// ListenControl makes data_dir/control.sock with mode 0600. The caller owns the
// data folder (the store is open), so a socket that a killed server left there
// is nobody's and is replaced.
func ListenControl(dataDir string, store *storage.Store, site Site, log *slog.Logger) (*Control, error) {
	path := filepath.Join(dataDir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %s: %w", path, err)
	}
	ln, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %s: %w: data_dir must be on a file system with sockets", path, err)
	}
	return &Control{store: store, site: site, log: log, ln: ln, slots: make(chan struct{}, maxConcurrent)}, nil
}

// Serve answers commands until Close or the end of ctx.
func (c *Control) Serve(ctx context.Context) error {
	for {
		conn, err := c.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			c.log.Warn("control socket: accept failed", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
			continue
		}
		c.slots <- struct{}{}
		c.open.Go(func() {
			defer func() { <-c.slots }()
			defer conn.Close()
			c.answer(ctx, conn)
		})
	}
}

// Close stops accepting, removes the socket and waits for running commands.
func (c *Control) Close() error {
	err := c.ln.Close()
	c.open.Wait()
	return err
}

// answer runs one command for the client on conn.
func (c *Control) answer(ctx context.Context, conn net.Conn) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("control socket: a command panicked", "panic", p)
		}
	}()
	conn.SetReadDeadline(time.Now().Add(requestWait))
	var q request
	if err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&q); err != nil {
		c.log.Warn("control socket: unreadable request", "err", err)
		return
	}
	enc := json.NewEncoder(conn)
	send := func(f frame) error {
		conn.SetWriteDeadline(time.Now().Add(requestWait))
		return enc.Encode(f)
	}
	exit := ExitUsage
	cmd, e, err := parse(q.Args)
	switch {
	case err != nil:
		send(frame{Err: fmt.Sprintf("posthorn: %v\n", err)})
	case cmd.offline != nil && cmd.offline(e):
		send(frame{Err: fmt.Sprintf("posthorn: %s: a server runs on the data folder: stop it first\n", cmd.words)})
	default:
		c.log.Info("command", "command", cmd.words, "args", e.args)
		// Who asked is gone, by Ctrl-C say: a long command ends too. Nothing more
		// than the request comes from a client that is there.
		var hangup context.CancelFunc
		ctx, hangup = context.WithCancel(ctx)
		conn.SetReadDeadline(time.Time{})
		go func() {
			defer hangup()
			io.Copy(io.Discard, conn)
		}()
		e.site, e.workDir = c.site, q.Dir
		e.store, e.in = c.store, bytes.NewReader(q.Input)
		e.out = writerFunc(func(p []byte) error { return send(frame{Out: string(p)}) })
		e.err = writerFunc(func(p []byte) error { return send(frame{Err: string(p)}) })
		began := time.Now()
		exit = cmd.exec(ctx, e)
		c.log.Info("command ended", "command", cmd.words, "exit", exit, "took", time.Since(began).Round(time.Millisecond))
	}
	send(frame{Exit: &exit})
}

// writerFunc makes an io.Writer of a function that takes all or fails.
type writerFunc func(p []byte) error

func (w writerFunc) Write(p []byte) (int, error) {
	if err := w(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ask sends the command to the server that owns dataDir and relays its answer.
// errNoServer: nobody listens there.
func ask(ctx context.Context, dataDir string, q request, out, errOut io.Writer) (int, error) {
	var d net.Dialer
	conn, err := dialUnix(ctx, &d, filepath.Join(dataDir, socketName))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoServer, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return 0, fmt.Errorf("control socket: %w", err)
	}
	dec := json.NewDecoder(conn)
	for {
		var f frame
		err := dec.Decode(&f)
		if err != nil && ctx.Err() != nil {
			return 0, errors.New("interrupted; what was finished stays")
		}
		if err != nil {
			return 0, fmt.Errorf("the server went away before the command ended: %w", err)
		}
		if f.Exit != nil {
			return *f.Exit, nil
		}
		if _, err := io.WriteString(out, f.Out); err != nil {
			return 0, err
		}
		if _, err := io.WriteString(errOut, f.Err); err != nil {
			return 0, err
		}
	}
}

var errNoServer = errors.New("no server answers on the control socket")
