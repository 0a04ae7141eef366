package imap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"posthorn/storage"
)

// Too much to ask for is refused, and what becomes too much ends (RFC 5465 3.1, 5.8).
func TestNotificationOverflow(t *testing.T) {
	h := newHarness(t)
	h.server.notifyMailboxes = 8 // of which 6 are there
	c, other := h.login(t, alice), h.login(t, alice)
	names := strings.Repeat("x ", maxFilterNames)
	for _, excess := range []string{
		"(mailboxes (" + names + "y) (MailboxName))",
		strings.Repeat("(mailboxes x NONE) ", maxNotifyGroups) + "(mailboxes x (MailboxName))",
	} {
		c.send("a NOTIFY SET %s", excess)
		c.expect("a NO [NOTIFICATIONOVERFLOW] ")
	}
	c.send("b NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MailboxName))")
	c.expect("b OK ")
	c.send("c SELECT INBOX")
	c.until("c OK ")
	for n := range 3 {
		other.send("d CREATE box%d", n)
		other.expect("d OK ")
		want := fmt.Sprintf(`* LIST (\HasNoChildren) "/" box%d`, n)
		if n == 2 {
			want = "* OK [NOTIFICATIONOVERFLOW] "
		}
		c.expect(want)
	}
	// As after NOTIFY NONE: not even the selected mailbox is told of.
	if err := h.deliver("alice", "INBOX", "x"); err != nil {
		t.Fatal(err)
	}
	c.send("e NOOP")
	c.expect("e OK ")
	c.send("f NOTIFY SET (personal (MailboxName))")
	c.expect("f NO [NOTIFICATIONOVERFLOW] ")
	c.send("g NOTIFY SET STATUS (inboxes (MessageNew MessageExpunge))")
	c.expect("* STATUS Junk ")
	c.expect("* 1 EXISTS")
	c.until("g OK ")
}

// overview is what a client knows of an account from NOTIFY's words alone: the
// selected mailbox as a picture, and the others.
type overview struct {
	*picture
	boxes      map[string]string // name to "MESSAGES n UIDNEXT n UNSEEN n"
	subscribed map[string]bool
	done       bool // the marker has come
}

const everything = "(personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))"

func newOverview(t *testing.T, h *harness, name, enable, selected string) *overview {
	o := &overview{picture: newPicture(t, h, name, enable), boxes: map[string]string{}, subscribed: map[string]bool{}}
	for _, known := range []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"} {
		o.boxes[known], o.subscribed[known] = "MESSAGES 0 UIDNEXT 1 UNSEEN 0", true
	}
	o.do("NOTIFY SET (" + selected + " (MessageNew (UID FLAGS) MessageExpunge FlagChange)) " + everything)
	return o
}

// hear takes the next response into the overview.
func (o *overview) hear() {
	o.t.Helper()
	line := strings.TrimSuffix(o.expect("* "), "\r\n")
	o.log = append(o.log, "S "+line)
	if rest, ok := strings.CutPrefix(line, "* STATUS "); ok {
		name, items, _ := strings.Cut(rest, " ")
		o.hearStatus(name, strings.Fields(strings.Trim(items, "()")))
	} else if rest, ok := strings.CutPrefix(line, "* LIST ("); ok {
		o.hearName(rest)
	} else {
		o.take(line, false)
	}
}

func (o *overview) hearStatus(name string, items []string) {
	o.t.Helper()
	if _, ok := o.boxes[name]; !ok {
		o.fail("STATUS of an unknown mailbox")
	}
	got := map[string]string{}
	for i := 0; i+1 < len(items); i += 2 {
		got[items[i]] = items[i+1]
	}
	o.boxes[name] = fmt.Sprintf("MESSAGES %s UIDNEXT %s UNSEEN %s", got["MESSAGES"], got["UIDNEXT"], got["UNSEEN"])
	o.done = o.done || name == "marker" && got["MESSAGES"] == "1"
}

func (o *overview) hearName(rest string) {
	attributes, rest, _ := strings.Cut(rest, `) "/" `)
	name, old, moved := strings.Cut(rest, ` ("OLDNAME" (`)
	if old = strings.TrimSuffix(old, "))"); moved {
		boxes := map[string]string{}
		for known, status := range o.boxes {
			if below, ok := strings.CutPrefix(known, old); ok && (below == "" || below[0] == '/') {
				known = name + below
			}
			boxes[known] = status
		}
		o.boxes = boxes
	}
	if o.subscribed[name] = true; !strings.Contains(attributes, `\Subscribed`) {
		delete(o.subscribed, name)
	}
	if _, known := o.boxes[name]; strings.Contains(attributes, `\NonExistent`) {
		delete(o.boxes, name)
	} else if !known {
		o.boxes[name] = "MESSAGES 0 UIDNEXT 1 UNSEEN 0"
	}
}

// agrees compares the overview with the store.
func (o *overview) agrees(h *harness, account storage.AccountID) {
	o.t.Helper()
	ctx := context.Background()
	boxes, err := h.store.Mailboxes(ctx, account)
	if err != nil {
		o.t.Fatal(err)
	}
	want := map[string]string{}
	for _, b := range boxes {
		want[b.Name] = fmt.Sprintf("MESSAGES %d UIDNEXT %d UNSEEN %d", b.Messages, b.UIDNext, b.Unseen)
	}
	want["INBOX"] = o.boxes["INBOX"] // the selected one: compared with the picture
	if !maps.Equal(o.boxes, want) {
		o.fail("knows %v\nthere are %v", o.boxes, want)
	}
	names, err := h.store.Subscriptions(ctx, account)
	if err != nil {
		o.t.Fatal(err)
	}
	if known := slices.Sorted(maps.Keys(o.subscribed)); !slices.Equal(known, names) {
		o.fail("knows the subscriptions %q\nthere are %q", known, names)
	}
	inbox, err := h.store.Mailbox(ctx, account, "INBOX")
	if err != nil {
		o.t.Fatal(err)
	}
	o.equal(h, inbox)
}

// disturb changes an account at random, beside all others who do.
func disturb(h *harness, account storage.AccountID, actor int, r *rand.Rand) error {
	ctx := context.Background()
	for n := range 60 {
		boxes, err := h.store.Mailboxes(ctx, account)
		if err != nil {
			return err
		}
		box := boxes[0]
		if r.IntN(2) == 0 {
			box = boxes[r.IntN(len(boxes))]
		}
		fresh := fmt.Sprintf("box%d-%d", actor, n)
		some := []storage.UID{storage.UID(1 + r.IntN(10)), storage.UID(11 + r.IntN(20))}
		switch r.IntN(9) {
		case 0:
			_, err = h.store.CreateMailbox(ctx, account, storage.NewMailbox{Name: fresh + "/below"})
		case 1:
			err = h.store.DeleteMailbox(ctx, account, box.ID)
		case 2:
			if box.Name != "INBOX" {
				err = h.store.RenameMailbox(ctx, account, box.Name, fresh)
			}
		case 3:
			err = h.store.Subscribe(ctx, account, box.Name, r.IntN(2) == 0)
		case 4, 5:
			_, err = h.store.ChangeFlags(ctx, account, box.ID, some,
				storage.FlagChange{Op: storage.FlagOp(r.IntN(3)), Flags: storage.Seen | storage.Flagged})
		case 6:
			_, err = h.store.Expunge(ctx, account, box.ID, some[:1], false)
		default:
			err = h.deliver("alice", box.Name, fresh)
		}
		for _, expected := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrInvalid} {
			if errors.Is(err, expected) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Sessions that only listen know in the end what is in the store, whatever
// happened in its mailboxes and to their names.
func TestNotifiedPicturesStayEqualToTheStore(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			account := h.ids["alice"]
			for range 8 {
				if err := h.deliver("alice", "INBOX", "x"); err != nil {
					t.Fatal(err)
				}
			}
			sessions := []*overview{
				newOverview(t, h, "plain", "", "selected"), newOverview(t, h, "delayed", "", "selected-delayed"),
				newOverview(t, h, "qresync", "QRESYNC", "selected"), newOverview(t, h, "rev", "IMAP4rev2", "selected"),
				newOverview(t, h, "idle", "", "selected-delayed"),
			}
			idle := sessions[4]
			idle.send("i IDLE")
			idle.expect("+ idling")
			var actors sync.WaitGroup
			for actor := range 3 {
				actors.Go(func() {
					if err := disturb(h, account, actor, rand.New(rand.NewPCG(seed, uint64(actor)))); err != nil {
						t.Error(err)
					}
				})
			}
			actors.Wait()
			if _, err := h.store.CreateMailbox(context.Background(), account, storage.NewMailbox{Name: "marker"}); err != nil {
				t.Fatal(err)
			}
			if err := h.deliver("alice", "marker", "x"); err != nil {
				t.Fatal(err)
			}
			for _, o := range sessions {
				for !o.done {
					o.hear()
				}
				if o == idle {
					o.send("DONE")
					o.expect("i OK ")
				}
				o.agrees(h, account)
			}
		})
	}
}

// FuzzNotifyArguments: what NOTIFY takes is within its rules and bounds.
func FuzzNotifyArguments(f *testing.F) {
	for _, text := range []string{
		" (selected (MessageNew (uid body.peek[header.fields (from to)]) MessageExpunge)) (subtree Lists (MessageNew MessageExpunge))",
		" STATUS (mailboxes (INBOX {3+}\r\na b \"c\") (MessageNew MessageExpunge FlagChange)) (personal (MailboxName))",
		" (SELECTED-DELAYED NONE) (inboxes (Unheard)) (subscribed (SubscriptionChange ServerMetadataChange))",
		" (selected (MessageExpunge MessageNew (ENVELOPE MODSEQ BODY[]<0.5>) FlagChange))", " (subtree () NONE)", " STATUS",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, input string) {
		s := parsing(t, input)
		var n notification
		if _, err := s.readNotify(&n); err != nil || n.unknown {
			return
		}
		h := n.selected
		if h.flags && !h.news || h.fetch != nil && !h.news || h.fetch != nil && h.fetch.items == 0 && len(h.fetch.sections) == 0 {
			t.Errorf("selected: %+v", h)
		}
		if !n.chosen && (h.news || n.delayed) || !n.chosen && len(n.groups) == 0 || len(n.groups) > maxNotifyGroups+1 {
			t.Errorf("groups: %+v", n)
		}
		for _, g := range n.groups {
			if a := g.events & arrivals; a != 0 && a != arrivals || g.events&eventFlagChange != 0 && a == 0 || len(g.names) > maxFilterNames {
				t.Errorf("group: %+v", g)
			}
		}
		asked := &notifier{notification: n}
		for _, name := range []string{"INBOX", "Lists/a/b", "a", ""} {
			if asked.wants(name, "")&eventUnknown != 0 {
				t.Error("an unknown event is wanted")
			}
		}
	})
}
