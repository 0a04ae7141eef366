package pop3

import (
	"errors"
	"io"
	"strconv"

	"posthorn/storage"
)

// retr answers RETR (RFC 1939 5).
func (s *session) retr(rest []byte) error {
	n, e, err := s.oneMessage(rest)
	if err != nil {
		return err
	}
	if err := s.send(e, "RETR", nil); err != nil {
		return err
	}
	e.marks |= retrieved
	s.sent++
	s.ahead.note(s.drop, n)
	return nil
}

// top answers TOP (RFC 1939 7): the header, the empty line and so many lines.
func (s *session) top(rest []byte) error {
	var args [2][]byte
	if fields(rest, args[:]) != 2 {
		return bad("Give a message number and a number of lines")
	}
	_, e, err := s.numbered(args[0])
	if err != nil {
		return err
	}
	n, ok := number(args[1])
	if !ok {
		return bad("That is not a number of lines")
	}
	return s.send(e, "TOP", &excerpt{lines: n})
}

// send streams a message, or what cut leaves of it.
func (s *session) send(e *entry, command string, cut *excerpt) error {
	r, err := s.open(e)
	if err != nil {
		return err
	}
	defer r.Close()
	// The first read is before the +OK, so that its failure can be told.
	first, size, err := s.first(r, e)
	if err != nil {
		return err
	}
	s.begin()
	if cut == nil {
		s.out = append(s.out, "+OK "...)
		s.out = strconv.AppendInt(s.out, e.size, 10)
		s.out = append(s.out, " octets\r\n"...)
	} else {
		s.ok("Top of message follows")
	}
	return s.stream(r, first, size, command, cut)
}

// first is what is sent first, in place of so many octets of the message: its
// first chunk, or a surrogate of a header that the client may not see.
func (s *session) first(r *storage.MessageReader, e *entry) (data []byte, replaces int64, err error) {
	if !s.utf8 && e.marks&foreign != 0 {
		header, err := foreignHeader(r)
		if err != nil {
			return nil, 0, err
		}
		if header != nil {
			return surrogate(header), int64(len(header)), nil
		}
	}
	data, err = r.Chunk(0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	return data, int64(len(data)), nil
}

// stream sends first and then the message from off on, dot-stuffed, and its end.
func (s *session) stream(r *storage.MessageReader, first []byte, off int64, command string, cut *excerpt) error {
	dots := newStuffer()
	for data := first; len(data) > 0; {
		more := true
		if cut != nil {
			data, more = cut.take(data)
		}
		for len(data) > 0 {
			n := min(len(data), pieceSize)
			s.out = dots.append(s.out, data[:n])
			data = data[n:]
			if err := s.pushFull(); err != nil {
				return err
			}
		}
		if !more {
			break
		}
		var err error
		if data, err = r.Chunk(off); err != nil && !errors.Is(err, io.EOF) {
			return s.midway(true, command, err)
		}
		off += int64(len(data))
	}
	s.out = dots.end(s.out)
	return nil
}
