package message

import (
	"strings"
	"testing"
)

func TestPartStructure(t *testing.T) {
	const text = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" +
		"--a\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n" +
		"--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: image/png; name=\"a (b\\\"\"\r\n\r\nx\r\n--b\r\nContent-Type: text/html\r\n\r\ny\r\n--b--\r\n" +
		"--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: plain\r\n\r\nz\r\n--a--\r\n"
	p, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path    []uint32
		section Section
		want    string // the type, or "" for none
	}{
		{nil, SectionAll, `(("text"`}, {nil, SectionText, `(("text"`},
		{[]uint32{1}, SectionAll, `("text" "plain"`}, {[]uint32{1, 1}, SectionAll, ""}, {[]uint32{2}, SectionAll, `("message" "rfc822"`},
		{[]uint32{2}, SectionText, `(("image"`}, {[]uint32{2, 1}, SectionAll, `("image" "png"`}, {[]uint32{2, 2}, SectionAll, `("text" "html"`},
		{[]uint32{2, 3}, SectionAll, ""}, {[]uint32{3, 1}, SectionAll, `("text" "plain"`}, {[]uint32{3, 2}, SectionAll, ""},
		{[]uint32{3, 1, 1}, SectionAll, ""}, {[]uint32{4}, SectionAll, ""}, {[]uint32{0}, SectionAll, ""}, {[]uint32{1}, SectionText, ""},
	} {
		b, ok := AppendPartStructure(nil, p.Structure, c.path, c.section)
		if ok != (c.want != "") || !strings.HasPrefix(string(b), c.want) || strings.Count(string(b), "((") < strings.Count(c.want, "((") {
			t.Errorf("%v: %q, %v; want %q", c.path, b, ok, c.want)
		}
		if _, _, there := Parts(p.Parts).Range(c.path, c.section, 0); there != ok {
			t.Errorf("%v: the structure says %v, the table %v", c.path, ok, there)
		}
	}
	part, _ := AppendPartStructure(nil, p.Structure, []uint32{1}, SectionAll)
	if got := string(AppendReturnedStructure(nil, part, "7bit", 2)); !strings.Contains(got, ` "7bit" 2 0 NIL`) {
		t.Errorf("%s becomes %s", part, got)
	}
	if got := string(AppendReturnedStructure(nil, part, "", 3)); !strings.Contains(got, ` "base64" 3 0 NIL`) {
		t.Errorf("%s becomes %s", part, got)
	}
	if got := AppendReturnedStructure(nil, p.Structure, "7bit", 3); string(got) != string(p.Structure) {
		t.Errorf("a multipart becomes %s", got)
	}
}

// What the table has as a part has a structure. (So has the empty part that stands for
// a multipart's missing ones.)
func FuzzPartStructure(f *testing.F) {
	for _, text := range []string{
		"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nz\r\n--a--\r\n",
		"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: x\r\n\r\ny\r\n",
		"Content-Type: multipart/mixed; boundary=a\r\n\r\nno parts\r\n", "Content-Type: message/rfc822\r\n\r\n", "Subject: x\r\n\r\n",
		"Content-Type: text/plain; name*=utf-8''%e4%b8%ad%22\r\nContent-Description: a\\\"(b\r\n\r\n",
	} {
		f.Add(text)
	}
	paths := [][]uint32{nil, {1}, {2}, {3}, {1, 1}, {1, 2}, {2, 1}, {2, 2}, {1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 1, 1}}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, path := range paths {
			for _, section := range []Section{SectionAll, SectionText} {
				b, ok := AppendPartStructure(nil, p.Structure, path, section)
				_, _, there := Parts(p.Parts).Range(path, section, 0)
				if there && !ok {
					t.Errorf("%v %d: the table has it, the structure not: %s", path, section, p.Structure)
				}
				if !ok {
					continue
				}
				s := structureScanner{b: AppendReturnedStructure(nil, b, "7bit", 1)}
				if item := s.item(); len(item) != len(s.b) || len(item) == 0 || item[0] != '(' {
					t.Errorf("%v: %s is not one list", path, s.b)
				}
			}
		}
	})
}
