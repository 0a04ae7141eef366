package transfer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"posthorn/storage"
)

// disk makes files, with a time for messages.
func disk(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		folder := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			folder = path
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if folder == path {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1_000_000_000, 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMaildirOfManyKinds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al := h.account("al")
	dir := t.TempDir()
	disk(t, dir, map[string]string{
		"dovecot-keywords":              "0 work\n1 fun fair\nbroken\n",
		"cur/1000.a:2,SRab":             "Subject: 1\n\n1\n",
		"cur/2000.b:2,FPTD":             "Subject: 2\r\n\r\n2\r\n",
		"cur/3000.c,S=10:2,":            "Subject: 3\r\r3",
		"new/999.d":                     "Subject: 0\n\n0\n",
		"tmp/5.tmp":                     "not yet there",
		".Sent/cur/1.s:2,S":             mail(1),
		".A.B&AMQ-/cur/1.s:2,S":         mail(2),
		".A.x&AC4-y/new/1.s":            mail(3),
		".not utf-7 \xff/cur/":          "",
		"nested/deep/cur/1.s":           mail(4),
		"nested/other/file":             "no Maildir",
		"cur/.hidden":                   "no message",
		".Sent/courierimapkeywords/cur": "a file, not a folder",
	})
	im, problems := h.importer(al)
	done, err := im.Maildir(t.Context(), dir)
	h.tally(done, Tally{Done: 8}, err)
	want := []string{
		"INBOX: 1000000000 flags 0 [] 17 octets ",
		"INBOX: 1000000000 flags 11 [fun_fair work] 17 octets ",
		"INBOX: 1000000000 flags 11100 [$Forwarded] 17 octets ",
		"INBOX: 1000000000 flags 0 [] 17 octets ",
	}
	var got []string
	all := h.dump(al, false)
	for _, line := range all {
		if strings.HasPrefix(line, "INBOX:") {
			got = append(got, line[:strings.Index(line, "octets ")+7])
		}
	}
	for _, box := range []string{"A/BÄ", "A/x.y", "not utf-7 _", "nested/deep"} {
		if !slices.Contains(all, "mailbox "+box) {
			t.Errorf("mailbox %s is missing in %q", box, all)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("INBOX has %q, want %q", got, want)
	}
	if text := h.text(al.ID, h.mailbox(al, "INBOX").ID, 4); text != "Subject: 3\r\n\r\n3\r\n" {
		t.Errorf("bare CR became %q", text)
	}
	if len(*problems) > 0 {
		t.Error(*problems)
	}
}

func TestBrokenMessagesAreToldAndSkipped(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al := h.account("al")
	dir := t.TempDir()
	disk(t, dir, map[string]string{
		"cur/1.empty":  "",
		"cur/2.nul":    "Subject: x\n\na\x00b\n",
		"cur/3.binary": "MIME-Version: 1.0\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: binary\n\na\x00b\n",
		"cur/4.good":   mail(1),
		"cur/5.dir/x":  "a folder",
		"secret":       mail(2),
	})
	h.must(os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "cur", "6.link")))
	h.must(syscall.Mkfifo(filepath.Join(dir, "cur", "7.pipe"), 0o600))
	for range 2 {
		im, problems := h.importer(al)
		done, err := im.Maildir(t.Context(), dir)
		if err != nil || done.Failed != 5 || done.Done+done.Present != 2 {
			t.Errorf("tally %+v, %v", done, err)
		}
		for i, name := range []string{"1.empty: the message is empty", "2.nul: the message has NUL octets", "5.dir", "6.link", "7.pipe"} {
			if i >= len(*problems) || !strings.Contains((*problems)[i], name) {
				t.Errorf("problems %q, want %q", *problems, name)
			}
		}
	}
	if text := h.text(al.ID, h.mailbox(al, "INBOX").ID, 1); !strings.Contains(text, "base64\r\n") || !strings.HasSuffix(text, "\r\n\r\nYQBiCg==\r\n") {
		t.Errorf("the binary message became %q", text)
	}
	im, _ := h.importer(al)
	if _, err := im.Maildir(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "no Maildir") {
		t.Errorf("a folder without Maildir: %v", err)
	}
	if _, err := im.Maildir(t.Context(), filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a folder that is not there was imported")
	}
}

func TestUIDLsOfOtherServersStay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		files  map[string]string
		format UIDLFormat
		want   []string
	}{
		{"dovecot 3", map[string]string{"dovecot-uidlist": "3 V1234 N9 Gabc\n7 W99 Pmy-own :2.b,S=10:2,S\n8 :1.a\n"}, "", []string{"my-own", "00000008000004d2"}},
		{"dovecot 1", map[string]string{"dovecot-uidlist": "1 1234 9\n7 2.b,S=10\n8 1.a\n"}, "", []string{"00000007000004d2", "00000008000004d2"}},
		{"dovecot with a format", map[string]string{"dovecot-uidlist": "3 V1234 N9\n7 :2.b,S=10\n8 :1.a\n"}, "%v.%u", []string{"1234.7", "1234.8"}},
		{"courier 2", map[string]string{"courierpop3dsizelist": "/2 9 1234\n1.a 10 5:77\n2.b,S=10:2,S 20 6:0\n"}, "", []string{"UID5-77", "UID6"}},
		{"courier 3", map[string]string{"courierpop3dsizelist": "/3 9 1234\n1.a 10 5:77:0\n2.b,S=10:2,S 20 0:0:1\n"}, "", []string{"UID5-77", "2.b,S=10"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			al := h.account("al")
			dir := t.TempDir()
			disk(t, dir, tt.files)
			disk(t, dir, map[string]string{"cur/1.a:2,": mail(1), "cur/2.b,S=10:2,S": mail(2)})
			im, problems := h.importer(al)
			im.UIDL = tt.format
			done, err := im.Maildir(t.Context(), dir)
			h.tally(done, Tally{Done: 2}, err)
			ids, err := h.store.UIDLs(t.Context(), al.ID, h.mailbox(al, "INBOX").ID, []storage.UID{1, 2})
			if err != nil || !slices.Equal(ids, tt.want) || len(*problems) > 0 {
				t.Errorf("unique-ids %q, %v, %v; want %q", ids, err, *problems, tt.want)
			}
		})
	}
}

func TestSubscriptionsComeAlong(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"dovecot 2": {"subscriptions": "V\t2\n\nA\tB\n"},
		"dovecot 1": {"subscriptions": "A.B\n"},
		"courier":   {"courierimapsubscribed": "INBOX.A.B\n"},
	} {
		h := newHouse(t)
		al := h.account("al")
		dir := t.TempDir()
		disk(t, dir, files)
		disk(t, dir, map[string]string{"cur/": "", ".A.B/cur/": "", ".A.C/cur/": ""})
		im, _ := h.importer(al)
		done, err := im.Maildir(t.Context(), dir)
		h.tally(done, Tally{}, err)
		names, err := h.store.Subscriptions(t.Context(), al.ID)
		if err != nil || !slices.Contains(names, "A/B") || slices.Contains(names, "A/C") {
			t.Errorf("%s: subscribed %q, %v", name, names, err)
		}
	}
}

func TestAnImportStopsAtTheQuota(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al := h.account("al")
	h.must(h.store.SetQuota(t.Context(), al.ID, 0, 7))
	dir := t.TempDir()
	files := map[string]string{}
	for i := range 10 {
		files["cur/"+string(rune('a'+i))] = mail(i)
	}
	disk(t, dir, files)
	im, _ := h.importer(al)
	done, err := im.Maildir(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "raise the quota") || done.Done != 7 {
		t.Errorf("tally %+v, %v", done, err)
	}
	h.must(h.store.SetQuota(t.Context(), al.ID, 0, 0))
	im, _ = h.importer(al)
	done, err = im.Maildir(t.Context(), dir)
	h.tally(done, Tally{Done: 3, Present: 7}, err)
}

func TestKeywordsThatTheMailboxHasNoRoomFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al := h.account("al")
	dir := t.TempDir()
	var more strings.Builder
	for _, file := range []string{"1.a", "2.b"} {
		more.WriteString(file)
		for i := range 50 {
			more.WriteString(" " + file + strings.Repeat("k", i+1))
		}
		more.WriteByte('\n')
	}
	disk(t, dir, map[string]string{"cur/1.a": mail(1), "cur/2.b": mail(2), moreKeywordsFile: more.String()})
	im, problems := h.importer(al)
	done, err := im.Maildir(t.Context(), dir)
	h.tally(done, Tally{Done: 2}, err)
	if len(*problems) != 1 || !strings.Contains((*problems)[0], "its keywords stay behind") {
		t.Error(*problems)
	}
}
