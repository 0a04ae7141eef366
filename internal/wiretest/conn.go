package wiretest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const (
	maxLine     = 16 << 20 // a server line longer than this fails the transcript
	maxSkip     = 10_000   // lines one S... step passes over
	maxRecalled = 30       // lines of the conversation a failure shows
)

// conn is one numbered connection of a transcript.
type conn struct {
	net.Conn
	reader  *bufio.Reader
	timeout time.Duration
	talk    []string // the conversation so far, for failures
}

func newConn(c net.Conn, timeout time.Duration) *conn {
	return &conn{Conn: c, reader: bufio.NewReader(c), timeout: timeout}
}

func (c *conn) note(who, text string) {
	const widest = 200
	if len(text) > widest {
		text = fmt.Sprintf("%s... (%d octets)", text[:widest], len(text))
	}
	c.talk = append(c.talk, who+" "+text)
	if len(c.talk) > maxRecalled {
		c.talk = c.talk[1:]
	}
}

func (c *conn) send(data string) error {
	c.note("C", strings.TrimSuffix(data, "\r\n"))
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := io.WriteString(c.Conn, data)
	return err
}

// line reads one line and returns it without its CRLF.
func (c *conn) line() (string, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return "", err
	}
	var line []byte
	for {
		part, err := c.reader.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", c.readError(err, line)
		}
		if len(line) > maxLine {
			return "", fmt.Errorf("a line of more than %d octets", maxLine)
		}
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return "", fmt.Errorf("got a line that ends in a bare LF: %q", line)
	}
	c.note("S", text)
	return text, nil
}

// octets reads exactly n of them.
func (c *conn) octets(n int) (string, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return "", err
	}
	buf := make([]byte, n)
	got, err := io.ReadFull(c.reader, buf)
	if err != nil {
		return "", c.readError(err, buf[:got])
	}
	c.note("S", string(buf))
	return string(buf), nil
}

func (c *conn) readError(err error, partial []byte) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("nothing more within %v; read so far: %q", c.timeout, partial)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the server closed; read so far: %q", partial)
	}
	return fmt.Errorf("%w; read so far: %q", err, partial)
}

// startTLS wraps the connection. Octets that came before the handshake would be
// taken for protected ones by a careless client, so they are a failure.
func (c *conn) startTLS(config *tls.Config) error {
	if n := c.reader.Buffered(); n > 0 {
		early, _ := c.reader.Peek(n)
		return fmt.Errorf("the server sent %q in the clear before the TLS handshake", early)
	}
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	secured := tls.Client(c.Conn, config)
	if err := secured.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.Conn, c.reader = secured, bufio.NewReader(secured)
	return nil
}

func (c *conn) closeWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("a %T cannot be closed for writing alone", c.Conn)
	}
	return half.CloseWrite()
}

func (c *conn) expectClose() error {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	first, err := c.reader.ReadByte()
	if err == nil {
		rest, _ := c.reader.Peek(c.reader.Buffered())
		return fmt.Errorf("expected: the server closes\ngot:      %q", string(first)+string(rest))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("expected: the server closes\ngot:      still open after %v", c.timeout)
	}
	return nil // end of file, or a reset: closed either way
}

func (c *conn) quiet(d time.Duration) error {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	_, err := c.reader.Peek(1)
	switch {
	case err == nil:
		early, _ := c.reader.Peek(c.reader.Buffered())
		return fmt.Errorf("expected: nothing for %v\ngot:      %q", d, early)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	return fmt.Errorf("expected: nothing for %v\ngot:      %w", d, err)
}
