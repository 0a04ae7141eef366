package smtp

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// errAbandoned ends a message that the client gave up between two chunks.
var errAbandoned = errors.New("the client gave up the message")

// parseChunk reads BDAT's arguments, RFC 3030 2.
func parseChunk(argument string) (size int64, last bool, err error) {
	digits, word, _ := strings.Cut(argument, " ")
	word = strings.TrimSpace(word)
	last = strings.EqualFold(word, "LAST")
	if !isDigits(digits) || word != "" && !last {
		return 0, false, replyArguments("BDAT takes a number of octets and LAST")
	}
	size, err = strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, false, replyTooBig()
	}
	return size, last, nil
}

// bdat is BDAT, RFC 3030. It reads all chunks of the message, since the message
// is one stream to the session.
func (c *conn) bdat(argument string) {
	size, last, err := parseChunk(argument)
	if err != nil {
		c.badChunk(err)
		return
	}
	chunks := &chunkReader{c: c, left: size, last: last, fresh: true}
	var refused *reply
	switch {
	case c.session.tx == nil:
		refused = replySequence("MAIL comes first")
	case c.session.tx.Recipients() == 0:
		refused = newReply(554, 5, 5, 1, "No valid recipients")
	}
	c.beginMessage()
	defer c.endMessage()
	if refused != nil {
		// The octets come all the same, RFC 3030 2.
		if err := chunks.skip(); err != nil {
			c.lost(err)
			return
		}
		c.wrong(refused)
		return
	}
	err = c.session.Data(c.bounded(chunks))
	if errors.Is(err, errAbandoned) {
		c.session.Reset()
		return
	}
	if err != nil && !c.isLost(err) {
		if lost := chunks.skip(); lost != nil {
			err = &lostError{lost}
		}
	}
	c.finish("BDAT", err)
}

// badChunk: without a size the octets that follow cannot be told from commands.
func (c *conn) badChunk(err error) {
	c.refuse(translate(err))
	c.closing = true
}

// chunkReader reads the chunks of one message and, between them, the commands
// that bring the next chunk.
type chunkReader struct {
	c     *conn
	left  int64 // of this chunk
	last  bool
	size  int64 // of the chunk that was read
	fresh bool  // nobody looked yet whether it fits
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.last {
			return 0, io.EOF
		}
		r.c.say(250, 2, 0, 0, strconv.FormatInt(r.size, 10)+" octets received")
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	if r.fresh && r.left > r.c.server.o.Config.MaxMessageBytes-r.c.received {
		return 0, replyTooBig() // before a single octet is kept
	}
	r.fresh = false
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.c.in.read(p)
	r.left -= int64(n)
	r.size += int64(n)
	if err != nil {
		return n, unexpected(err)
	}
	return n, nil
}

// next waits for the next BDAT. Commands that leave the message alone are done;
// those that end it are left to the main loop; others are out of place.
func (r *chunkReader) next() error {
	c := r.c
	// The wait for a command is not the message's slowness.
	started, paused := c.started, time.Now()
	c.started = time.Time{}
	defer func() { c.started = started.Add(time.Since(paused)) }()
	for {
		line, ok := c.command()
		if c.closing {
			return errAbandoned
		}
		if !ok {
			continue
		}
		switch verb, argument := splitCommand(line); verb {
		case "BDAT":
			size, last, err := parseChunk(argument)
			if err != nil {
				c.badChunk(err)
				return errAbandoned
			}
			r.left, r.last, r.size, r.fresh = size, last, 0, true
			if size == 0 && !last {
				c.countIdle()
			}
			if c.closing {
				return errAbandoned
			}
			return nil
		case "NOOP", "VRFY", "HELP":
			c.dispatch(line)
		case "RSET", "QUIT", "HELO", "EHLO", "LHLO":
			c.pending = line
			return errAbandoned
		default:
			c.verb = verb[:min(len(verb), maxVerb)]
			c.wrong(replySequence("A message is being sent in chunks; go on with BDAT, or RSET"))
		}
		if c.closing {
			return errAbandoned
		}
	}
}

// skip reads the rest of the chunk at hand, as the client hears a refusal only
// behind it. One that is far too long ends the connection instead.
func (r *chunkReader) skip() error {
	buf := make([]byte, 32<<10)
	if r.left > r.c.skippable() {
		r.c.closing = true
		return nil
	}
	for r.left > 0 {
		n, err := r.c.in.read(buf[:min(r.left, int64(len(buf)))])
		r.left -= int64(n)
		r.c.received += int64(n)
		if err != nil {
			return unexpected(err)
		}
	}
	return nil
}
