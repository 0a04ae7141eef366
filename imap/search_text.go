package imap

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"posthorn/internal/message"
)

// foldBlock is how much text is mapped and looked through at a time.
const foldBlock = 16 << 10

// appendFolded appends UTF-8 as message.CaseMap maps it. ASCII, which is most
// of all mail, takes no detour; text that is not begins and ends a run of its
// own, which CaseMap sees whole, since no mark combines across ASCII.
func appendFolded(dst, text []byte) []byte {
	for len(text) > 0 {
		n := 0
		for n < len(text) && text[n] < utf8.RuneSelf {
			n++
		}
		from := len(dst)
		dst = append(dst, text[:n]...)
		for i, c := range dst[from:] {
			if 'a' <= c && c <= 'z' {
				dst[from+i] = c - 'a' + 'A'
			}
		}
		text = text[n:]
		for n = 0; n < len(text) && text[n] >= utf8.RuneSelf; {
			n++
		}
		if n > 0 {
			dst = append(dst, message.CaseMap(string(text[:n]))...)
		}
		text = text[n:]
	}
	return dst
}

// needle is a text that is looked for in a body.
type needle struct {
	key   *searchKey
	found bool
}

// finder looks for needles in texts.
type finder struct {
	needles []needle
	open    int // not found yet
	longest int
	raw     []byte
	folded  []byte
}

// begin starts a message.
func (f *finder) begin() {
	f.needles, f.open, f.longest = f.needles[:0], 0, 0
}

func (f *finder) add(k *searchKey) {
	f.needles = append(f.needles, needle{key: k})
	f.open++
	f.longest = max(f.longest, len(k.text))
}

// look reads a text to its end, or until all needles are found.
func (f *finder) look(r io.Reader) error {
	if f.raw == nil {
		f.raw = make([]byte, foldBlock)
	}
	f.folded = f.folded[:0]
	have := 0
	for f.open > 0 {
		n, err := r.Read(f.raw[have:])
		have += n
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		if have < len(f.raw) && !end {
			continue
		}
		cut := have
		if !end {
			cut = foldEnd(f.raw[:have])
		}
		f.folded = appendFolded(f.folded, f.raw[:cut])
		f.match()
		if end {
			return nil
		}
		have = copy(f.raw, f.raw[cut:have])
		if keep := f.longest - 1; len(f.folded) > keep {
			f.folded = f.folded[:copy(f.folded, f.folded[len(f.folded)-keep:])]
		}
	}
	return nil
}

// foldEnd is where a block of text can be cut: before its last ASCII character,
// else between characters.
func foldEnd(b []byte) int {
	for i := len(b) - 1; i > 0 && i > len(b)-256; i-- {
		if b[i] < utf8.RuneSelf {
			return i
		}
	}
	for i := len(b) - 1; i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			return i
		}
	}
	return len(b)
}

func (f *finder) match() {
	for i := range f.needles {
		if n := &f.needles[i]; !n.found && bytes.Contains(f.folded, n.key.text) {
			n.found = true
			f.open--
		}
	}
}
