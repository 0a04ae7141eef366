package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// errNoMbox means that a file does not begin as an mbox file must.
var errNoMbox = errors.New("not an mbox file: it does not begin with a From line")

const mboxBuffer = 64 << 10

// splitter parts an mbox file into its messages (RFC 4155). A line `From ` after
// an empty line, or at the start, begins a message; that empty line belongs to
// none. Of lines like `>From ` and `>>From ` one `>` goes (mboxrd; mboxo only
// has the first kind).
type splitter struct {
	file io.ReadSeeker
	r    *bufio.Reader
	off  int64  // of what was not read yet
	from []byte // the From_ line of the message that comes next; nil: none
	at   int64  // where it begins
}

// newSplitter begins at the start of a file. io.EOF: there is nothing; errNoMbox.
func newSplitter(file io.ReadSeeker) (*splitter, error) {
	s := &splitter{file: file, r: bufio.NewReaderSize(nil, mboxBuffer)}
	return s, s.rewind(0)
}

// rewind makes the message that begins at an offset the coming one.
func (s *splitter) rewind(at int64) error {
	if _, err := s.file.Seek(at, io.SeekStart); err != nil {
		return err
	}
	s.r.Reset(s.file)
	s.off, s.at, s.from = at, at, nil
	line, err := s.line()
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) && (!errors.Is(err, io.EOF) || len(line) == 0) {
		return err
	}
	if !bytes.HasPrefix(line, fromWord) || len(line) > maxFromLine {
		return errNoMbox
	}
	s.from = bytes.Clone(line)
	return nil
}

// line reads a line with its end, or with bufio.ErrBufferFull a piece of one.
func (s *splitter) line() ([]byte, error) {
	line, err := s.r.ReadSlice('\n')
	s.off += int64(len(line))
	return line, err
}

// more tells whether a message comes, and where it begins.
func (s *splitter) more() (at int64, more bool) { return s.at, s.from != nil }

// date is what the coming message's From_ line says, or zero.
func (s *splitter) date() time.Time {
	t, _ := fromDate(s.from)
	return t
}

// copy writes the coming message to w. Errors are w's, after which the rest of
// the message is still read, and lost for those of the file.
func (s *splitter) copy(w io.Writer) error {
	s.from = nil
	var failed error
	write := func(p []byte) {
		if failed == nil && len(p) > 0 {
			_, failed = w.Write(p)
		}
	}
	var empty []byte // the last line, if it was empty and is not written yet
	for start := true; ; {
		if next, _ := s.r.Peek(1); start && len(next) > 0 && next[0] == '>' {
			write(empty)
			empty = nil
			s.unquote(write)
			start = false
		}
		at := s.off
		line, err := s.line()
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return lost{fmt.Errorf("reading: %w", err)}
		}
		if start && empty != nil && bytes.HasPrefix(line, fromWord) && err == nil {
			line = bytes.Clone(line)
			next, _ := s.r.Peek(80)
			if beginsMessage(line, next) {
				s.from, s.at = line, at
				return failed
			}
		}
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return failed
		}
		write(empty)
		empty = nil
		if start && (string(line) == "\n" || string(line) == "\r\n") {
			empty = []byte("\r\n")[2-len(line):]
		} else {
			write(line)
		}
		start = err == nil
	}
}

// unquote passes on the `>` at the start of a line, one less before "From ".
func (s *splitter) unquote(write func([]byte)) {
	marks := 0
	for {
		c, err := s.r.Peek(1)
		if err != nil || c[0] != '>' {
			break
		}
		s.r.Discard(1)
		marks++
	}
	s.off += int64(marks)
	if next, _ := s.r.Peek(len(fromWord)); bytes.Equal(next, fromWord) {
		marks--
	}
	for run := bytes.Repeat([]byte{'>'}, min(marks, 1024)); marks > 0; marks -= len(run) {
		write(run[:min(marks, len(run))])
	}
}
