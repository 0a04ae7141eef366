package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, msg := range corpus(f) {
		if len(msg) < 8<<10 {
			f.Add(msg)
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		p := mustParse(t, msg)
		if p.Size != int64(len(msg)) {
			t.Fatalf("size %d of %d", p.Size, len(msg))
		}
		for _, wire := range [][]byte{p.Envelope, p.Structure, AppendBody(nil, p.Structure)} {
			s := structureScanner{b: wire}
			if s.item(); s.i != len(wire) || wire[0] != '(' {
				t.Fatalf("not one list: %q", wire)
			}
		}
		for _, s := range sections() {
			path, what := parseSection(t, s)
			off, n, ok := p.Parts.Range(path, what, 0)
			if ok && (off < 0 || n < 0 || off+n > p.Size) {
				t.Fatalf("BODY[%s] is %d+%d of %d", s, off, n, p.Size)
			}
		}
		if _, ok := ParseMeta(p.Meta.Append(nil)); !ok {
			t.Fatalf("%+v cannot be packed", p.Meta)
		}
		if err := Text(bytes.NewReader(msg), p.Parts, 0, func(_ *Part, _ bool, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzStored(f *testing.F) {
	p := mustParse(f, corpus(f)["rfc822-multipart"])
	f.Add([]byte(p.Parts), p.Structure, p.Meta.Append(nil))
	f.Fuzz(func(t *testing.T, parts, structure, meta []byte) {
		AppendBody(nil, structure)
		ParseMeta(meta)
		for _, path := range [][]uint32{nil, {1}, {2, 1}, {1, 1, 1}, {1 << 31}} {
			Parts(parts).Range(path, SectionHeader, 7)
		}
		if err := Text(strings.NewReader("x"), parts, 0, func(*Part, bool, io.Reader) error { return nil }); err != nil && err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("From: a <b@c>, g: x;\r\nSubject: =?utf-8?q?x?=\r\n y\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		AppendMailboxes(nil, b)
		AppendDecoded(nil, b)
		BaseSubject(b)
		ParseDate(b)
		MessageIDs(nil, b, 3)
		Inspect(b)
		n := 0
		for fields := NewFields(b); fields.Next(); {
			fields.Value()
			ClaimsResultsOf(&fields, "x")
			n += len(fields.Raw())
		}
		if n > len(b) {
			t.Fatalf("%d octets of fields in %d", n, len(b))
		}
		if h, body, err := ReadHeader(bytes.NewReader(b), 1<<20); err == nil {
			rest, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(append(h, rest...), b) {
				t.Fatalf("ReadHeader loses octets: %q %q", h, rest)
			}
		}
		for _, e := range []Encoding{EncodingBase64, EncodingQuotedPrintable} {
			if out, err := io.ReadAll(Decode(bytes.NewReader(b), e)); err != nil || len(out) > len(b) {
				t.Fatalf("%d octets from %d, %v", len(out), len(b), err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	attachment := bytes.Repeat([]byte(strings.Repeat("QUJD", 19)+"\r\n"), 350)
	head := string(corpus(b)["multipart"][:0]) + "Received: from a by b; Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Alice <alice@example.org>\r\nTo: Bob <bob@example.net>\r\n" +
		"Subject: a message of common size\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--=_b\r\nContent-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	for name, n := range map[string]int{"27KiB": 1, "25MiB": 950} {
		msg := append(append([]byte(head), bytes.Repeat(attachment, n)...), "--=_b--\r\n"...)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				mustParse(b, msg)
			}
		})
	}
}
