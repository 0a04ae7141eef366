package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

const imapAccount = "imap@example.org"

// place is where a message is, and how; the zero place is nowhere.
type place struct {
	box     string
	uid     goimap.UID // 0: not known
	flagged bool
	deleted bool
}

func (p place) matches(seen place) bool {
	return p.box == seen.box && p.flagged == seen.flagged && p.deleted == seen.deleted && (p.uid == 0 || p.uid == seen.uid)
}

// filer works on two mailboxes of its own: APPEND, STORE, EXPUNGE and MOVE.
type filer struct {
	random *rand.Rand
	name   string
	boxes  [2]string
	here   int // which of them is selected
	next   int

	now   map[string]place // by token; what was acknowledged
	doubt map[string]place // what an operation without an answer makes of some

	validity map[string]uint32
	owners   map[string]map[goimap.UID]string // tokens by box and UID, for ever
}

func newFiler(n int, random *rand.Rand) *filer {
	name := fmt.Sprint("filer", n)
	w := &filer{random: random, name: name, boxes: [2]string{name + "-in", name + "-out"},
		now: map[string]place{}, validity: map[string]uint32{}, owners: map[string]map[goimap.UID]string{}}
	for _, box := range w.boxes {
		w.owners[box] = map[goimap.UID]string{}
	}
	return w
}

func (w *filer) work(s *server, did func()) error {
	c, err := s.dialIMAP(imapAccount, crashSecret, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	w.here = w.random.IntN(2)
	if _, err := c.Select(w.boxes[w.here], nil).Wait(); err != nil {
		return err
	}
	for {
		if err := w.operate(c); err != nil {
			return err
		}
		// Acknowledged.
		for token, p := range w.doubt {
			if p.box == "" {
				delete(w.now, token)
				continue
			}
			w.owners[p.box][p.uid] = token
			w.now[token] = p
		}
		w.doubt = nil
		did()
	}
}

// operate does one operation. What it makes of which messages is in doubt
// before it begins.
func (w *filer) operate(c *imapclient.Client) error {
	chosen := w.choose()
	w.doubt = map[string]place{}
	op := w.random.IntN(10)
	if len(w.now) > 200 {
		op = 9 // keep what verify reads small
	}
	switch {
	case op < 5 || len(chosen) == 0:
		return w.append(c)
	case op < 7:
		return w.store(c, chosen)
	case op < 8:
		return w.move(c, chosen)
	}
	return w.expunge(c, chosen)
}

// choose takes up to five messages of the selected mailbox, in UID order.
func (w *filer) choose() []string {
	var tokens []string
	for token, p := range w.now {
		if p.box == w.boxes[w.here] {
			tokens = append(tokens, token)
		}
	}
	slices.SortFunc(tokens, func(a, b string) int { return int(w.now[a].uid) - int(w.now[b].uid) })
	w.random.Shuffle(len(tokens), func(i, j int) { tokens[i], tokens[j] = tokens[j], tokens[i] })
	tokens = tokens[:min(len(tokens), 1+w.random.IntN(5))]
	slices.SortFunc(tokens, func(a, b string) int { return int(w.now[a].uid) - int(w.now[b].uid) })
	return tokens
}

func (w *filer) uids(tokens []string) goimap.UIDSet {
	var uids goimap.UIDSet
	for _, token := range tokens {
		uids.AddNum(w.now[token].uid)
	}
	return uids
}

func (w *filer) append(c *imapclient.Client) error {
	w.next++
	token := fmt.Sprintf("%s-%d", w.name, w.next)
	w.doubt[token] = place{box: w.boxes[w.here]}
	text := message(token, size(w.next))
	cmd := c.Append(w.boxes[w.here], int64(len(text)), nil)
	if _, err := cmd.Write(text); err != nil {
		return errors.Join(err, cmd.Close())
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	data, err := cmd.Wait()
	if err == nil {
		w.doubt[token] = place{box: w.boxes[w.here], uid: data.UID}
	}
	return err
}

// store turns \Flagged on or off for all of them.
func (w *filer) store(c *imapclient.Client, tokens []string) error {
	on := w.random.IntN(3) > 0
	for _, token := range tokens {
		p := w.now[token]
		p.flagged = on
		w.doubt[token] = p
	}
	change := &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{goimap.FlagFlagged}}
	if !on {
		change.Op = goimap.StoreFlagsDel
	}
	return c.Store(w.uids(tokens), change, nil).Close()
}

func (w *filer) move(c *imapclient.Client, tokens []string) error {
	for _, token := range tokens {
		p := w.now[token]
		p.box, p.uid = w.boxes[1-w.here], 0
		w.doubt[token] = p
	}
	data, err := c.Move(w.uids(tokens), w.boxes[1-w.here]).Wait()
	if err != nil {
		return err
	}
	moved, ok := data.DestUIDs.(goimap.UIDSet)
	uids, static := moved.Nums()
	if !ok || !static || len(uids) != len(tokens) {
		return fmt.Errorf("COPYUID names %v for %d messages", data.DestUIDs, len(tokens))
	}
	for i, token := range tokens { // both sets are in the order of the source
		p := w.doubt[token]
		p.uid = uids[i]
		w.doubt[token] = p
	}
	return nil
}

// expunge marks them and expunges just these, as two operations.
func (w *filer) expunge(c *imapclient.Client, tokens []string) error {
	for _, token := range tokens {
		p := w.now[token]
		p.deleted = true
		w.doubt[token] = p
	}
	change := &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{goimap.FlagDeleted}}
	if err := c.Store(w.uids(tokens), change, nil).Close(); err != nil {
		return err
	}
	for _, token := range tokens {
		w.now[token] = w.doubt[token]
		w.doubt[token] = place{}
	}
	return c.UIDExpunge(w.uids(tokens)).Close()
}

func (w *filer) verify(t *testing.T, _ *folder, s *server) {
	t.Helper()
	c, err := s.dialIMAP(imapAccount, crashSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := map[string]place{}
	for _, box := range w.boxes {
		if w.validity[box] == 0 {
			if err := c.Create(box, nil).Wait(); err != nil {
				t.Fatal(err)
			}
		}
		w.look(t, c, box, seen)
	}
	w.settle(t, seen)
}

// look reads a mailbox into seen, and checks its bytes and UIDs.
func (w *filer) look(t *testing.T, c *imapclient.Client, box string, seen map[string]place) {
	t.Helper()
	data := selectBox(t, c, box)
	if before := w.validity[box]; before != 0 && before != data.UIDValidity {
		t.Errorf("%s: UIDVALIDITY was %d and is %d", box, before, data.UIDValidity)
	}
	w.validity[box] = data.UIDValidity
	for uid, token := range w.owners[box] {
		if uid >= data.UIDNext {
			t.Errorf("%s: UIDNEXT is %d, and %s had UID %d", box, data.UIDNext, token, uid)
		}
	}
	for _, m := range fetchAll(t, c) {
		token := tokenOf(m.text)
		var n int
		if _, err := fmt.Sscanf(token, w.name+"-%d", &n); err != nil || !bytes.Equal(m.text, message(token, size(n))) {
			t.Errorf("%s: UID %d is %q with other bytes than were appended", box, m.uid, token)
		}
		if p, twice := seen[token]; twice {
			t.Errorf("%s is in %s as UID %d, and in %s as UID %d", token, p.box, p.uid, box, m.uid)
		}
		if owner, known := w.owners[box][m.uid]; known && owner != token {
			t.Errorf("%s: UID %d was %s and is %s", box, m.uid, owner, token)
		}
		w.owners[box][m.uid] = token
		seen[token] = place{box, m.uid, slices.Contains(m.flags, goimap.FlagFlagged), slices.Contains(m.flags, goimap.FlagDeleted)}
	}
}

// settle compares, and takes what was under way as it was found.
func (w *filer) settle(t *testing.T, seen map[string]place) {
	t.Helper()
	done, undone := 0, 0
	for token, after := range w.doubt {
		before, found := w.now[token], seen[token]
		did, didNot := after.matches(found), before.matches(found)
		switch {
		case did && !didNot:
			done++
		case didNot && !did:
			undone++
		case !did:
			t.Errorf("%s is %+v; it was %+v, and an operation under way made it %+v", token, found, before, after)
		}
	}
	if done > 0 && undone > 0 {
		t.Errorf("an operation under way was done to %d messages and not to %d others", done, undone)
	}
	for token, before := range w.now {
		if _, open := w.doubt[token]; !open && !before.matches(seen[token]) {
			t.Errorf("%s was acknowledged as %+v and is %+v", token, before, seen[token])
		}
	}
	for token := range seen {
		_, known := w.now[token]
		_, attempted := w.doubt[token]
		if !known && !attempted {
			t.Errorf("%s is there, and nobody appended it", token)
		}
	}
	w.now, w.doubt = seen, nil
}
