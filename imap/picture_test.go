package imap

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// picture is what a client knows of its mailbox from the server's words alone.
type picture struct {
	*client
	name     string
	qresync  bool
	tag      int
	messages []seenMessage // by sequence number
	log      []string
}

type seenMessage struct {
	uid   storage.UID
	flags map[string]bool // without \Recent
}

// newPicture selects INBOX and asks for all there is.
func newPicture(t *testing.T, h *harness, name string, enable string) *picture {
	p := &picture{client: h.login(t, alice), name: name, qresync: enable == "QRESYNC"}
	if enable != "" {
		p.do("ENABLE " + enable)
	}
	p.do("SELECT INBOX")
	p.catchUp()
	return p
}

// do runs a command and takes its answers into the picture; found is what a
// SEARCH answered.
func (p *picture) do(command string) (found []uint32) {
	p.t.Helper()
	p.tag++
	tag := p.name + strconv.Itoa(p.tag)
	p.log = append(p.log, "C "+tag+" "+command)
	p.send("%s %s", tag, command)
	// RFC 9051 7.5.1: no expunge is told in answer to these.
	word, _, _ := strings.Cut(command, " ")
	quiet := word == "FETCH" || word == "STORE" || word == "SEARCH"
	for {
		line := strings.TrimSuffix(p.expect(""), "\r\n")
		p.log = append(p.log, "S "+line)
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK ") && !strings.HasPrefix(rest, "NO [EXPUNGEISSUED] ") {
				p.fail("refused")
			}
			return found
		}
		found = append(found, p.take(line, quiet)...)
	}
}

func (p *picture) fail(format string, args ...any) {
	p.t.Helper()
	from := max(0, len(p.log)-40)
	p.t.Fatalf("%s: %s\n%s", p.name, fmt.Sprintf(format, args...), strings.Join(p.log[from:], "\n"))
}

// take follows one untagged response.
func (p *picture) take(line string, quiet bool) (found []uint32) {
	p.t.Helper()
	words := strings.Fields(line)
	switch {
	case words[1] == "VANISHED":
		if quiet || !p.qresync {
			p.fail("VANISHED out of place")
		}
		set, err := parseSet(words[2])
		if err != nil {
			p.fail("%v", err)
		}
		p.messages = slices.DeleteFunc(p.messages, func(m seenMessage) bool { return set.Contains(uint32(m.uid)) })
	case words[1] == "SEARCH" || words[1] == "ESEARCH":
		return p.takeFound(words)
	case len(words) < 3:
	case words[2] == "EXISTS":
		n := p.number(words[1])
		if n < len(p.messages) {
			p.fail("EXISTS shrinks")
		}
		p.messages = append(p.messages, make([]seenMessage, n-len(p.messages))...)
	case words[2] == "EXPUNGE":
		n := p.number(words[1])
		if quiet || p.qresync || n > len(p.messages) {
			p.fail("EXPUNGE out of place")
		}
		p.messages = slices.Delete(p.messages, n-1, n)
	case words[2] == "FETCH":
		p.takeFetch(p.number(words[1]), line)
	}
	return nil
}

func (p *picture) takeFound(words []string) (found []uint32) {
	if words[1] == "SEARCH" {
		for _, w := range words[2:] {
			found = append(found, uint32(p.number(w)))
		}
		return found
	}
	at := slices.Index(words, "ALL")
	if at < 0 {
		return nil
	}
	set, err := parseSet(words[at+1])
	if err != nil {
		p.fail("%v", err)
	}
	for _, r := range set.Ranges() {
		for n := r.First; n <= r.Last; n++ {
			found = append(found, n)
		}
	}
	return found
}

func (p *picture) takeFetch(n int, line string) {
	p.t.Helper()
	if n < 1 || n > len(p.messages) {
		p.fail("FETCH of an unknown message")
	}
	m := &p.messages[n-1]
	if _, rest, ok := strings.Cut(line, "UID "); ok {
		uid := storage.UID(p.number(strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == ')' })[0]))
		if m.uid != 0 && m.uid != uid {
			p.fail("message %d has UID %d, not %d", n, m.uid, uid)
		}
		m.uid = uid
	}
	if _, rest, ok := strings.Cut(line, "FLAGS ("); ok {
		list, _, _ := strings.Cut(rest, ")")
		m.flags = map[string]bool{}
		for _, f := range strings.Fields(list) {
			if f != `\Recent` {
				m.flags[f] = true
			}
		}
	}
}

func (p *picture) number(s string) int {
	p.t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		p.fail("%v", err)
	}
	return n
}

// catchUp asks for what the client does not know of new messages.
func (p *picture) catchUp() {
	p.t.Helper()
	for {
		first := slices.IndexFunc(p.messages, func(m seenMessage) bool { return m.uid == 0 || m.flags == nil })
		if first < 0 {
			return
		}
		p.do(fmt.Sprintf("FETCH %d:* (UID FLAGS)", first+1))
	}
}

// step does something at random and keeps the client's own account of it.
func (p *picture) step(r *rand.Rand) {
	p.t.Helper()
	seq, uid := "1", "1"
	first, last := 0, 0
	if n := len(p.messages); n > 0 {
		first = r.IntN(n)
		last = min(n-1, first+r.IntN(3))
		seq = fmt.Sprintf("%d:%d", first+1, last+1)
		uid = fmt.Sprintf("%d:%d", p.messages[first].uid, p.messages[last].uid)
	}
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, `$One`, `$Two`}[r.IntN(5)]
	op := []string{"", "+", "-"}[r.IntN(3)]
	if len(p.messages) == 0 {
		p.do("NOOP")
		return
	}
	switch r.IntN(14) {
	case 0, 1:
		p.do("STORE " + seq + " " + op + "FLAGS (" + flag + ")")
	case 2, 3:
		p.silent(first, last, op, flag, seq)
	case 4:
		p.do("UID STORE " + uid + " " + op + "FLAGS (" + flag + ")")
	case 5:
		p.do("EXPUNGE")
	case 6:
		p.do("UID EXPUNGE " + uid)
	case 7:
		p.do("COPY " + seq + " INBOX")
	case 8:
		p.do("UID MOVE " + uid + " INBOX")
	case 9:
		p.do("FETCH " + seq + " (FLAGS BODY[1]<100.1>)")
	case 10:
		p.do("UID FETCH " + uid + " (FLAGS)")
	case 11:
		p.searchAgrees()
	default:
		p.do("NOOP")
	}
}

// silent stores flags whose new value the client works out by itself.
func (p *picture) silent(first, last int, op, flag, seq string) {
	for i := first; i <= last; i++ {
		m := &p.messages[i]
		m.flags = maps.Clone(m.flags)
		switch op {
		case "":
			m.flags = map[string]bool{flag: true}
		case "+":
			m.flags[flag] = true
		default:
			delete(m.flags, flag)
		}
	}
	p.do("STORE " + seq + " " + op + "FLAGS.SILENT (" + flag + ")")
}

// searchAgrees compares a search with the picture, once that is up to date.
func (p *picture) searchAgrees() {
	p.t.Helper()
	p.do("NOOP")
	p.catchUp()
	found := p.do("SEARCH FLAGGED UNDELETED")
	var want []uint32
	for i := range p.messages {
		if m := &p.messages[i]; m.flags[`\Flagged`] && !m.flags[`\Deleted`] {
			want = append(want, uint32(i+1))
		}
	}
	if !slices.Equal(found, want) {
		p.fail("found %v, not %v", found, want)
	}
}

// equal compares the picture with the store.
func (p *picture) equal(h *harness, box storage.Mailbox) {
	p.t.Helper()
	p.do("NOOP")
	p.catchUp()
	ctx := context.Background()
	snap, err := h.store.Select(ctx, box.Account, box.ID, true)
	if err != nil {
		p.t.Fatal(err)
	}
	messages, err := h.store.Messages(ctx, box.Account, box.ID, snap.UIDs, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if len(messages) != len(p.messages) {
		p.fail("%d messages, the store has %d", len(p.messages), len(messages))
	}
	for i := range messages {
		m, have := &messages[i], &p.messages[i]
		if want := storedFlags(m, snap.Keywords); m.UID != have.uid || !maps.Equal(want, have.flags) {
			p.fail("message %d is %d %v, in the store %d %v", i+1, have.uid, have.flags, m.UID, want)
		}
	}
}

func storedFlags(m *storage.Message, keywords []string) map[string]bool {
	flags := map[string]bool{}
	for bit, name := range map[storage.Flags]string{storage.Seen: `\Seen`, storage.Flagged: `\Flagged`, storage.Deleted: `\Deleted`} {
		if m.Flags&bit != 0 {
			flags[name] = true
		}
	}
	for bit, name := range keywords {
		if m.Keywords&(1<<bit) != 0 {
			flags[name] = true
		}
	}
	return flags
}

// Random commands by sessions of all kinds on one mailbox: every client's
// picture is the store's whenever it asks for news.
func TestPicturesStayEqualToTheStore(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			for range 8 {
				if err := h.deliver("alice", "INBOX", "x"); err != nil {
					t.Fatal(err)
				}
			}
			box, err := h.store.Mailbox(context.Background(), h.ids["alice"], "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(seed, 1))
			pictures := []*picture{
				newPicture(t, h, "plain", ""), newPicture(t, h, "other", ""),
				newPicture(t, h, "condstore", "CONDSTORE"), newPicture(t, h, "qresync", "QRESYNC"),
				newPicture(t, h, "rev", "IMAP4rev2"),
			}
			for n := range 400 {
				p := pictures[r.IntN(len(pictures))]
				p.step(r)
				p.catchUp()
				if r.IntN(12) == 0 {
					if err := h.deliver("alice", "INBOX", "x"); err != nil {
						t.Fatal(err)
					}
				}
				if n%50 == 49 {
					for _, p := range pictures {
						p.equal(h, box)
					}
				}
			}
		})
	}
}

func parseSet(text string) (*wire.Set, error) { return wire.ParseSet(text, 1000) }
