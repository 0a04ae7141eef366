package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Text calls visit for each text part of the message in r, in order, and with
// header set for that of each encapsulated message. The text is UTF-8: transfer
// encoding and charset undone, HTML without its tags. r starts at the message's
// first octet and is read once; parts and shift are as for Parts.Range. visit
// need not read its text to the end. An error of r or visit ends the walk and is
// returned; io.EOF from visit ends it without one.
func Text(r io.Reader, parts Parts, shift int64, visit func(p *Part, header bool, text io.Reader) error) error {
	w := textWalk{r: r, u: unpacker{b: parts}, visit: visit}
	root := w.u.part(0, shift, true)
	err := w.part(&root, false)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

type textWalk struct {
	r     io.Reader
	at    int64 // how far r was read
	u     unpacker
	visit func(*Part, bool, io.Reader) error
}

// Read counts; it stands between r and the decoders.
func (w *textWalk) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.at += int64(n)
	return n, err
}

func (w *textWalk) part(p *Part, inMessage bool) error {
	if w.u.failed {
		return nil
	}
	if inMessage {
		if ok, err := w.seek(p.HeaderOffset, p.HeaderSize); err != nil {
			return err
		} else if ok {
			header := &headerReader{r: io.LimitReader(w, p.HeaderSize)}
			if err := w.visit(p, true, header); err != nil {
				return err
			}
		}
	}
	if p.text {
		if ok, err := w.seek(p.BodyOffset, p.BodySize); err != nil {
			return err
		} else if ok {
			if err := w.visit(p, false, p.decode(io.LimitReader(w, p.BodySize))); err != nil {
				return err
			}
		}
	}
	for range p.Children {
		child := w.u.part(p.BodyOffset, 0, false)
		if err := w.part(&child, p.kind == kindMessage); err != nil || w.u.failed {
			return err
		}
	}
	return nil
}

// seek reads on to offset; ok is false when there is nothing to read there.
func (w *textWalk) seek(offset, size int64) (ok bool, err error) {
	if offset < w.at || size == 0 {
		return false, nil
	}
	if _, err := io.CopyN(io.Discard, w, offset-w.at); err != nil {
		if errors.Is(err, io.EOF) {
			return false, io.ErrUnexpectedEOF
		}
		return false, err
	}
	return true, nil
}

// decode undoes what the part's Content fields name.
func (p *Part) decode(r io.Reader) io.Reader {
	r = toUTF8(Decode(r, p.Encoding), string(p.Charset))
	if string(p.MediaType) == "text/html" {
		return newHTMLText(r)
	}
	return r
}

// headerReader gives a header block with its values decoded.
type headerReader struct {
	r    io.Reader
	left []byte
	done bool
}

func (h *headerReader) Read(p []byte) (int, error) {
	if !h.done {
		h.done = true
		raw, err := io.ReadAll(io.LimitReader(h.r, maxNestedHeader))
		if err != nil {
			return 0, err
		}
		for f := NewFields(raw); f.Next(); {
			h.left = append(append(h.left, f.Name()...), ": "...)
			h.left = append(AppendDecoded(h.left, f.Value()), '\n')
		}
	}
	if len(h.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, h.left)
	h.left = h.left[n:]
	return n, nil
}

// htmlText gives the visible text of HTML. A tag or text longer than its buffer
// limit ends it: such a page has nothing to read.
type htmlText struct {
	z      *html.Tokenizer
	left   []byte
	hidden atom.Atom // the element whose content is not shown
	err    error
}

const maxToken = 1 << 20

func newHTMLText(r io.Reader) io.Reader {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(maxToken)
	return &htmlText{z: z}
}

func (h *htmlText) Read(p []byte) (int, error) {
	for len(h.left) == 0 {
		if h.err != nil {
			return 0, h.err
		}
		h.next()
	}
	n := copy(p, h.left)
	h.left = h.left[n:]
	return n, nil
}

func (h *htmlText) next() {
	switch kind := h.z.Next(); kind {
	case html.ErrorToken:
		if h.err = h.z.Err(); errors.Is(h.err, html.ErrBufferExceeded) {
			h.err = io.EOF
		}
	case html.TextToken:
		if h.hidden == 0 {
			h.left = append(h.left[:0], h.z.Text()...)
		}
	case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
		name, _ := h.z.TagName()
		tag := atom.Lookup(name)
		switch tag {
		case atom.Script, atom.Style, atom.Title:
			if kind == html.StartTagToken && h.hidden == 0 {
				h.hidden = tag
			} else if kind == html.EndTagToken && h.hidden == tag {
				h.hidden = 0
			}
		case atom.B, atom.I, atom.U, atom.A, atom.Span, atom.Font, atom.Em, atom.Strong, atom.Small, atom.Big, atom.Sub, atom.Sup, atom.Code, atom.Wbr:
			// These do not end a word.
		default:
			h.left = append(h.left[:0], '\n')
		}
	}
}

// PreviewLength is the most characters a preview has, RFC 8970 3.1.
const PreviewLength = 200

// Preview is the start of the first text part with text in it, or "", as RFC
// 8970 wants it: UTF-8, one space for all white space, no quoted lines at the
// front of plain text. It reads no more of r than it needs.
func Preview(r io.Reader, parts Parts, shift int64) (string, error) {
	best := ""
	err := Text(r, parts, shift, func(p *Part, header bool, text io.Reader) error {
		if header {
			return nil
		}
		// Enough for a preview behind a quotation of some length.
		b, err := io.ReadAll(io.LimitReader(text, 16<<10))
		if err != nil {
			return err
		}
		s := string(b)
		if string(p.MediaType) == "text/plain" {
			s = withoutQuotes(s)
		}
		if best = previewOf(s); best != "" {
			return io.EOF
		}
		return nil
	})
	return best, err
}

// withoutQuotes drops quoted lines, unless nothing else is there.
func withoutQuotes(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, ">") {
			b.WriteString(line)
		}
	}
	if strings.TrimSpace(b.String()) == "" {
		return s
	}
	return b.String()
}

func previewOf(s string) string {
	out := make([]byte, 0, 2*PreviewLength)
	count, space := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			space = true
			continue
		}
		if space && count > 0 {
			out = append(out, ' ')
			count++
		}
		space = false
		if count >= PreviewLength {
			break
		}
		out = utf8.AppendRune(out, r)
		count++
	}
	return string(bytes.TrimRight(out, " "))
}
