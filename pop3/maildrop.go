package pop3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"posthorn/storage"
)

// readBatch is how many messages are asked of the store at a time.
const readBatch = 1000

// marks are what a session knows and does of a message.
type marks uint8

const (
	deleted      marks = 1 << iota // DELE
	retrieved                      // RETR sent it whole
	wasSeen                        // at login
	wasRetrieved                   // by an earlier session
	foreign                        // the header has octets beyond ASCII
	unended                        // the last line has no end
)

// entry is a message of the maildrop; its number is its place, from 1.
type entry struct {
	size  int64 // octets that RETR sends
	uid   storage.UID
	box   uint8
	marks marks
}

// maildrop is the snapshot that a session works on. Only its session touches it.
type maildrop struct {
	account storage.AccountID
	boxes   []storage.MailboxID
	entries []entry
	count   int   // of messages without a deleted mark
	octets  int64 // of those
	parted  bool  // the unique-ids are known to differ
}

// findMaildrop finds the mailboxes that make the maildrop: INBOX, and Junk if
// the policy wants it. The maildrop has no messages before load.
func findMaildrop(ctx context.Context, store *storage.Store, a storage.AccountID, p *Policy) (*maildrop, error) {
	inbox, err := store.Mailbox(ctx, a, "INBOX")
	if err != nil {
		return nil, err
	}
	d := &maildrop{account: a, boxes: []storage.MailboxID{inbox.ID}}
	if p.IncludeJunk {
		junk, err := specialUse(ctx, store, a, `\Junk`)
		switch {
		case err == nil:
			d.boxes = append(d.boxes, junk)
		case !errors.Is(err, storage.ErrNotFound):
			return nil, err
		}
	}
	return d, nil
}

// load takes the snapshot, in the order (mailbox, UID), with the octets that a
// client with or without UTF8 will get.
func (d *maildrop) load(ctx context.Context, store *storage.Store, p *Policy, utf8 bool) error {
	var received []int64 // only for the policy that needs it
	for box, id := range d.boxes {
		err := d.loadMailbox(ctx, store, uint8(box), id, func(m *storage.Message) {
			if p.Newest > 0 {
				received = append(received, m.Received)
			}
		})
		// INBOX is never deleted; Junk may have been, a moment ago.
		if err != nil && (box == 0 || !errors.Is(err, storage.ErrNotFound)) {
			return err
		}
	}
	if p.Newest > 0 && len(d.entries) > p.Newest {
		d.keepNewest(received, p.Newest)
	}
	d.entries = slices.Clip(d.entries)
	if err := d.measure(ctx, store, utf8); err != nil {
		return err
	}
	d.reset()
	return nil
}

// specialUse finds the account's mailbox with a special use. ErrNotFound.
func specialUse(ctx context.Context, store *storage.Store, a storage.AccountID, use string) (storage.MailboxID, error) {
	all, err := store.Mailboxes(ctx, a)
	if err != nil {
		return 0, err
	}
	for i := range all {
		if all[i].SpecialUse == use {
			return all[i].ID, nil
		}
	}
	return 0, fmt.Errorf("mailbox with %s: %w", use, storage.ErrNotFound)
}

// loadMailbox adds the messages of one mailbox. POP3 does not claim \Recent marks.
func (d *maildrop) loadMailbox(ctx context.Context, store *storage.Store, box uint8, id storage.MailboxID, each func(*storage.Message)) error {
	snap, err := store.Select(ctx, d.account, id, true)
	if err != nil {
		return err
	}
	d.entries = slices.Grow(d.entries, len(snap.UIDs))
	var batch []storage.Message
	for uids := range slices.Chunk(snap.UIDs, readBatch) {
		if batch, err = store.Messages(ctx, d.account, id, uids, batch[:0]); err != nil {
			return err
		}
		for i := range batch {
			m := &batch[i]
			if m.Expunged || m.Flags&storage.POP3Hidden != 0 {
				continue
			}
			d.entries = append(d.entries, entry{size: m.Size, uid: m.UID, box: box, marks: marksOf(m.Flags)})
			each(m)
		}
	}
	return nil
}

func marksOf(f storage.Flags) (m marks) {
	if f&storage.Seen != 0 {
		m |= wasSeen
	}
	if f&storage.POP3Retrieved != 0 {
		m |= wasRetrieved
	}
	if f&storage.HeaderNotASCII != 0 {
		m |= foreign
	}
	if f&storage.NoLastLineEnd != 0 {
		m |= unended
	}
	return m
}

// keepNewest leaves the n entries that were received last; of those received in
// the same second the later ones.
func (d *maildrop) keepNewest(received []int64, n int) {
	order := make([]int, len(d.entries))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(received[b], received[a]), cmp.Compare(b, a))
	})
	order = order[:n]
	slices.Sort(order)
	kept := make([]entry, n)
	for i, at := range order {
		kept[i] = d.entries[at]
	}
	d.entries = kept
}

// reset takes all deleted marks off (RSET).
func (d *maildrop) reset() {
	d.count, d.octets = len(d.entries), 0
	for i := range d.entries {
		d.entries[i].marks &^= deleted
		d.octets += d.entries[i].size
	}
}

// message finds a message by its number; a deleted one is none (RFC 1939 5).
func (d *maildrop) message(n int64) (*entry, error) {
	if n < 1 || n > int64(len(d.entries)) {
		return nil, refuse("", "There is no such message")
	}
	e := &d.entries[n-1]
	if e.marks&deleted != 0 {
		return nil, refuse("", "That message is deleted")
	}
	return e, nil
}

// delete marks a message of the maildrop that is not marked yet.
func (d *maildrop) delete(e *entry) {
	e.marks |= deleted
	d.count--
	d.octets -= e.size
}

// collect returns the UIDs, ascending, of a mailbox's entries that want chooses.
func (d *maildrop) collect(box int, want func(*entry) bool) []storage.UID {
	var uids []storage.UID
	for i := range d.entries {
		if e := &d.entries[i]; int(e.box) == box && want(e) {
			uids = append(uids, e.uid)
		}
	}
	return uids
}
