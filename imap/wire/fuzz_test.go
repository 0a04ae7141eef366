package wire

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

var fuzzLimits = Limits{Line: 300, Literal: 50, Command: 600, Drain: 1000, Depth: 5, SetElements: 20}

// transcript reads commands until the input ends and writes down what it saw.
// Which argument it asks for follows from the command's name.
func transcript(t *testing.T, src io.Reader) string {
	var out strings.Builder
	r := NewReader(src, fuzzLimits, Hooks{
		Continue: func(n int64, nonSync bool) error {
			fmt.Fprintf(&out, "literal %d %v\n", n, nonSync)
			if n == 13 {
				return errors.New("refused")
			}
			return nil
		},
	})
	for {
		tag, name, err := r.ReadCommand()
		fmt.Fprintf(&out, "%q %q %v\n", tag, name, err)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			return out.String()
		}
		for n := 0; err == nil && r.SP() == nil; n++ {
			var v any
			v, err = anyArgument(r, string(name), n)
			fmt.Fprintf(&out, "  %q %v\n", v, err)
		}
		if err == nil {
			err = r.CRLF()
		}
		if errors.As(err, &e) && (e.Tag != string(r.Tag()) || strings.ContainsAny(e.Text, "\r\n")) {
			t.Fatalf("error %+v in command %q", e, r.Tag())
		}
		if cap(r.buf) > 2*fuzzLimits.Command+bufferSize {
			t.Fatalf("%d octets held", cap(r.buf))
		}
	}
}

func anyArgument(r *Reader, name string, n int) (any, error) {
	switch name {
	case "STORE":
		return r.StoreFlags(nil)
	case "FETCH":
		if n == 0 {
			var s Set
			err := r.Set(&s)
			return string(AppendSet(nil, &s)), err
		}
		if r.Peek() == '<' {
			o, c, err := r.Partial()
			return [2]uint64{o, c}, err
		}
		var s Section
		err := r.Section(&s)
		return string(AppendSection(nil, &s)), err
	case "APPEND":
		switch {
		case n == 0:
			return r.Mailbox()
		case r.Peek() == '"':
			at, err := r.DateTime()
			return at.Unix(), err
		}
		l, err := r.Literal()
		if err != nil {
			return nil, err
		}
		return io.ReadAll(l)
	case "LIST":
		return r.ListMailbox()
	case "SEARCH":
		at, err := r.Date()
		return at.Unix(), err
	case "ID":
		if r.Peek() == '(' {
			return nil, r.SkipTaggedExtValue()
		}
		b, _, err := r.NString()
		return string(b), err
	}
	b, err := r.AString()
	return string(b), err
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"a1 LOGIN alice {3}\r\nabc\r\nb NOOP\r\n",
		"a1 LOGIN {13+}\r\nx LOGOUT\r\n123 y\r\nb NOOP\r\n",
		"a STORE (\\Seen x) \\Draft\r\n",
		"a FETCH 1:*,3 [1.HEADER.FIELDS (To {2+}\r\nCc)] <0.1>\r\n",
		"a APPEND &AOk- \" 1-Jan-2020 00:00:00 +0000\" ~{3+}\r\na\x00b {0}\r\n\r\n",
		"a LIST \"\" *%\r\na SEARCH 1-Feb-2020\r\na ID (a (\"b\" {1+}\r\nc))\r\n",
		"a X " + strings.Repeat("y", 400) + " {20+}\r\n12345678901234567890\r\nb NOOP\n",
		"a X {2000+}\r\n", "\r\n\n \r\n", "a \"\\\"\\\\\" {+}\r\n", "a1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		whole := transcript(t, strings.NewReader(text))
		if octets := transcript(t, iotest.OneByteReader(strings.NewReader(text))); octets != whole {
			t.Fatalf("input in pieces reads otherwise:\n%s\n%s", whole, octets)
		}
		// Whatever stands in refused literals, the command after them is the next.
		if len(text) > 450 {
			return
		}
		n := fmt.Sprintf("{%d+}\r\n", len(text))
		r := NewReader(strings.NewReader("a X "+n+text+" ("+n+text+"\r\nb NOOP\r\n"), fuzzLimits, Hooks{})
		expectCommand(t, r, "a", "X")
		expectCommand(t, r, "b", "NOOP")
	})
}
