// Package message parses and renders Internet messages: header edits, the MIME
// walk, IMAP's ENVELOPE and BODYSTRUCTURE, section look-up, decoded text.
//
// It owns no storage and no policy. Its input is hostile: nothing here panics,
// all work is linear in the input, and memory is bounded by the limits below,
// whatever the size of the message. Stored messages are lines that end in CRLF,
// without NUL; they may hold 8-bit bytes, over-long lines and broken MIME. Where
// the RFCs leave broken input open, the results are those of Dovecot, which
// clients know; testdata holds them.
//
// RFC 5322 (headers), RFC 2045-2047, 2183, 2231 and 6532 (MIME), RFC 9051 and
// 3501 (ENVELOPE, BODYSTRUCTURE, sections), RFC 5256 and 5957 (sort and thread
// keys), RFC 8970 (preview), RFC 5321 4.4 (trace fields).
package message

import (
	"errors"
	"io"
)

// ParserVersion goes up whenever Parse gives other bytes for the same message.
// The store keeps it beside what Parse gave, so that old records can be redone.
const ParserVersion = 1

// Limits of Parse. What lies beyond them is still counted and can be fetched,
// but is no longer looked into.
const (
	MaxHeader       = 1 << 20 // octets of the top header that are kept
	maxNestedHeader = 1 << 18 // octets kept of one part's header
	maxNestedTotal  = 1 << 21 // octets of all nested headers that are looked into
	maxDepth        = 100     // nested parts
	maxParts        = 10000   // parts in all
	maxBoundary     = 80      // octets of a boundary; RFC 2046 5.1.1 allows 70
	maxAddresses    = 10000   // addresses of one field
)

// Parsed is what the store keeps of a message beside its bytes. All slices are
// the caller's to keep.
type Parsed struct {
	// Header is the top header block with the empty line that ends it. Longer than
	// MaxHeader it is cut to whole lines and an empty line; HeaderSize is the true
	// size.
	Header     []byte
	HeaderSize int64
	Size       int64 // octets of the whole message
	Lines      int64 // line ends in the whole message
	Envelope   []byte
	Structure  []byte // extended; AppendBody derives the plain form
	Parts      Parts
	Meta       Meta
}

// Parse reads the message to its end, once. The only errors are r's.
func Parse(r io.Reader) (*Parsed, error) {
	p := newParser(r)
	if err := p.run(); err != nil {
		return nil, err
	}
	root := &p.nodes[0]
	env := readEnvelope(p.header)
	return &Parsed{
		Header:     p.header,
		HeaderSize: root.bodyOff,
		Size:       root.bodyEnd,
		Lines:      p.src.newlines,
		Envelope:   env.append(make([]byte, 0, 512)),
		Structure:  p.appendStructure(make([]byte, 0, 64+2*len(p.arena)), 0),
		Parts:      p.appendParts(make([]byte, 0, 16+24*len(p.nodes))),
		Meta:       env.meta(p.header),
	}, nil
}

// source is a window over the stream that knows where it is.
type source struct {
	r          io.Reader
	buf        []byte
	start, end int   // the unread window in buf
	offset     int64 // of buf[start] in the stream
	newlines   int64 // LFs before offset
	prev       byte  // the octet before offset
	prev2      byte  // and the one before that
	eof        bool
}

// A window begins small, as most messages are, and grows while what comes fills it.
const (
	firstWindow = 4 << 10
	windowSize  = 64 << 10
)

func (s *source) window() []byte { return s.buf[s.start:s.end] }

// fill makes the window at least n octets long, or all that is left.
func (s *source) fill(n int) error {
	if s.end-s.start >= n || s.eof {
		return nil
	}
	into := s.buf
	if s.end == len(s.buf) && len(s.buf) < windowSize {
		into = make([]byte, min(4*len(s.buf), windowSize))
	}
	s.end = copy(into, s.buf[s.start:s.end])
	s.buf, s.start = into, 0
	idle := 0
	for s.end < n && !s.eof {
		m, err := s.r.Read(s.buf[s.end:])
		s.end += m
		switch {
		case errors.Is(err, io.EOF):
			s.eof = true
		case err != nil:
			return err
		case m == 0:
			if idle++; idle > 100 {
				return io.ErrNoProgress
			}
		}
	}
	return nil
}

// take moves on by n octets of the window, of which lfs are line feeds.
func (s *source) take(n, lfs int) {
	switch {
	case n == 0:
		return
	case n == 1:
		s.prev2, s.prev = s.prev, s.buf[s.start]
	default:
		s.prev2, s.prev = s.buf[s.start+n-2], s.buf[s.start+n-1]
	}
	s.start += n
	s.offset += int64(n)
	s.newlines += int64(lfs)
}

// lineEnd is the length of the line end just before the window.
func (s *source) lineEnd() int64 {
	switch {
	case s.prev != '\n':
		return 0
	case s.prev2 == '\r':
		return 2
	}
	return 1
}
