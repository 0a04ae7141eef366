package wire

import (
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
)

func TestAppendStrings(t *testing.T) {
	long := strings.Repeat("x", maxQuoted+1)
	for _, c := range []struct {
		in, str, strUTF8, astring string
	}{
		{"", `""`, `""`, `""`},
		{"abc", `"abc"`, `"abc"`, `abc`},
		{"a]", `"a]"`, `"a]"`, `a]`},
		{"nil", `"nil"`, `"nil"`, `"nil"`},
		{`a"b\`, `"a\"b\\"`, `"a\"b\\"`, `"a\"b\\"`},
		{"a b*", `"a b*"`, `"a b*"`, `"a b*"`},
		{"a\r\n", "{3}\r\na\r\n", "{3}\r\na\r\n", "{3}\r\na\r\n"},
		{"é", "{2}\r\né", `"é"`, "{2}\r\né"},
		{"\xff", "{1}\r\n\xff", "{1}\r\n\xff", "{1}\r\n\xff"},
		{long, "{1025}\r\n" + long, "{1025}\r\n" + long, "{1025}\r\n" + long},
	} {
		for got, want := range map[string]string{
			string(AppendString(nil, c.in, false)):               c.str,
			string(AppendStringBytes(nil, []byte(c.in), false)):  c.str,
			string(AppendString(nil, c.in, true)):                c.strUTF8,
			string(AppendNString(nil, []byte(c.in), true)):       c.strUTF8,
			string(AppendAString(nil, c.in, false)):              c.astring,
			string(AppendAStringBytes(nil, []byte(c.in), false)): c.astring,
		} {
			if got != want {
				t.Errorf("%q: got %q, want %q", c.in, got, want)
			}
		}
	}
	if got := string(AppendNString(nil, nil, false)); got != "NIL" {
		t.Error(got)
	}
	if got := string(AppendLiteralHeader(nil, 7, true)); got != "~{7}\r\n" {
		t.Error(got)
	}
}

func TestAppendMailbox(t *testing.T) {
	for _, c := range [][3]string{
		{"INBOX", "INBOX", "INBOX"}, {"a b", `"a b"`, `"a b"`}, {"a/é", `"a/&AOk-"`, `"a/é"`}, {"R&D", `"R&-D"`, "R&D"},
		{`"é`, `"\"&AOk-"`, `"\"é"`}, {`\é`, `"\\&AOk-"`, `"\\é"`}, {"", `""`, `""`},
	} {
		if got := string(AppendMailbox(nil, c[0], false)); got != c[1] {
			t.Errorf("%q: got %q, want %q", c[0], got, c[1])
		}
		if got := string(AppendMailbox(nil, c[0], true)); got != c[2] {
			t.Errorf("%q in UTF-8: got %q, want %q", c[0], got, c[2])
		}
	}
}

func TestAppendDateTime(t *testing.T) {
	for want, at := range map[string]time.Time{
		`"17-Jul-1996 02:44:25 -0700"`: time.Date(1996, 7, 17, 2, 44, 25, 0, time.FixedZone("", -7*3600)),
		`" 1-Jan-2026 23:00:09 +0530"`: time.Date(2026, 1, 1, 23, 0, 9, 999, time.FixedZone("", 5*3600+1800)),
		`"31-Dec-1969 00:00:00 +0000"`: time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC),
	} {
		got := string(AppendDateTime(nil, at))
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if back, ok := parseDateTime([]byte(got[1 : len(got)-1])); !ok || back.Unix() != at.Unix() {
			t.Errorf("%s reads back as %v", got, back)
		}
	}
}

func TestAppendResponses(t *testing.T) {
	uids := []goimap.UID{4, 5, 9}
	for want, got := range map[string][]byte{
		"a1 OK [READ-WRITE] Selected\r\n":                AppendStatus(nil, "a1", OK, "READ-WRITE", "Selected"),
		"* BYE (x] ?a?\r\n":                              AppendStatus(nil, "", BYE, "", "[x] \ra\u00e9"),
		"* OK [X] [y]\r\n":                               AppendStatus(nil, "", OK, "X", "[y]"),
		"a BAD Done\r\n":                                 AppendStatus(nil, []byte("a"), BAD, "", ""),
		"* OK [UIDNEXT 7] Next\r\n":                      EndStatus(AppendCodeNumber(BeginStatus(nil, "", OK), "UIDNEXT", 7), "Next"),
		"* OK [PERMANENTFLAGS (\\Seen \\*)] Flags\r\n":   EndStatus(AppendCodeFlags(BeginStatus(nil, "", OK), "PERMANENTFLAGS", []string{`\Seen`, `\*`}), "Flags"),
		"a NO [MODIFIED 4:5,9] Some\r\n":                 EndStatus(AppendCodeSet(BeginStatus(nil, "a", NO), "MODIFIED", uids), "Some"),
		"a OK [APPENDUID 3 4:5,9] Done\r\n":              EndStatus(AppendAppendUID(BeginStatus(nil, "a", OK), 3, uids), ""),
		"a OK [COPYUID 3 4:5,9 10:12] Done\r\n":          EndStatus(AppendCopyUID(BeginStatus(nil, "a", OK), 3, uids, []goimap.UID{10, 11, 12}), ""),
		"* ESEARCH (TAG \"a\\\\1\") UID MIN 4 ALL 4:5,9": AppendESearchAll(AppendESearchNumber(BeginESearch(nil, `a\1`, true), "MIN", 4), uids),
		"* ESEARCH (TAG \"a\") COUNT 0":                  AppendESearchAll[uint32](AppendESearchNumber(BeginESearch(nil, "a", false), "COUNT", 0), nil),
		"()":                                             AppendFlags[string](nil, nil),
	} {
		if string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestEncoderAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 4096)
	uids := []uint32{1, 2, 3, 7, 9, 10}
	set := mustSet(t, "1:5,8,10:*")
	flags := []goimap.Flag{goimap.FlagSeen, "$Junk"}
	field := []byte("Subject é")
	at := time.Date(2026, 1, 1, 23, 0, 9, 0, time.FixedZone("", 5*3600))
	section := &Section{Part: []uint32{1, 2}, Spec: SectionHeaderFields, Fields: [][]byte{field}}
	if n := testing.AllocsPerRun(100, func() {
		b := AppendStatus(buf[:0], "a1", OK, "READ-ONLY", "Done")
		b = AppendString(b, "a \"b\" é", true)
		b = AppendNString(b, field, true)
		b = AppendMailbox(b, "Entwürfe/日本語 \"x\"", false)
		b = AppendFlags(b, flags)
		b = AppendDateTime(b, at)
		b = AppendNumbers(b, uids)
		b = AppendSet(b, set)
		b = AppendSection(b, section)
		b = AppendCopyUID(b, 1, uids, uids)
		AppendESearchAll(BeginESearch(b, "a1", true), uids)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendFetchFlags(b *testing.B) {
	buf := make([]byte, 0, 4096)
	flags := []goimap.Flag{goimap.FlagSeen, goimap.FlagAnswered, "$Forwarded"}
	b.ReportAllocs()
	for i := range b.N {
		buf = AppendNumber(append(buf[:0], "* "...), uint64(i))
		buf = append(buf, " FETCH (UID "...)
		buf = AppendNumber(buf, uint64(i)+1000)
		buf = AppendFlags(append(buf, " FLAGS "...), flags)
		buf = append(buf, ")\r\n"...)
	}
}

func BenchmarkAppendString(b *testing.B) {
	buf := make([]byte, 0, 4096)
	s := strings.Repeat("Re: plain subject ", 4)
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for range b.N {
		buf = AppendString(buf[:0], s, true)
	}
}

func BenchmarkAppendDateTime(b *testing.B) {
	buf := make([]byte, 0, 64)
	at := time.Date(2026, 1, 1, 23, 0, 9, 0, time.UTC)
	b.ReportAllocs()
	for range b.N {
		buf = AppendDateTime(buf[:0], at)
	}
}

func BenchmarkAppendNumbers(b *testing.B) {
	uids := make([]uint32, 10000)
	for i := range uids {
		uids[i] = uint32(i + i/10)
	}
	buf := make([]byte, 0, 1<<16)
	b.ReportAllocs()
	for range b.N {
		buf = AppendNumbers(buf[:0], uids)
	}
}

func BenchmarkPatternMatch(b *testing.B) {
	p := CompilePattern("Archive/%/2*")
	b.ReportAllocs()
	for range b.N {
		p.Match("Archive/Lists/2026/January")
	}
}

func BenchmarkReadCommand(b *testing.B) {
	const line = "a1 UID FETCH 1:100 (FLAGS UID)\r\n"
	src := strings.NewReader("")
	block := strings.Repeat(line, 1000)
	r := NewReader(src, Limits{}, Hooks{})
	var set Set
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for i := range b.N {
		if i%1000 == 0 {
			src.Reset(block)
		}
		_, _, err := r.ReadCommand()
		if err == nil && r.SP() == nil {
			_, err = r.Keyword()
		}
		if err == nil && r.SP() == nil {
			err = r.Set(&set)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
