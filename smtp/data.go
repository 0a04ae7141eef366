package smtp

import (
	"errors"
	"io"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"posthorn/internal/delivery"
)

// data is DATA, RFC 5321 4.1.1.4.
func (c *conn) data(argument string) {
	switch {
	case argument != "":
		c.wrong(replyArguments("DATA takes no argument"))
		return
	case c.session.tx == nil:
		c.wrong(replySequence("MAIL comes first"))
		return
	case c.session.tx.Recipients() == 0:
		c.wrong(newReply(554, 5, 5, 1, "No valid recipients"))
		return
	}
	c.reply(354, gosmtp.EnhancedCode{}, "End data with <CR><LF>.<CR><LF>")
	text := newDotReader(c.in)
	c.beginMessage()
	err := c.session.Data(c.bounded(text))
	if err != nil && !text.ended() && !c.isLost(err) {
		err = c.skip(text, err)
	}
	c.endMessage()
	c.finish("DATA", err)
	if delivery.IsBareNewline(err) && !c.closing {
		// Whoever passed the message on took another place for its end, perhaps:
		// then what follows is somebody's text, and none of it is to be run.
		c.limited(limitNewline)
		c.send(newReply(421, 4, 7, 0, "What follows a bare CR or LF is not trusted; closing the connection"))
	}
}

// beginMessage gives the message a large buffer and starts its clock.
func (c *conn) beginMessage() {
	if len(c.in.buf) == lineBuffer {
		c.in.grow(*c.server.blocks.Get().(*[]byte))
	}
	c.started, c.received = time.Now(), 0
}

func (c *conn) endMessage() {
	if block := c.in.shrink(); block != nil {
		c.server.blocks.Put(&block)
	}
	c.started = time.Time{}
}

// messageReader counts what it passes on and ends at the size limit.
type messageReader struct {
	c   *conn
	src io.Reader
}

func (c *conn) bounded(src io.Reader) io.Reader { return &messageReader{c, src} }

func (m *messageReader) Read(p []byte) (int, error) {
	n, err := m.src.Read(p)
	m.c.received += int64(n)
	if m.c.received > m.c.server.o.Config.MaxMessageBytes {
		return 0, replyTooBig()
	}
	var lost *lostError
	var refused *reply
	if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &lost) && !errors.As(err, &refused) {
		err = &lostError{err}
	}
	return n, err
}

// lostError marks that the client can no longer be read, so that it is told
// apart from what the store or a check says.
type lostError struct{ err error }

func (l *lostError) Error() string { return "reading the message: " + l.err.Error() }
func (l *lostError) Unwrap() error { return l.err }

func (c *conn) isLost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

// skippable is how much is read of a message that is refused.
func (c *conn) skippable() int64 { return c.server.o.Config.MaxMessageBytes + 1<<20 }

// skip reads a refused message to its end, as the client hears the refusal only
// there. One that is far too long loses its connection instead.
func (c *conn) skip(text io.Reader, refusal error) error {
	buf := make([]byte, 32<<10)
	for room := c.skippable(); room > 0; {
		n, err := text.Read(buf)
		room -= int64(n)
		c.received += int64(n)
		if errors.Is(err, io.EOF) {
			return refusal
		}
		if err != nil {
			return &lostError{err}
		}
	}
	c.closing = true
	return refusal
}

// finish answers the message, in LMTP once for each recipient (RFC 2033 4.2), and
// ends the transaction.
func (c *conn) finish(command string, err error) {
	answers := 1
	if c.server.o.Role == delivery.LMTP {
		answers = c.session.tx.Recipients()
	}
	from := c.session.from
	c.session.Reset()
	switch {
	case err == nil:
		c.errors, c.unknown, c.excess, c.idle = 0, 0, 0, 0
		c.server.counters.accepted.Inc()
		for range answers {
			c.say(250, 2, 0, 0, "Ok: queued as "+c.session.queueID)
		}
	case c.isLost(err):
		c.lost(err)
	default:
		r := c.fail(command, err, "from", from)
		for range answers {
			c.send(r)
		}
	}
}
