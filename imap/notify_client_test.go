package imap

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"posthorn/storage"
)

// mailReader is a mail client that keeps several mailboxes in step over one
// connection, with NOTIFY and QRESYNC and without IDLE or NOOP: it stays in INBOX,
// and when it is told of another mailbox it goes there for what is new.
type mailReader struct {
	*client
	t     *testing.T
	tag   int
	boxes map[string]*readBox
	at    string   // the selected mailbox, as of what was heard
	next  string   // that is being selected
	stale []string // to visit
	done  bool     // the marker has come
}

type readBox struct {
	validity, modseq string
	flags            map[string]string // by UID
}

var (
	codeLine  = regexp.MustCompile(`^\* OK \[(UIDVALIDITY|HIGHESTMODSEQ) (\d+)\]`)
	fetchLine = regexp.MustCompile(`^\* \d+ FETCH \(UID (\d+)(?: MODSEQ \(\d+\))? FLAGS \(([^)]*)\)`)
	goneLine  = regexp.MustCompile(`^\* VANISHED (?:\(EARLIER\) )?([\d:,]+)\r\n$`)
	newsLine  = regexp.MustCompile(`^\* STATUS (\S+) \(MESSAGES (\d+) .*HIGHESTMODSEQ (\d+)\)`)
)

// run runs a command and takes its answers in.
func (m *mailReader) run(command string) {
	m.t.Helper()
	m.tag++
	m.send("m%d %s", m.tag, command)
	for {
		line := m.expect("")
		if rest, ok := strings.CutPrefix(line, fmt.Sprintf("m%d ", m.tag)); ok {
			if !strings.HasPrefix(rest, "OK ") {
				m.t.Fatalf("%s: %s", command, line)
			}
			return
		}
		m.hear(line)
	}
}

func (m *mailReader) hear(line string) {
	m.t.Helper()
	if strings.HasPrefix(line, "* OK [CLOSED]") {
		m.at = m.next // what came before was about the old one (RFC 7162 3.2.11)
	}
	box := m.boxes[m.at]
	if x := codeLine.FindStringSubmatch(line); x != nil {
		if x[1] == "UIDVALIDITY" {
			box.validity = x[2]
		} else if !strings.Contains(line, "held back") {
			box.modseq = x[2]
		}
	} else if x := fetchLine.FindStringSubmatch(line); x != nil {
		box.flags[x[1]] = strings.TrimSpace(strings.ReplaceAll(x[2], `\Recent`, ""))
	} else if x := goneLine.FindStringSubmatch(line); x != nil {
		set, err := parseSet(x[1])
		if err != nil {
			m.t.Fatal(err)
		}
		maps.DeleteFunc(box.flags, func(uid, _ string) bool {
			n, err := strconv.ParseUint(uid, 10, 32)
			return err == nil && set.Contains(uint32(n))
		})
	} else if x := newsLine.FindStringSubmatch(line); x != nil {
		m.done = m.done || x[1] == "Drafts" && x[2] == "1"
		if m.boxes[x[1]] != nil {
			m.stale = append(m.stale, x[1])
		}
	}
}

// visit selects a mailbox for what has changed since the last visit.
func (m *mailReader) visit(name string) {
	m.t.Helper()
	if m.next = name; m.at == "" {
		m.at = name
	}
	box := m.boxes[name]
	if box == nil {
		m.boxes[name] = &readBox{flags: map[string]string{}}
		m.run("SELECT " + name)
		m.run("UID FETCH 1:* (FLAGS)")
		return
	}
	m.run(fmt.Sprintf("SELECT %s (QRESYNC (%s %s))", name, box.validity, box.modseq))
}

func TestNotifyIsEnoughForAClient(t *testing.T) {
	h := newHarness(t)
	account := h.ids["alice"]
	names := []string{"Archive", "Sent", "INBOX"}
	for _, name := range names {
		for range 6 {
			if err := h.deliver("alice", name, "x"); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := &mailReader{client: h.login(t, alice), t: t, boxes: map[string]*readBox{}}
	m.run("ENABLE QRESYNC")
	m.run("NOTIFY SET (selected-delayed (MessageNew (UID FLAGS) MessageExpunge FlagChange)) " + everything)
	for _, name := range names {
		m.visit(name)
	}
	failed := make(chan error, 1)
	go func() {
		r := rand.New(rand.NewPCG(7, 7))
		var err error
		for n := 0; n < 150 && err == nil; n++ {
			err = h.alter(account, names[r.IntN(len(names))], r)
		}
		if err == nil {
			err = h.deliver("alice", "Drafts", "the end")
		}
		failed <- err
	}()
	for !m.done || len(m.stale) > 0 {
		if len(m.stale) == 0 {
			m.hear(m.expect("* "))
			continue
		}
		name := m.stale[0]
		m.stale = m.stale[1:]
		m.visit(name)
		m.visit("INBOX")
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	m.run("NOOP") // tells the delayed expunges
	for _, name := range names {
		m.equals(h, account, name)
	}
}

// alter delivers to a mailbox, changes its flags or expunges.
func (h *harness) alter(account storage.AccountID, name string, r *rand.Rand) error {
	ctx := context.Background()
	box, err := h.store.Mailbox(ctx, account, name)
	if err != nil {
		return err
	}
	some := []storage.UID{storage.UID(1 + r.IntN(int(box.UIDNext)))}
	switch r.IntN(4) {
	case 0:
		_, err = h.store.Expunge(ctx, account, box.ID, some, false)
	case 1:
		err = h.deliver("alice", name, "x")
	default:
		_, err = h.store.ChangeFlags(ctx, account, box.ID, some,
			storage.FlagChange{Op: storage.FlagOp(r.IntN(3)), Flags: storage.Seen})
	}
	return err
}

func (m *mailReader) equals(h *harness, account storage.AccountID, name string) {
	m.t.Helper()
	ctx := context.Background()
	box, err := h.store.Mailbox(ctx, account, name)
	if err != nil {
		m.t.Fatal(err)
	}
	snap, err := h.store.Select(ctx, account, box.ID, true)
	if err != nil {
		m.t.Fatal(err)
	}
	messages, err := h.store.Messages(ctx, account, box.ID, snap.UIDs, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	want := map[string]string{}
	for i := range messages {
		uid := fmt.Sprint(messages[i].UID)
		if want[uid] = ""; messages[i].Flags&storage.Seen != 0 {
			want[uid] = `\Seen`
		}
	}
	if have := m.boxes[name].flags; !maps.Equal(have, want) {
		m.t.Errorf("%s is known as %v\nand has %v", name, have, want)
	}
}
