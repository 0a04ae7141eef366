package imap

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
	"unicode/utf8"

	"posthorn/internal/message"
)

// foldBlock is how much text is mapped and looked through at a time.
const foldBlock = 16 << 10

// upper maps the capitals of ASCII, and nothing else.
var upper = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
	}
	for c := 'a'; c <= 'z'; c++ {
		table[c] -= 'a' - 'A'
	}
	return table
}()

// appendFolded appends UTF-8 as message.CaseMap maps it. ASCII, which is most
// of all mail, takes no detour; text that is not begins and ends a run of its
// own, which CaseMap sees whole, since no mark combines across ASCII.
func appendFolded(dst, text []byte) []byte {
	for len(text) > 0 {
		from := len(dst)
		dst = slices.Grow(dst, len(text))
		to := dst[from : from+len(text)]
		n := 0
		for ; n < len(text) && text[n] < utf8.RuneSelf; n++ {
			to[n] = upper[text[n]]
		}
		dst, text = dst[:from+n], text[n:]
		for n = 0; n < len(text) && text[n] >= utf8.RuneSelf; {
			n++
		}
		if n > 0 {
			dst = appendMapped(dst, text[:n])
		}
		text = text[n:]
	}
	return dst
}

// latin is what CaseMap makes of each character from U+0080 to U+024F: the
// letters of western and central Europe. None of them is a mark that would join
// with what stands before it, so that each can be mapped by itself.
var latin = sync.OnceValue(func() *[0x250 - 0x80]string {
	table := new([0x250 - 0x80]string)
	for i := range table {
		table[i] = message.CaseMap(string(rune(0x80 + i)))
	}
	return table
})

// appendMapped appends a run without ASCII.
func appendMapped(dst, run []byte) []byte {
	from := len(dst)
	table := latin()
	for rest := run; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if i := int(r) - 0x80; i >= 0 && i < len(table) {
			dst, rest = append(dst, table[i]...), rest[n:]
			continue
		}
		return append(dst[:from], message.CaseMap(string(run))...)
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
