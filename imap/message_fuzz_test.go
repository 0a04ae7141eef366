package imap

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// parsing is a session that can only read arguments, with a mailbox of three
// messages selected.
func parsing(t *testing.T, input string) *session {
	s := &session{srv: &Server{}, box: &view{
		uids: []storage.UID{2, 5, 9}, uidNext: 10, keywords: []string{"$One"}, saved: []storage.UID{5},
	}}
	s.rd = wire.NewReader(strings.NewReader("a x"+input+"\r\n"), wire.Limits{}, wire.Hooks{})
	if _, _, err := s.rd.ReadCommand(); err != nil {
		t.Skip("no command")
	}
	return s
}

func FuzzFetchArguments(f *testing.F) {
	for _, text := range []string{
		" 1:* ALL", " 1 (FLAGS UID RFC822.SIZE INTERNALDATE ENVELOPE BODY BODYSTRUCTURE MODSEQ)", " $ FAST",
		" 1 BODY[]<0.10>", " 1 (BODY.PEEK[1.2.HEADER.FIELDS.NOT (From \"To\")] BINARY[1] BINARY.SIZE[2])",
		" 1,3:* (PREVIEW (LAZY) EMAILID THREADID SAVEDATE) (CHANGEDSINCE 5)", " 1 RFC822.TEXT", " 1:* FLAGS (PARTIAL -1:-3 CHANGEDSINCE 5)", " 1 BODY[3.MIME]",
		" 1 BODY[HEADER.FIELDS ({4+}\r\nDate)]", " 1 BODY[]<9223372036854775807.9223372036854775807>",
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, input string, uid bool) {
		s := parsing(t, input)
		a, seen, err := s.readFetch(&call{uid: uid})
		if err != nil {
			return
		}
		if a.items == 0 && len(a.sections) == 0 {
			t.Error("nothing to fetch")
		}
		if len(a.sections) > maxSections {
			t.Errorf("%d sections", len(a.sections))
		}
		body := []byte("Subject: x\r\n\r\n")
		for i := range a.sections {
			x := &a.sections[i]
			if offset, n := x.clamp(int64(len(body))); offset < 0 || n < 0 || offset+n > int64(len(body)) {
				t.Errorf("%s clamps to %d, %d", x.name, offset, n)
			}
			if out := appendSection(nil, x, body); !bytes.HasPrefix(out, []byte(x.name)) {
				t.Errorf("%s gives %q", x.name, out)
			}
		}
		if seen && len(a.sections) == 0 {
			t.Error("\\Seen without a body")
		}
	})
}

func FuzzSearchArguments(f *testing.F) {
	for _, text := range []string{
		" ALL", " RETURN (MIN MAX SAVE) UNSEEN", " CHARSET UTF-8 TEXT x", " OR (SEEN FLAGGED) NOT (1:2 BODY x)",
		" HEADER From {1+}\r\nx SUBJECT \"\"", " UID 1:* $ 2:*", " SINCE 1-Feb-2020 SENTON 1-Feb-2020 SAVEDBEFORE 3-Mar-2021",
		" MODSEQ \"/flags/\\\\seen\" all 12", " OLDER 5 YOUNGER 6 LARGER 7 SMALLER 8", " KEYWORD $one UNKEYWORD x",
		" EMAILID M1 THREADID T2",
		" RETURN (PARTIAL -1:-50 SAVE COUNT) FUZZY (BODY x)", " RETURN (RELEVANCY PARTIAL 4294967295:1) FUZZY FUZZY SEEN UID 9:*", " NEW OLD RECENT", " NOT NOT NOT NOT (NOT BODY a) OR OR BODY b TEXT c BODY d",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, input string) {
		s := parsing(t, input)
		a, err := s.readSearch()
		if err != nil {
			return
		}
		if a.keys > maxSearchKeys || a.bodyKeys > maxBodyKeys || a.slots > a.keys {
			t.Errorf("%d keys, %d for bodies, %d slots", a.keys, a.bodyKeys, a.slots)
		}
		program := a.program.bind(s.box, time.Now().Unix())
		m := &storage.Message{UID: 5, Flags: storage.Seen, ModSeq: 7, Size: 8, Received: time.Now().Unix()}
		not := negate(program)
		for _, answer := range []truth{yes3, no3} {
			c := candidate{message: m, seq: 2, slots: make([]truth, a.slots)}
			early := program.eval(&c)
			if early == unknown && program.cost == costIndex {
				t.Error("the index is not enough")
			}
			for i := range c.slots {
				c.slots[i] = answer
			}
			late := program.eval(&c)
			if late == unknown || early != unknown && late != early {
				t.Errorf("first %d, then %d", early, late)
			}
			if not.eval(&c) != late.not() {
				t.Error("NOT is not the opposite")
			}
			program.open(&c, func(*searchKey) { t.Error("a key is open after all answers") })
		}
	})
}

func FuzzESearchArguments(f *testing.F) {
	for _, text := range []string{
		" ALL", " IN (selected) RETURN (SAVE UPDATE(UID) CONTEXT) $", " IN (personal inboxes subscribed) UNSEEN",
		" IN (mailboxes \"folder1\" subtree (a/b {1+}\r\nc) subtree-one &AOk-) RETURN (PARTIAL -1:-5) CHARSET UTF-8 FUZZY TEXT x",
		" IN (personal (DEPTH 1)) 1:*", " IN () ALL",
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, input string, selected bool) {
		s := parsing(t, input)
		if !selected {
			s.box = nil
		}
		m, err := s.readESearch()
		if err != nil {
			return
		}
		if len(m.sources) > maxSources || !selected && m.selected(s.box) {
			t.Errorf("%d sources", len(m.sources))
		}
		for i := range m.sources {
			f := &m.sources[i]
			if len(f.names) > maxFilterNames {
				t.Errorf("%d names", len(f.names))
			}
			for name := range f.names {
				if !f.matches(name, "", nil) || f.kind == filterSubtree && !f.matches(name+"/a/b", "", nil) ||
					f.kind != filterSubtree && f.matches(name+"/a/b", "", nil) && !f.names[name+"/a/b"] && !f.names[name+"/a"] {
					t.Errorf("%q does not match as it should", name)
				}
			}
		}
	})
}
