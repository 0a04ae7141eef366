package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"posthorn/storage"
)

// maxUses is how many messages go over one connection.
const maxUses = 100

// transact runs one mail transaction for the hops that are left. Those that got
// an answer are settled in results; a failure says that the session ended before
// the others got theirs, so that another server may be tried. unused: the
// connection had waited and was found closed.
func (t *trip) transact(ctx context.Context, s *session) (unused bool, fail *failure) {
	conn := s.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	reused := s.used > 0
	if s.used++; s.used >= maxUses {
		s.broken = true
	}
	text, size, err := t.open(!s.offers("8BITMIME"))
	if err != nil {
		t.settleAll(s.attempt(storage.Deferred, statusLocal, "The message cannot be read on this server: %v", err))
		return false, nil
	}
	if refused, ok := t.unfit(s, size); !ok {
		t.settleAll(refused)
		return false, nil
	}
	e := &envelope{trip: t, s: s}
	e.gather()
	if len(e.hops) == 0 {
		return false, nil
	}
	e.mail(size)
	if s.offers("PIPELINING") {
		fail = e.together()
	} else {
		fail = e.oneByOne()
	}
	if fail != nil {
		return reused && !e.heard, fail
	}
	if !e.data {
		return false, nil
	}
	return false, e.send(text)
}

// unfit finds what keeps the whole message from this server.
func (t *trip) unfit(s *session, size int64) (storage.Attempt, bool) {
	switch limit := s.sizeLimit(); {
	case limit > 0 && size > limit:
		return s.attempt(storage.Failed, statusTooBig, "The message has %d octets, and the server %s takes %d", size, s.host, limit), false
	case t.m.RequireTLS && !s.offers("REQUIRETLS"):
		return s.attempt(storage.Failed, statusNoTLS, "The server %s does not promise to secure the rest of the way (REQUIRETLS)", s.host), false
	case (t.m.SMTPUTF8 || !isASCII(t.m.ReversePath)) && !s.offers("SMTPUTF8"):
		return s.attempt(storage.Failed, statusNoUTF8, "The server %s takes no addresses and header fields beyond ASCII (SMTPUTF8)", s.host), false
	}
	return storage.Attempt{}, true
}

// settleAll gives all hops that are left the same result.
func (t *trip) settleAll(a storage.Attempt) {
	for _, i := range t.left {
		t.settle(i, a)
	}
	t.left = nil
}

func (t *trip) settle(i int, a storage.Attempt) {
	a.Hop = t.m.Hops[i].ID
	t.results[i] = a
}

// envelope is a transaction up to its DATA.
type envelope struct {
	*trip
	s        *session
	hops     []int // to name to the server
	taken    int   // how many it took
	sender   string
	heard    bool // the server said something
	data     bool // it waits for the message
	rejected bool // the sender was refused, or all recipients
}

// gather picks the hops that the server can take at all.
func (e *envelope) gather() {
	for _, i := range e.left {
		if !isASCII(e.m.Hops[i].Recipient) && !e.s.offers("SMTPUTF8") {
			e.settle(i, e.s.attempt(storage.Failed, statusNoUTF8, "The server %s takes no addresses beyond ASCII (SMTPUTF8)", e.s.host))
			continue
		}
		e.hops = append(e.hops, i)
	}
	e.left = slices.Clone(e.hops)
}

// mail makes the MAIL command.
func (e *envelope) mail(size int64) {
	s, m := e.s, e.m
	b := append(make([]byte, 0, 256), "MAIL FROM:<"+m.ReversePath+">"...)
	if s.offers("SIZE") {
		b = fmt.Appendf(b, " SIZE=%d", size)
	}
	if s.offers("8BITMIME") {
		b = append(b, " BODY=8BITMIME"...)
	}
	if s.offers("SMTPUTF8") && e.needsUTF8() {
		b = append(b, " SMTPUTF8"...)
	}
	if m.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if s.offers("DSN") {
		if m.Ret != "" {
			b = append(b, " RET="+m.Ret...)
		}
		if m.EnvID != "" {
			b = append(b, " ENVID="+m.EnvID...)
		}
	}
	e.sender = string(b)
}

func (e *envelope) needsUTF8() bool {
	if e.m.SMTPUTF8 || !isASCII(e.m.ReversePath) {
		return true
	}
	for _, i := range e.hops {
		if !isASCII(e.m.Hops[i].Recipient) {
			return true
		}
	}
	return false
}

// rcpt is a RCPT command. DSN parameters go on as they came (RFC 3461 5.2.1),
// but for an ORCPT in UTF-8 that the server could not read.
func (e *envelope) rcpt(i int) string {
	hop := &e.m.Hops[i]
	line := "RCPT TO:<" + hop.Recipient + ">"
	if e.s.offers("DSN") {
		if hop.Notify != "" {
			line += " NOTIFY=" + hop.Notify
		}
		if hop.ORcpt != "" && (isASCII(hop.ORcpt) || e.s.offers("SMTPUTF8")) {
			line += " ORCPT=" + hop.ORcpt
		}
	}
	return line
}

// together sends all commands in one go and reads the replies, RFC 2920 3.1.
func (e *envelope) together() *failure {
	s := e.s
	lines := []string{e.sender}
	if s.dirty {
		lines = []string{"RSET", e.sender}
	}
	resets := len(lines) - 1
	for _, i := range e.hops {
		lines = append(lines, e.rcpt(i))
	}
	lines = append(lines, "DATA")
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n") {
			s.broken = true
			e.settleAll(s.attempt(storage.Failed, "5.1.3", "An address has a line end"))
			return nil
		}
		_, _ = s.w.WriteString(line) // Flush gives its error
		_, _ = s.w.WriteString("\r\n")
	}
	s.dirty = true
	if err := s.flush(); err != nil {
		return s.lost("while it was told sender and recipients", err)
	}
	for n := range lines {
		rep, err := s.read(s.config.ReplyTimeout)
		if err != nil {
			return s.lost("while it was told sender and recipients", err)
		}
		e.heard = true
		switch {
		case n < resets:
		case n == resets:
			if fail := e.onMail(&rep); fail != nil {
				return fail
			}
		case n < len(lines)-1:
			if fail := e.onRcpt(e.hops[n-resets-1], &rep); fail != nil {
				return fail
			}
		default:
			return e.onData(&rep)
		}
	}
	return nil
}

// oneByOne waits for each reply.
func (e *envelope) oneByOne() *failure {
	s := e.s
	ask := func(line string) (*reply, *failure) {
		rep, err := s.command(line)
		if err != nil {
			return nil, s.lost("while it was told sender and recipients", err)
		}
		e.heard = true
		return &rep, nil
	}
	if s.dirty {
		if _, fail := ask("RSET"); fail != nil {
			return fail
		}
	}
	s.dirty = true
	rep, fail := ask(e.sender)
	if fail == nil {
		fail = e.onMail(rep)
	}
	if fail != nil || e.rejected {
		return fail
	}
	for _, i := range e.hops {
		if rep, fail = ask(e.rcpt(i)); fail == nil {
			fail = e.onRcpt(i, rep)
		}
		if fail != nil {
			return fail
		}
	}
	if e.taken == 0 {
		return nil
	}
	if rep, fail = ask("DATA"); fail != nil {
		return fail
	}
	return e.onData(rep)
}

// onMail reads the reply to MAIL. A refusal for now may be this server's alone.
func (e *envelope) onMail(rep *reply) *failure {
	switch {
	case rep.ok():
		return nil
	case rep.code/100 == 5:
		e.settleAll(rep.attempt(e.s))
		e.rejected = true
		return nil
	}
	e.s.broken = true
	return rep.failure(e.s)
}

func (e *envelope) onRcpt(i int, rep *reply) *failure {
	switch {
	case e.rejected:
	case rep.code == 421: // the server is going, RFC 5321 3.8
		e.s.broken = true
		return rep.failure(e.s)
	case rep.ok():
		e.taken++
	default:
		e.settle(i, rep.attempt(e.s))
		e.left = slices.DeleteFunc(e.left, func(other int) bool { return other == i })
	}
	return nil
}

func (e *envelope) onData(rep *reply) *failure {
	if e.rejected {
		return e.emptyData(rep)
	}
	switch {
	case rep.code == 354 && e.taken == 0:
		return e.emptyData(rep)
	case rep.code == 354:
		e.data = true
	case e.taken == 0:
	case rep.code == 421:
		e.s.broken = true
		return rep.failure(e.s)
	case rep.ok():
		// Nothing was sent that could have been taken. Whoever says so has lost
		// count of the replies.
		e.s.broken = true
		return temporary(statusConfusion, "The server %s says %d to DATA before it has the message", e.s.host, rep.code).at(e.s)
	default:
		e.settleAll(rep.attempt(e.s))
	}
	return nil
}

// emptyData ends a message that nobody gets, RFC 2920 3.1.
func (e *envelope) emptyData(rep *reply) *failure {
	if rep.code == 354 {
		if _, err := e.s.command("."); err != nil {
			e.s.broken = true
		}
	}
	return nil
}

// send sends the message and reads what became of it. From the final dot on, a
// lost connection leaves open whether the server has it: nobody else is tried
// then, and a later attempt may bring it twice (RFC 5321 4.5.3.2.6).
func (e *envelope) send(text io.Reader) *failure {
	s := e.s
	if err := s.writeMessage(text); err != nil {
		s.broken = true
		switch {
		case errors.Is(err, errUnclean):
			e.settleAll(s.attempt(storage.Failed, statusUnclean, "The message has a line that does not end in CRLF and was not sent"))
			return nil
		case errors.Is(err, errSource):
			e.settleAll(s.attempt(storage.Deferred, statusLocal, "The message cannot be read on this server: %v", err))
			return nil
		}
		// It may have said why it hung up.
		if rep, readErr := s.read(time.Second); readErr == nil && !rep.ok() {
			e.settleAll(rep.attempt(s))
			return nil
		}
		return s.lost("while the message was sent", err)
	}
	rep, err := s.read(s.config.FinalTimeout)
	if err != nil {
		e.settleAll(storage.Attempt(*s.lost("after the whole message was sent, before the server said whether it took it", err)))
		return nil
	}
	s.dirty = false
	result := rep.attempt(s)
	if rep.code/100 == 3 {
		s.broken = true
	}
	result.TookDSN = result.Outcome == storage.Relayed && s.offers("DSN")
	e.settleAll(result)
	return nil
}

var (
	errUnclean = errors.New("a bare CR or LF")
	errSource  = errors.New("reading failed")
)

// writeMessage sends a message with its dots stuffed, and the final dot.
func (s *session) writeMessage(text io.Reader) error {
	buf := make([]byte, 32<<10)
	d := dotWriter{w: s.w, last: '\n'}
	begun, sent := time.Now(), 0
	for {
		n, err := text.Read(buf)
		sent += n
		// Each block has its time, and all of them together that of a slow line.
		end := begun.Add(blockTimeout + time.Duration(sent/minRate)*time.Second)
		if block := time.Now().Add(blockTimeout); block.Before(end) {
			end = block
		}
		if deadline := s.conn.SetWriteDeadline(end); deadline != nil {
			return deadline
		}
		if werr := d.write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errSource, err)
		}
	}
	if err := d.end(); err != nil {
		return err
	}
	return s.w.Flush()
}

// dotWriter stuffs dots (RFC 5321 4.5.2) and refuses what is no clean line.
type dotWriter struct {
	w    io.Writer
	last byte // the octet before the next one; '\n' at the start of a line
}

func (d *dotWriter) write(p []byte) error {
	for len(p) > 0 {
		if d.last == '\r' && p[0] != '\n' {
			return errUnclean
		}
		if d.last == '\n' && p[0] == '.' {
			if _, err := d.w.Write([]byte{'.'}); err != nil {
				return err
			}
		}
		end := bytes.IndexByte(p, '\n') + 1
		if end == 0 {
			end = len(p)
		}
		line := p[:end]
		if cr := bytes.IndexByte(line, '\r'); cr >= 0 && cr < len(line)-1 && (cr != len(line)-2 || line[cr+1] != '\n') {
			return errUnclean
		}
		if line[end-1] == '\n' && (end > 1 && line[end-2] != '\r' || end == 1 && d.last != '\r') {
			return errUnclean
		}
		if _, err := d.w.Write(line); err != nil {
			return err
		}
		d.last = line[end-1]
		p = p[end:]
	}
	return nil
}

func (d *dotWriter) end() error {
	final := ".\r\n"
	switch d.last {
	case '\r':
		return errUnclean
	case '\n':
	default:
		final = "\r\n.\r\n"
	}
	_, err := io.WriteString(d.w, final)
	return err
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
