package transfer

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posthorn/storage"
)

// split parts a file; each message follows its From_ line's date.
func split(text string) (messages []string, dates []time.Time, err error) {
	s, err := newSplitter(strings.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	for at, more := s.more(); more; at, more = s.more() {
		dates = append(dates, s.date())
		var b, again bytes.Buffer
		if err := s.copy(&b); err != nil {
			return nil, nil, err
		}
		if err := s.rewind(at); err != nil {
			return nil, nil, err
		}
		if err := s.copy(&again); err != nil || again.String() != b.String() {
			return nil, nil, errors.New("a second copy differs")
		}
		messages = append(messages, b.String())
	}
	return messages, dates, nil
}

func TestMboxFilesArePartedAtFromLines(t *testing.T) {
	const from = "From a@b Mon Jan  2 15:04:05 2006\n"
	long := strings.Repeat("x", 200_000)
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"two":                      {from + "A: b\n\nc\n\n" + from + "D: e\n\n", []string{"A: b\n\nc\n", "D: e\n"}},
		"no empty line at the end": {from + "A: b\n\nc", []string{"A: b\n\nc"}},
		"empty lines at the end":   {from + "A: b\n\nc\n\n\n\n" + from + "D: e\n\n\n", []string{"A: b\n\nc\n\n\n", "D: e\n\n"}},
		"CRLF":                     {"From a Mon Jan  2 15:04:05 2006\r\nA: b\r\n\r\nc\r\n\r\n" + from + "D: e\n\n", []string{"A: b\r\n\r\nc\r\n", "D: e\n"}},
		"quoted":                   {from + "A: b\n\n>From x\n>>From y\n> From\n>Fro\n", []string{"A: b\n\nFrom x\n>From y\n> From\n>Fro\n"}},
		"quoted after empty lines": {from + "A: b\n\nx\n\n>From x\n", []string{"A: b\n\nx\n\nFrom x\n"}},
		"not quoted":               {from + "A: b\n\nc\n\nFrom here on we go\n" + from, []string{"A: b\n\nc\n\nFrom here on we go\n" + from}},
		"from Thunderbird":         {"From - Mon Jan 02 15:04:05 2006\nA: b\n\nc\n\nFrom \nD: e\n\nf\n\nFrom - \nG: h\n\n", []string{"A: b\n\nc\n", "D: e\n\nf\n", "G: h\n"}},
		"without a date":           {"From a@b\nA: b\n\nc\n\nFrom d@e\nD: e\n\n", []string{"A: b\n\nc\n", "D: e\n"}},
		"no text":                  {from + "\n" + from + "\n" + from, []string{"", "", ""}},
		"long lines":               {from + long + "\n>" + long + "\n\n" + from + ">" + strings.Repeat(">", 100_000) + "From \n\n", []string{long + "\n>" + long + "\n", strings.Repeat(">", 100_000) + "From \n"}},
		"a long line as From":      {from + "A: b\n\n\nFrom " + long + " Mon Jan  2 15:04:05 2006\n", []string{"A: b\n\n\nFrom " + long + " Mon Jan  2 15:04:05 2006\n"}},
		"only a From line":         {"From x", []string{""}},
		"NUL and CR":               {from + "A\x00\r\r\n\r\n\r\r\n", []string{"A\x00\r\r\n\r\n\r\r\n"}},
	} {
		got, _, err := split(tt.text)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %.300q, %v; want %.300q", name, got, err, tt.want)
		}
	}
	for text, want := range map[string]error{"": io.EOF, "Subject: x\n": errNoMbox, "\n" + from: errNoMbox, ">From x\n": errNoMbox} {
		if _, _, err := split(text); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func TestFromLinesHaveDatesOfManyForms(t *testing.T) {
	for text, want := range map[string]int64{
		"a@b Mon Jan  2 15:04:05 2006":                 1136214245,
		"Mon Jan  2 15:04:05 2006":                     1136214245,
		"a b at c.d Mon Jan 02 15:04:05 2006":          1136214245,
		"- Mon Jan  2 15:04:05 2006":                   1136214245,
		"1234@xxx Mon Jan 02 15:04:05 +0100 2006":      1136210645,
		"a@b Mon Jan  2 15:04:05 2006 -0100":           1136217845,
		"a@b Mon Jan  2 15:04:05 UTC 2006":             1136214245,
		"a@b Mon Jan  2 15:04 2006":                    1136214240,
		"a@b Mon, 2 Jan 2006 15:04:05 +0000":           1136214245,
		"a@b Mon Jan  2 15:04:05 2006 remote from uu1": 1136214245,
	} {
		if got, ok := fromDate([]byte("From " + text + "\n")); !ok || got.Unix() != want {
			t.Errorf("%q: %v %v, want %d", text, got.Unix(), ok, want)
		}
	}
	for _, text := range []string{"a@b", "", "Mon", "Monday we met", "a@b Xyz Jan  2 15:04:05 2006", "Mon Jan 32 15:04:05 2006"} {
		if got, ok := fromDate([]byte("From " + text + "\n")); ok {
			t.Errorf("%q has a date: %v", text, got)
		}
	}
}

func TestMboxFieldsBecomeFlags(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al := h.account("al")
	dir := t.TempDir()
	const from = "From a@b Mon Jan  2 15:04:05 2006\n"
	disk(t, dir, map[string]string{"mail": "" +
		from + "X-IMAP: 1136214245 7\nStatus: RO\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\nno mail\n\n" +
		from + "Subject: 1\nStatus: RO\nX-Status: AF\nX-Keywords: work\n play\nX-UID: 5\nStatus: second\n\n1\n\n" +
		from + "X-Mozilla-Status: 1003\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: $label1 \nSubject: 2\n\n2\n\n" +
		from + "X-Mozilla-Status: 0009\nSubject: deleted\n\n\n" +
		"From a@b\nX-Status: DT\nX-UIDL: my-own\nReceived: from x\n by y;\n Tue, 03 Jan 2006 15:04:05 +0000\nReceived: from older; Mon, 02 Jan 2006 15:04:05 +0000\nSubject: 3\n\n3\n\n" +
		"From a@b\nDate: Wed, 04 Jan 2006 15:04:05 +0000\nSubject: 4\n\n4\n\n" +
		"From a@b\nSubject: 5\n\n5\n\n"})
	want := []string{
		"1136214245 flags 111 [play work] Subject: 1\r\nStatus: second\r\n\r\n1\r\n 00000005.43b940e5",
		"1136214245 flags 11 [$Forwarded $label1] Subject: 2\r\n\r\n2\r\n",
		"1136300645 flags 11000 [] Received: from x\r\n by y;\r\n Tue, 03 Jan 2006 15:04:05 +0000\r\nReceived: from older; Mon, 02 Jan 2006 15:04:05 +0000\r\nSubject: 3\r\n\r\n3\r\n my-own",
		"1136387045 flags 0 [] Date: Wed, 04 Jan 2006 15:04:05 +0000\r\nSubject: 4\r\n\r\n4\r\n",
		"1000000000 flags 0 [] Subject: 5\r\n\r\n5\r\n",
	}
	for round := range 2 {
		im, problems := h.importer(al)
		im.UIDL = "%08Xu.%08Xv"
		done, err := im.Mbox(t.Context(), filepath.Join(dir, "mail"))
		h.tally(done, []Tally{{Done: 5}, {Present: 5}}[round], err)
		if len(*problems) > 0 {
			t.Error(*problems)
		}
	}
	for i, line := range h.dump(al, true)[1:6] {
		words := strings.Fields(line)
		text := h.text(al.ID, h.mailbox(al, "INBOX").ID, storage.UID(i+1))
		got, _, _ := strings.Cut(strings.TrimPrefix(line, "INBOX: "), " octets ")
		got = got[:strings.LastIndexByte(got, ' ')] + " " + text
		if id := words[len(words)-1]; strings.Contains(want[i], id) {
			got += " " + id
		}
		if got != want[i] {
			t.Errorf("message %d:\n got %q\nwant %q", i+1, got, want[i])
		}
	}
}

func TestFoldersOfMboxFiles(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al := h.account("al")
	dir := t.TempDir()
	text := "From a@b Mon Jan  2 15:04:05 2006\nSubject: x\n\nx\n\n"
	disk(t, dir, map[string]string{
		"Inbox": text, "Inbox.msf": "index", "Archive.sbd/2020": text, "Apple.mbox/mbox": text, "deep/A.mbox": text,
		"none.mbox": "", ".hidden": text, ".imap/x": text, "Entw&APw-rfe": text, "half.txt": "Fro", "empty": "",
	})
	im, problems := h.importer(al)
	done, err := im.Mbox(t.Context(), dir)
	h.tally(done, Tally{Done: 5}, err)
	all := h.dump(al, false)
	for _, name := range []string{"Archive/2020", "Apple", "deep/A", "none", "Entwürfe"} {
		if !slices.Contains(all, "mailbox "+name) {
			t.Errorf("%s is missing in %q", name, all)
		}
	}
	if strings.Contains(strings.Join(all, "\n"), "hidden") || len(*problems) > 0 {
		t.Error(all, *problems)
	}
	im, problems = h.importer(al)
	done, err = im.Mbox(t.Context(), filepath.Join(dir, "Inbox.msf"))
	if err != nil || done.Failed != 1 || !strings.Contains(strings.Join(*problems, ""), "not an mbox file") {
		t.Errorf("tally %+v, %v, %v", done, err, *problems)
	}
	im, _ = h.importer(al)
	if _, err = im.Mbox(t.Context(), filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err = im.Maildir(t.Context(), filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	if _, err = im.Maildir(t.Context(), filepath.Join(dir, "Inbox.msf")); err == nil || !strings.Contains(err.Error(), "import mbox") {
		t.Errorf("a file for a Maildir: %v", err)
	}
}

// What the exporter writes the splitter reads back, whatever the text.
func FuzzMbox(f *testing.F) {
	f.Add([]byte("Subject: x\n\nFrom me\n>From you\n\n"), []byte("From a Mon Jan  2 15:04:05 2006\nA: b\n\nFrom \nX: y\n>>From x"), uint16(7))
	f.Add([]byte(">"), []byte("From \r\n\r\n\r\nFrom -\nA:\n"), uint16(1))
	f.Fuzz(func(t *testing.T, text, file []byte, cut uint16) {
		var out bytes.Buffer
		for range 2 {
			out.WriteString("From x Mon Jan  2 15:04:05 2006\n")
			q := quoter{w: &out, start: true}
			at := int(cut) % (len(text) + 1)
			for _, piece := range [][]byte{text[:at], text[at:]} {
				if _, err := q.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			if err := q.close(); err != nil {
				t.Fatal(err)
			}
			out.WriteString("\n")
		}
		want := string(text)
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		got, _, err := split(out.String())
		if err != nil || !slices.Equal(got, []string{want, want}) {
			t.Fatalf("%q came back as %q, %v", want, got, err)
		}

		// Any file: no octet comes twice, and copying ends.
		messages, _, err := split(string(file))
		size := 0
		for _, m := range messages {
			size += len(m)
		}
		if err == nil && size > len(file) {
			t.Fatalf("%q has %d octets in %q", file, size, messages)
		}
		meta := metaFilter{}
		meta.reset(&out)
		at := int(cut) % (len(file) + 1)
		meta.Write(file[:at])
		meta.Write(file[at:])
		if err := meta.close(); err != nil {
			t.Fatal(err)
		}
		meta.into(&letter{})
	})
}
