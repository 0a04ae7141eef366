package message

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"posthorn/internal/address"
)

func mustParse(tb testing.TB, msg []byte) *Parsed {
	tb.Helper()
	p, err := Parse(bytes.NewReader(msg))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestParseIsTheSameForAnyReadSizes(t *testing.T) {
	for name, msg := range corpus(t) {
		want := mustParse(t, msg)
		got, err := Parse(iotest.OneByteReader(bytes.NewReader(msg)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Structure, want.Structure) || !bytes.Equal(got.Parts, want.Parts) || !bytes.Equal(got.Header, want.Header) {
			t.Errorf("%s: read octet by octet it is another message", name)
		}
		if want.Size != int64(len(msg)) || want.Lines != int64(bytes.Count(msg, []byte{'\n'})) {
			t.Errorf("%s: size %d lines %d", name, want.Size, want.Lines)
		}
		if !bytes.Equal(want.Header, msg[:want.HeaderSize]) {
			t.Errorf("%s: header %q", name, want.Header)
		}
	}
}

func TestParseGivesTheReadersError(t *testing.T) {
	broken := errors.New("disk gone")
	for _, n := range []int64{0, 5, 40, 200} {
		r := io.MultiReader(io.LimitReader(bytes.NewReader(corpus(t)["multipart"]), n), iotest.ErrReader(broken))
		if _, err := Parse(r); !errors.Is(err, broken) {
			t.Errorf("after %d octets: %v", n, err)
		}
	}
}

func TestShiftedTableServesAMessageWithMoreHeader(t *testing.T) {
	prefix := "Return-Path: <a@b>\r\nDelivered-To: x@y\r\n"
	for name, msg := range corpus(t) {
		if len(msg) == 0 || msg[0] == ' ' {
			continue // the prefix would change what the first line is
		}
		whole := append([]byte(prefix), msg...)
		p, q := mustParse(t, msg), mustParse(t, whole)
		if !bytes.Equal(p.Envelope, q.Envelope) || !bytes.Equal(p.Structure, q.Structure) {
			t.Errorf("%s: envelope or structure differ", name)
		}
		for _, s := range sections() {
			path, what := parseSection(t, s)
			off1, n1, ok1 := p.Parts.Range(path, what, int64(len(prefix)))
			off2, n2, ok2 := q.Parts.Range(path, what, 0)
			if off1 != off2 || n1 != n2 || ok1 != ok2 {
				t.Errorf("%s BODY[%s]: %d+%d %v, want %d+%d %v", name, s, off1, n1, ok1, off2, n2, ok2)
			}
		}
	}
}

func TestLimitsBoundWhatIsLookedInto(t *testing.T) {
	long := append(bytes.Repeat([]byte("X-Filler: "+strings.Repeat("y", 60)+"\r\n"), 20000), "\r\nbody"...)
	p := mustParse(t, long)
	if len(p.Header) > MaxHeader+2 || !bytes.HasSuffix(p.Header, []byte("y\r\n\r\n")) || p.HeaderSize != int64(len(long)-4) {
		t.Errorf("header of %d octets kept, true size %d", len(p.Header), p.HeaderSize)
	}
	many := append([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n"), bytes.Repeat([]byte("--b\r\n\r\nx\r\n"), 3*maxParts)...)
	root, ok := mustParse(t, many).Parts.Root(0)
	if !ok || root.Children != maxParts-1 {
		t.Errorf("%d children", root.Children)
	}
	line := mustParse(t, bytes.Repeat([]byte("x"), 3<<20))
	if line.HeaderSize != 3<<20 || len(line.Header) != 2 {
		t.Errorf("one line: header %d, kept %d", line.HeaderSize, len(line.Header))
	}
}

func TestAppendFieldsAllocatesNothing(t *testing.T) {
	header := mustParse(t, corpus(t)["multipart"]).Header
	dst := make([]byte, 0, 4096)
	names := []string{"from", "to", "subject", "date", "message-id"}
	if n := testing.AllocsPerRun(100, func() { dst = AppendFields(dst[:0], header, names, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !strings.HasPrefix(string(dst), "From: Alice") || strings.Contains(string(dst), "MIME-Version") {
		t.Errorf("%q", dst)
	}
	parts := mustParse(t, corpus(t)["rfc822-multipart"]).Parts
	path := []uint32{1, 2, 1}
	if n := testing.AllocsPerRun(100, func() { parts.Range(path, SectionAll, 0) }); n != 0 {
		t.Errorf("Range: %v allocations", n)
	}
}

func TestBaseSubject(t *testing.T) {
	cases := []struct {
		in, want string
		reply    bool
	}{
		{"hello", "hello", false}, {"Re: hello", "hello", true}, {"RE : re:Fwd: FW: hello", "hello", true},
		{"Re[2]: hello (fwd) (FWD)", "hello", true}, {"[list] Re: [list] hello", "hello", true},
		{"[list]", "[list]", false}, {"[a][b] x", "x", false}, {"[Fwd: Re: hello]", "hello", true},
		{"  two \t spaces ", "two spaces", false}, {"=?utf-8?q?Re:_caf=C3=A9?=", "café", true},
		{"Re:", "", true}, {"", "", false}, {"[fwd:", "[fwd:", false}, {"regarding: x", "regarding: x", false},
		{"[unclosed re: x", "[unclosed re: x", false}, {"Re: one\r\n two", "one two", true},
	}
	for _, c := range cases {
		if got, reply := BaseSubject([]byte(c.in)); got != c.want || reply != c.reply {
			t.Errorf("BaseSubject(%q) = %q, %v; want %q, %v", c.in, got, reply, c.want, c.reply)
		}
	}
}

func TestAppendDecoded(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "=?iso-8859-1?Q?caf=E9_x?=": "café x", "=?UTF-8?B?4piD?= =?utf-8?b?4piD?=": "☃☃",
		"a =?utf-8?q?b?= c": "a b c", "=?utf-8?b?4pg=?=\r\n =?utf-8?b?gw==?=": "☃", "=?nope?q?x?=": "x",
		"=?utf-8?x?y?=": "=?utf-8?x?y?=", "=?": "=?", "=?utf-8?q?": "=?utf-8?q?", "caf\xe9": "café", "naïve": "naïve",
		"=?utf-8*en?q?x?=y": "xy", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=": "日本", "one\r\n\ttwo": "one\ttwo",
		"=?a?q?1?= - =?a?q?2?=": "1 - 2",
	} {
		if got := string(AppendDecoded(nil, []byte(in))); got != want {
			t.Errorf("AppendDecoded(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"Mon, 7 Feb 1994 21:52:25 -0800":                        "1994-02-07T21:52:25-08:00",
		"7 Feb 94 21:52 EST":                                    "1994-02-07T21:52:00-05:00",
		"Mon,7 Feb 2020 1:2:3 GMT (comment)":                    "2020-02-07T01:02:03Z",
		"(c) Mon (d), 07\r\n Feb 2020 21 : 52 : 25 (x) +0130 (": "2020-02-07T21:52:25+01:30",
		"Monday, 07-Feb-20 21:52:25 UT":                         "2020-02-07T21:52:25Z",
		"7 Feb 2020":                                            "2020-02-07T00:00:00Z",
		"7 Feb 2020 99:00:00 +0100":                             "2020-02-07T00:00:00Z",
		"7 February 2020 10:00 -0000":                           "2020-02-07T10:00:00Z",
		"":                                                      "", "garbage": "", "31 Feb 2020 10:00:00 +0000": "", "0 Feb 2020": "", "1 Foo 2020": "",
	} {
		got, ok := ParseDate([]byte(in))
		if ok != (want != "") || ok && got.Format(time.RFC3339) != want {
			t.Errorf("ParseDate(%q) = %v, %v; want %q", in, got.Format(time.RFC3339), ok, want)
		}
	}
}

func TestMetaSurvivesPacking(t *testing.T) {
	msg := "From: =?utf-8?q?J=C3=B6rg?= <jorg@x>\r\nTo: Friends: a@b;\r\nCc: only@cc\r\nSubject: Re: [x] Hi\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n" +
		"Message-ID: <\"a b\"@x (c)>\r\nIn-Reply-To: \"quoted <no@no>\" <1@x> <2@x>\r\nReferences: <0@x> junk\r\n <1@x><bad>\r\n\r\n"
	m := mustParse(t, []byte(msg)).Meta
	got, ok := ParseMeta(m.Append(nil))
	if !ok || got.Subject != "HI" || !got.Reply || got.From != "JORG" || got.DisplayFrom != CaseMap("Jörg") || got.DisplayTo != "FRIENDS" ||
		got.Cc != "ONLY" || got.InReplyTo != "1@x" || strings.Join(got.References, " ") != "0@x 1@x" || !got.Date.Equal(m.Date) || got.Date.Format("-0700") != "-0800" {
		t.Errorf("%+v", got)
	}
	for n := range m.Append(nil) {
		if _, ok := ParseMeta(m.Append(nil)[:n]); ok {
			t.Errorf("%d octets of it are taken for the whole", n)
		}
	}
	ids := MessageIDs(nil, []byte("<1@x><2@x><3@x><4@x>"), 3)
	if strings.Join(ids, " ") != "1@x 3@x 4@x" {
		t.Errorf("ids %q", ids)
	}
}

func TestTextDecodesPartsInOrder(t *testing.T) {
	msg := strings.ReplaceAll(`Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 so=
ft  `+`
--b
Content-Type: application/pdf

%PDF
--b
Content-Type: text/html; charset="utf-8"
Content-Transfer-Encoding: base64

PHN0eWxlPm5vPC9zdHlsZT48cD5o
ZTxiPmxsPC9iPm8gJmFtcDsgYnllPHA+eA==
--b
Content-Type: message/rfc822

Subject: =?utf-8?q?inn=C3=A9r?=

deep text
--b--
`, "\n", "\r\n")
	p := mustParse(t, []byte(msg))
	var got []string
	err := Text(strings.NewReader(msg), p.Parts, 0, func(_ *Part, header bool, r io.Reader) error {
		b, err := io.ReadAll(r)
		got = append(got, string(bytes.TrimSpace(b)))
		return err
	})
	want := []string{"café soft", "hello & bye\nx", "Subject: innér", "deep text"}
	if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if s, err := Preview(strings.NewReader(msg), p.Parts, 0); err != nil || s != "café soft" {
		t.Errorf("preview %q %v", s, err)
	}
	if _, err := Preview(strings.NewReader(msg[:100]), p.Parts, 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("preview of a cut message: %v", err)
	}
}

func TestPreview(t *testing.T) {
	for body, want := range map[string]string{
		"> quoted\r\n\r\nanswer \t here\r\n": "answer here", "> only quoted\r\n": "> only quoted", "": "", "\r\n \r\n": "",
		strings.Repeat("é", 300): strings.Repeat("é", 200),
	} {
		msg := "Content-Type: text/plain; charset=utf-8\r\n\r\n" + body
		if got, err := Preview(strings.NewReader(msg), mustParse(t, []byte(msg)).Parts, 0); err != nil || got != want {
			t.Errorf("Preview(%q) = %q, %v", body, got, err)
		}
	}
}

func TestDecode(t *testing.T) {
	long := strings.Repeat("=C3=A9", 3000)
	cases := []struct {
		e        Encoding
		in, want string
	}{
		{EncodingBase64, "aGVs\r\nbG8=", "hello"}, {EncodingBase64, "aGVsbG8", "hello"}, {EncodingBase64, "aGk=aGk=", "hihi"},
		{EncodingBase64, "a*G-k!", "hi"}, {EncodingBase64, "a", ""}, {EncodingBase64, "", ""}, {EncodingBase64, "====", ""},
		{EncodingQuotedPrintable, "a=3Db=\r\nc \t\r\nd", "a=bc\r\nd"}, {EncodingQuotedPrintable, "=zz=3", "=zz=3"},
		{EncodingQuotedPrintable, "x=", "x"}, {EncodingQuotedPrintable, long, strings.Repeat("é", 3000)},
		{EncodingUnknown, "=3D", "=3D"},
	}
	for _, c := range cases {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
			if got, err := io.ReadAll(Decode(r, c.e)); err != nil || string(got) != c.want {
				t.Errorf("Decode(%.40q, %d) = %.40q, %v; want %.40q", c.in, c.e, got, err, c.want)
			}
		}
	}
}

func TestReadHeader(t *testing.T) {
	for in, want := range map[string][2]string{
		"A: b\r\n\r\nbody": {"A: b\r\n\r\n", "body"}, "\r\nbody": {"\r\n", "body"}, "A: b\r\n": {"A: b\r\n", ""}, "": {"", ""},
		"A: b\r\n\r\n\r\nx": {"A: b\r\n\r\n", "\r\nx"},
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			h, body, err := ReadHeader(r, 100)
			if err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(body)
			if err != nil || string(h) != want[0] || string(rest) != want[1] {
				t.Errorf("ReadHeader(%q) = %q, %q", in, h, rest)
			}
		}
	}
	for _, in := range []string{strings.Repeat("A: b\r\n", 100), strings.Repeat("a", 10000)} {
		if _, _, err := ReadHeader(strings.NewReader(in), 100); !errors.Is(err, ErrHeaderTooLong) {
			t.Errorf("a long header: %v", err)
		}
	}
}

func TestHeaderEdits(t *testing.T) {
	h := []byte("Received: x\r\nreceived: y\r\nDelivered-To: a@b\r\nAuthentication-Results: MX.example.org; spf=pass\r\n" +
		"Authentication-Results: (c) \"mx.example.org\" 1; none\r\nAuthentication-Results: other.example; none\r\nBcc: x@y,\r\n z@y\r\nFrom: A <a@b>\r\n\r\n")
	in := Inspect(h)
	if in.Received != 2 || len(in.DeliveredTo) != 1 || in.HasDate || in.HasMessageID || in.FromFields != 1 || in.EightBit {
		t.Errorf("%+v", in)
	}
	if a, err := in.From[0].Address(); err != nil || a.Key() != "a@b" {
		t.Errorf("%v %v", a, err)
	}
	got := string(AppendWithout(nil, h, func(f *Fields) bool { return f.Is("bcc") || ClaimsResultsOf(f, "mx.example.org") }))
	want := "Received: x\r\nreceived: y\r\nDelivered-To: a@b\r\nAuthentication-Results: other.example; none\r\nFrom: A <a@b>\r\n\r\n"
	if got != want {
		t.Errorf("%q", got)
	}
}

func TestRenderedFields(t *testing.T) {
	v := Received{Helo: "evil\r\nX: (y) z", Client: netip.MustParseAddr("2001:db8::1"), PTR: "host.example", By: "mx.example.org", With: "ESMTPSA",
		TLS: "TLS1.3)\r\n", ID: "abc", For: "b@c", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	want := "Received: from evilX:yz (host.example [IPv6:2001:db8::1])\r\n\tby mx.example.org with ESMTPSA\r\n\t(TLS1.3)\r\n\tid abc\r\n\tfor <b@c>;\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\n"
	if got := string(v.Append(nil)); got != want {
		t.Errorf("%q", got)
	}
	if got := string(AppendReturnPath(nil, address.Address{})); got != "Return-Path: <>\r\n" {
		t.Errorf("%q", got)
	}
	f := string(AppendField(nil, "X-Test", strings.Repeat("word\r\nBcc: ", 30)))
	for line := range strings.Lines(f) {
		if len(line) > 80 || !strings.HasPrefix(line, "X-Test:") && line[0] != ' ' {
			t.Errorf("line %q", line)
		}
	}
	if a, b := NewMessageID("x"), NewMessageID("x"); a == b || !strings.HasSuffix(a, "@x>") {
		t.Errorf("%s %s", a, b)
	}
}

func TestToUTF8KnowsCharsets(t *testing.T) {
	for _, tt := range []struct {
		text, charset, want string
		ok                  bool
	}{
		{"caf\xe9", "ISO-8859-1", "café", true},
		{"café", "utf-8", "café", true},
		{"caf\xe9", "utf-8", "", false},
		{"\x1b$B4A;z\x1b(B", "iso-2022-jp", "漢字", true},
		{"x", "x-no-such", "", false},
	} {
		got, ok := ToUTF8([]byte(tt.text), tt.charset)
		if ok != tt.ok || ok && string(got) != tt.want {
			t.Errorf("%q in %s: %q %v", tt.text, tt.charset, got, ok)
		}
	}
}
