package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
)

// args returns a Reader that stands before text, the rest of a command.
func args(t testing.TB, text string) *Reader {
	t.Helper()
	r := NewReader(strings.NewReader("a CMD "+text+"\r\n"), Limits{}, Hooks{})
	if _, _, err := r.ReadCommand(); err != nil {
		t.Fatal(err)
	}
	if err := r.SP(); err != nil {
		t.Fatal(err)
	}
	return r
}

// Each reads one argument and renders it; "!" stands for a syntax error, or for
// text left behind the argument.
func TestArguments(t *testing.T) {
	str := func(f func(*Reader) ([]byte, error)) func(*Reader) (string, error) {
		return func(r *Reader) (string, error) { b, err := f(r); return string(b), err }
	}
	num := func(f func(*Reader) (uint32, error)) func(*Reader) (string, error) {
		return func(r *Reader) (string, error) { n, err := f(r); return fmt.Sprint(n), err }
	}
	readers := map[string]func(*Reader) (string, error){
		"atom":    str((*Reader).Atom),
		"keyword": str((*Reader).Keyword),
		"name":    str((*Reader).Name),
		"quoted":  str((*Reader).Quoted),
		"string":  str((*Reader).Str),
		"astring": str((*Reader).AString),
		"ir":      str((*Reader).InitialResponse),
		"nstring": func(r *Reader) (string, error) {
			b, ok, err := r.NString()
			return fmt.Sprintf("%s %v", b, ok), err
		},
		"number":    num((*Reader).Number),
		"nz-number": num((*Reader).NZNumber),
		"number64":  func(r *Reader) (string, error) { n, err := r.Number64(); return fmt.Sprint(n), err },
		"date": func(r *Reader) (string, error) {
			d, err := r.Date()
			return d.Format(time.DateOnly), err
		},
		"date-time": func(r *Reader) (string, error) { d, err := r.DateTime(); return d.Format(time.RFC3339), err },
		"flag":      func(r *Reader) (string, error) { f, err := r.Flag(); return string(f), err },
		"flags":     func(r *Reader) (string, error) { f, err := r.StoreFlags(nil); return fmt.Sprint(f), err },
		"set": func(r *Reader) (string, error) {
			var s Set
			err := r.Set(&s)
			return string(AppendSet(nil, &s)), err
		},
		"partial": func(r *Reader) (string, error) { o, n, err := r.Partial(); return fmt.Sprint(o, n), err },
		"section": func(r *Reader) (string, error) {
			var s Section
			err := r.Section(&s)
			return string(AppendSection(nil, &s)), err
		},
		"mailbox": func(r *Reader) (string, error) { return r.Mailbox() },
		"list":    func(r *Reader) (string, error) { return r.ListMailbox() },
		"ext":     func(r *Reader) (string, error) { return "", r.SkipTaggedExtValue() },
	}
	for _, c := range [][3]string{
		{"atom", "INBOX", "INBOX"}, {"atom", "a[b]", "!"}, {"atom", "a*", "!"}, {"atom", "~&+x", "~&+x"},
		{"atom", "a\x7f", "!"}, {"atom", "\xc3\xa9", "!"}, {"atom", "", "!"},
		{"keyword", "+flags.Silent", "+FLAGS.SILENT"},
		{"name", "body.peek", "BODY.PEEK"}, {"name", "(", "!"},
		{"quoted", `""`, ""}, {"quoted", `"a b"`, "a b"}, {"quoted", `"\"\\"`, `"\`}, {"quoted", `"\a"`, "!"},
		{"quoted", `"a`, "!"}, {"quoted", `"\`, "!"}, {"quoted", "\"a\x00\"", "!"}, {"quoted", "\"a\rb\"", "!"},
		{"quoted", "\"\xc3\xa9\"", "é"}, {"quoted", "\"\t\"", "\t"}, {"quoted", "a", "!"},
		{"string", "atom", "!"}, {"string", "{3+}\r\na\"b", `a"b`}, {"string", "{0}\r\n", ""}, {"string", "~{1+}\r\na", "!"},
		{"astring", "a]", "a]"}, {"astring", "]", "]"}, {"astring", "%", "!"}, {"astring", `"("`, "("},
		{"astring", "{5}\r\na\r\nbc", "a\r\nbc"}, {"astring", "NIL", "NIL"}, {"astring", "", "!"},
		{"nstring", "nil", " false"}, {"nstring", `"NIL"`, "NIL true"}, {"nstring", "NILE", "!"}, {"nstring", "x", "!"},
		{"ir", "=", ""}, {"ir", "AGEAYg==", "\x00a\x00b"}, {"ir", "AGEAYg", "!"}, {"ir", "a=bc", "!"}, {"ir", "*", "!"},
		{"number", "0", "0"}, {"number", "007", "7"}, {"number", "4294967295", "4294967295"}, {"number", "4294967296", "!"},
		{"number", "-1", "!"}, {"number", "", "!"}, {"nz-number", "0", "!"}, {"nz-number", "01", "!"}, {"nz-number", "9", "9"},
		{"number64", "9223372036854775807", "9223372036854775807"}, {"number64", "9223372036854775808", "!"},
		{"number64", "99999999999999999999999", "!"},
		{"date", "1-Feb-1994", "1994-02-01"}, {"date", `"01-FEB-1994"`, "1994-02-01"}, {"date", "29-feb-2024", "2024-02-29"},
		{"date", "29-Feb-2023", "!"}, {"date", "0-Feb-2023", "!"}, {"date", "1-Foo-2023", "!"}, {"date", "1-Feb-23", "!"},
		{"date", "001-Feb-2023", "!"}, {"date", "1-Feb-20233", "!"}, {"date", `" 1-Feb-2023"`, "!"}, {"date", "", "!"}, {"date", `"1`, "!"},
		{"date-time", `"17-Jul-1996 02:44:25 -0700"`, "1996-07-17T02:44:25-07:00"},
		{"date-time", `" 7-Jul-1996 23:59:60 +0000"`, "1996-07-08T00:00:00Z"},
		{"date-time", `"7-Jul-1996 02:44:25 -0700"`, "!"}, {"date-time", `"31-Jun-1996 02:44:25 -0700"`, "!"},
		{"date-time", `"17-Jul-1996 24:44:25 -0700"`, "!"}, {"date-time", `"17-Jul-1996 02:44:25 -0760"`, "!"},
		{"date-time", `"17-Jul-1996 02:44:25 UTC  "`, "!"}, {"date-time", `17-Jul-1996`, "!"}, {"date-time", `""`, "!"},
		{"flag", `\seen`, `\Seen`}, {"flag", `\XFoo`, `\XFoo`}, {"flag", "$Junk", "$Junk"}, {"flag", `\`, "!"}, {"flag", `\*`, "!"}, {"flag", "", "!"},
		{"flags", `()`, "[]"}, {"flags", `(\DELETED x)`, `[\Deleted x]`}, {"flags", `\Draft \Flagged`, `[\Draft \Flagged]`},
		{"flags", `(\Seen  x)`, "!"}, {"flags", `(\Seen `, "!"}, {"flags", `\Seen `, "!"}, {"flags", `( \Seen)`, "!"},
		{"set", "1", "1"}, {"set", "*", "*"}, {"set", "$", "$"}, {"set", "5:3,4,1:2", "1:5"}, {"set", "*:4,9:*", "4:*"},
		{"set", "2,*", "2,*"}, {"set", "*:*", "*"}, {"set", "1:4294967295", "1:4294967295"}, {"set", "0", "!"}, {"set", "1:0", "!"},
		{"set", "01", "!"}, {"set", "1,", "!"}, {"set", ",1", "!"}, {"set", "1:", "!"}, {"set", "1::2", "!"}, {"set", "$,1", "!"},
		{"set", "4294967296", "!"}, {"set", "1:2:3", "!"}, {"set", "", "!"}, {"set", "-1", "!"},
		{"partial", "<0.1>", "0 1"}, {"partial", "<4294967296.9223372036854775807>", "4294967296 9223372036854775807"},
		{"partial", "<0.0>", "!"}, {"partial", "<1>", "!"}, {"partial", "<1.2", "!"}, {"partial", "<.2>", "!"},
		{"section", "[]", "[]"}, {"section", "[1.2]", "[1.2]"}, {"section", "[header]", "[HEADER]"}, {"section", "[3.Text]", "[3.TEXT]"},
		{"section", "[1.mime]", "[1.MIME]"}, {"section", "[mime]", "!"}, {"section", "[0]", "!"}, {"section", "[1.]", "!"}, {"section", "[1..2]", "!"},
		{"section", "[header.fields (To \"x y\")]", "[HEADER.FIELDS (To \"x y\")]"},
		{"section", "[2.HEADER.FIELDS.NOT ({2+}\r\ncc)]", "[2.HEADER.FIELDS.NOT (cc)]"},
		{"section", "[header.fields ()]", "!"}, {"section", "[header.fields]", "!"}, {"section", "[HEADER", "!"}, {"section", "[BODY]", "!"}, {"section", "[(]", "!"},
		{"section", "[" + strings.Repeat("1.", maxPart) + "1]", "!"},
		{"mailbox", "inbox", "INBOX"}, {"mailbox", `"iNbOx/a"`, "INBOX/a"}, {"mailbox", "inboxes", "inboxes"}, {"mailbox", "&AOk-", "é"},
		{"mailbox", `"R&-D"`, "R&D"}, {"mailbox", "&AAA-", "!"}, {"mailbox", "\"\xc3\xa9\"", "!"}, {"mailbox", "a&", "!"}, {"mailbox", "a%", "!"}, {"mailbox", `""`, ""},
		{"list", "inbox/%*", "inbox/%*"}, {"list", `"*"`, "*"}, {"list", "{1}\r\n%", "%"}, {"list", "&AOk-*", "é*"}, {"list", "a(", "!"}, {"list", "]", "]"},
		{"ext", "1:*,5", ""}, {"ext", "()", ""}, {"ext", `(a "b" ({1+}` + "\r\n(" + ` c) ())`, ""}, {"ext", "(a", "!"}, {"ext", `"a"`, "!"}, {"ext", "(a))", "!"},
		{"ext", strings.Repeat("(", 40) + strings.Repeat(")", 40), "!"},
	} {
		r := args(t, c[1])
		got, err := readers[c[0]](r)
		if err == nil {
			err = r.CRLF()
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Tag != "a" {
				t.Errorf("%s %q: %v is no *Error with the tag", c[0], c[1], err)
			}
			got = "!"
		}
		if got != c[2] {
			t.Errorf("%s %q: got %q (%v), want %q", c[0], c[1], got, err, c[2])
		}
	}
}

func TestErrorKinds(t *testing.T) {
	r := args(t, "&&")
	_, err := r.Mailbox()
	expectKind(t, err, ErrName, "a")
	r = args(t, "1,3,5")
	r.lim.SetElements = 2
	expectKind(t, r.Set(new(Set)), ErrCommandTooBig, "a")
	r = args(t, strings.Repeat("(", 40)+strings.Repeat(")", 40))
	expectKind(t, r.SkipTaggedExtValue(), ErrCommandTooBig, "a")
}

func TestUTF8ModeReadsNamesAsTheyAre(t *testing.T) {
	for text, want := range map[string]string{
		"\"\xc3\xa9&-\"": "é&-", "&AOk-": "&AOk-", "{1+}\r\n\xff": "!", "\"\x7f\"": "!", "\"\t\"": "!",
		"\"\u0085\"": "!", "\"\u2028\"": "!", "{2+}\r\n\xc3\xa9": "é", "inbox": "INBOX",
	} {
		r := args(t, text)
		r.SetUTF8(true)
		got, err := r.Mailbox()
		if err != nil {
			expectKind(t, err, ErrName, "a")
			got = "!"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	r := args(t, "\"\xff\"")
	r.SetUTF8(true)
	_, err := r.Mailbox()
	expectKind(t, err, ErrSyntax, "a")
}

func TestFetchItemsReadInOneGo(t *testing.T) {
	r := args(t, "(FLAGS BODY.PEEK[1.HEADER.FIELDS (To)]<0.10> rfc822.size) (CHANGEDSINCE 7)")
	var got []string
	err := r.List(func() error {
		name, err := r.Name()
		if err != nil {
			return err
		}
		item := string(name)
		if r.Peek() == '[' {
			var s Section
			if err := r.Section(&s); err != nil {
				return err
			}
			item += string(AppendSection(nil, &s))
		}
		if r.Peek() == '<' {
			o, n, err := r.Partial()
			if err != nil {
				return err
			}
			item += fmt.Sprint(o, "+", n)
		}
		got = append(got, item)
		return nil
	})
	if err != nil || !r.TrySP() {
		t.Fatal(err)
	}
	want := []string{"FLAGS", "BODY.PEEK[1.HEADER.FIELDS (To)]0+10", "RFC822.SIZE"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if r.TryKeyword("X") || !r.TryByte('(') || r.TryKeyword("CHANGED") || !r.TryKeyword("CHANGEDSINCE") {
		t.Error("TryKeyword")
	}
}

func TestFlagsKeepGoImapsConstants(t *testing.T) {
	for _, f := range []goimap.Flag{goimap.FlagSeen, goimap.FlagAnswered, goimap.FlagFlagged, goimap.FlagDeleted, goimap.FlagDraft} {
		if got, err := args(t, strings.ToUpper(string(f))).Flag(); err != nil || got != f {
			t.Errorf("%q: %q %v", f, got, err)
		}
	}
}

func TestTryTextTakesAWholeMatchOnly(t *testing.T) {
	r := NewReader(strings.NewReader("a x (Lazy)y\r\n"), Limits{}, Hooks{})
	if _, _, err := r.ReadCommand(); err != nil {
		t.Fatal(err)
	}
	if r.TryText(" (LAZ)") || r.TryText(" (LAZY)YZ") || !r.TryText(" (LAZY)") || r.Peek() != 'y' {
		t.Errorf("stands at %q", r.Peek())
	}
}
