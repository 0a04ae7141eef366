package storage

import (
	"context"
	"errors"
	"fmt"
)

// Kinds of problems that Verify tells.
const (
	KindIntegrity = "integrity" // SQLite's own structures, or a table that cannot be read
	KindReference = "reference" // a row names another that is not there
	KindCounter   = "counter"   // a count differs from what is there
	KindUID       = "uid"       // a UID, UIDVALIDITY or ModSeq out of its bounds
	KindSize      = "size"      // octets differ from what a row says
	KindHash      = "hash"      // a body's bytes have another SHA-256
	KindHeader    = "header"    // a stored header differs from its message
)

// Problem is one thing that Verify found wrong.
type Problem struct {
	Kind    string
	Account string // its address; "": nobody's, or not known
	Mailbox string // its name; "": not one mailbox's
	UID     UID    // 0: not one message's
	Text    string // what is wrong
	Mend    string // what to do about it
}

// Checked counts what Verify looked at.
type Checked struct {
	Accounts, Mailboxes, Messages, Bodies int64
	Problems                              int64
	Notes                                 []string // what could not be looked at, in words
}

const (
	mendRestore = "stop the server, keep a copy of the data folder, and restore the last good backup: posthorn restore BACKUP"
	mendMessage = "this message alone is harmed: bring it from a backup with posthorn restore BACKUP --account ADDRESS --mailbox NAME --uid UID"
	mendRecount = "no mail is lost; a restore counts anew: posthorn backup DEST, stop the server, posthorn restore DEST"
	mendNothing = "no mail is lost; it only takes space"
)

// verifySlice is how many rows one read transaction looks at, so that none
// holds the write-ahead log for long.
const verifySlice = 4000

// Verify looks for what is wrong in the store and calls found with each
// problem; the store serves meanwhile. It checks SQLite's structures, every
// reference, size, counter, UID and ModSeq; with full, also the indexes, every
// body's SHA-256 and every header. found runs between reads and may block; its
// error ends the check.
func (s *Store) Verify(ctx context.Context, full bool, found func(Problem) error) (Checked, error) {
	v := &verifier{s: s, ctx: ctx, full: full, found: found,
		badBodies: map[BodyID]harm{}, badContents: map[ContentID]harm{}, places: map[MailboxID]place{}}
	for _, part := range []struct {
		table string
		check func() error
	}{
		{"the database", v.structure},
		{"the small tables", v.foreignKeys},
		{"bodies", v.bodies},
		{"contents", v.contents},
		{"mailboxes", v.accounts},
		{"messages", v.messages},
		{"expunged", v.expunged},
		{"queued", v.queue},
		{"contents", v.contentRefs},
		{"bodies", v.bodyRefs},
	} {
		err := part.check()
		if errors.Is(err, ErrDamaged) {
			err = v.tell(Problem{Kind: KindIntegrity, Text: fmt.Sprintf("%s cannot be read to the end: %v", part.table, err), Mend: mendRestore})
		}
		if err == nil {
			err = v.flush()
		}
		if err != nil {
			return v.sum, err
		}
	}
	return v.sum, nil
}

// harm is what is wrong with a body or a content.
type harm struct {
	kind, text string
	told       bool // for one message at least
}

// place is where a message is, in the operator's words.
type place struct{ account, mailbox string }

// verifier is one Verify at work.
type verifier struct {
	s     *Store
	ctx   context.Context
	full  bool
	found func(Problem) error
	sum   Checked

	pending     []Problem // found within the read under way
	badBodies   map[BodyID]harm
	badContents map[ContentID]harm
	places      map[MailboxID]place
}

// read runs fn in a short read transaction, and then tells what it noted.
func (v *verifier) read(fn func(r *reader) error) error {
	if err := v.s.read(v.ctx, "verify", fn); err != nil {
		return err
	}
	return v.flush()
}

// note keeps a problem until the read is over.
func (v *verifier) note(p Problem) { v.pending = append(v.pending, p) }

func (v *verifier) flush() error {
	for _, p := range v.pending {
		if err := v.tell(p); err != nil {
			return err
		}
	}
	v.pending = v.pending[:0]
	return nil
}

func (v *verifier) tell(p Problem) error {
	v.sum.Problems++
	return v.found(p)
}

// foreignKeys are those that SQLite knows of: between small tables.
func (v *verifier) foreignKeys() error {
	return v.read(func(r *reader) error {
		rows, err := r.query("PRAGMA foreign_key_check")
		if err != nil {
			return err
		}
		for rows.next() {
			v.note(Problem{Kind: KindReference, Mend: mendRestore,
				Text: fmt.Sprintf("row %d of %s names a row of %s that is not there", rows.int(1), rows.string(0), rows.string(2))})
		}
		return rows.close()
	})
}

// accounts checks each account and its mailboxes: counters, UIDVALIDITY, ModSeq.
func (v *verifier) accounts() error {
	var list []AccountID
	err := v.read(func(r *reader) error {
		rows, err := r.query("SELECT id FROM accounts ORDER BY id")
		if err != nil {
			return err
		}
		for rows.next() {
			list = append(list, AccountID(rows.int(0)))
		}
		return rows.close()
	})
	for i := 0; err == nil && i < len(list); i++ {
		v.sum.Accounts++
		var boxes []MailboxID
		if err = v.read(func(r *reader) (err error) { boxes, err = v.account(r, list[i]); return err }); err != nil {
			return err
		}
		for _, id := range boxes {
			v.sum.Mailboxes++
			if err = v.read(func(r *reader) error { return v.mailbox(r, id) }); err != nil {
				return err
			}
		}
	}
	return err
}

func (v *verifier) account(r *reader, a AccountID) ([]MailboxID, error) {
	var address string
	var validity, modseq, used, usedBytes, kept, keptBytes int64
	err := r.queryRow(`SELECT address, uidvalidity, modseq, used_messages, used_bytes, retained_messages, retained_bytes
		FROM accounts WHERE id = ?`, a).scan(&address, &validity, &modseq, &used, &usedBytes, &kept, &keptBytes)
	if errors.Is(err, ErrNotFound) {
		return nil, nil // removed meanwhile
	}
	if err != nil {
		return nil, err
	}
	wrong := func(kind, mend, format string, args ...any) {
		v.note(Problem{Kind: kind, Account: address, Text: fmt.Sprintf(format, args...), Mend: mend})
	}
	rows, err := r.query("SELECT id, name, uidvalidity, max(highestmodseq, modseq, floor), messages, size FROM mailboxes WHERE account = ?", a)
	if err != nil {
		return nil, err
	}
	var boxes []MailboxID
	var messages, bytes int64
	for rows.next() {
		boxes = append(boxes, MailboxID(rows.int(0)))
		messages += rows.int(4)
		bytes += rows.int(5)
		if rows.int(2) > validity {
			wrong(KindUID, mendRecount, "mailbox %q has UIDVALIDITY %d beyond the account's last, %d", rows.string(1), rows.int(2), validity)
		}
		if rows.int(3) > modseq {
			wrong(KindUID, mendRecount, "mailbox %q has ModSeq %d beyond the account's, %d", rows.string(1), rows.int(3), modseq)
		}
	}
	if err := rows.close(); err != nil {
		return nil, err
	}
	if messages != used || bytes != usedBytes {
		wrong(KindCounter, mendRecount, "the account counts %d messages with %d octets; its mailboxes have %d with %d", used, usedBytes, messages, bytes)
	}
	var retained, retainedBytes int64
	err = r.queryRow(`SELECT count(*), coalesce(sum(size), 0) FROM expunged WHERE content IS NOT NULL AND flags & (1 << 30) = 0 AND mailbox IN
		(SELECT id FROM mailboxes WHERE account = ?1 UNION ALL SELECT id FROM deleted_mailboxes WHERE account = ?1)`, a).
		scan(&retained, &retainedBytes)
	if err == nil && (retained != kept || retainedBytes != keptBytes) {
		wrong(KindCounter, mendRecount, "the account counts %d expunged messages with %d octets in the retention window; there are %d with %d",
			kept, keptBytes, retained, retainedBytes)
	}
	if err != nil {
		return nil, err
	}
	var lost int64
	err = r.queryRow("SELECT count(*) FROM metadata WHERE account = ? AND mailbox <> 0 AND mailbox NOT IN (SELECT id FROM mailboxes)", a).scan(&lost)
	if err == nil && lost > 0 {
		wrong(KindReference, mendNothing, "%d annotations belong to mailboxes that are not there", lost)
	}
	return boxes, err
}

// mailbox compares one mailbox's row with its messages.
func (v *verifier) mailbox(r *reader, id MailboxID) error {
	var m Mailbox
	var address string
	err := r.queryRow(`SELECT a.address, m.name, m.uidnext, m.highestmodseq, m.messages, m.unseen, m.deleted, m.size
		FROM mailboxes m JOIN accounts a ON a.id = m.account WHERE m.id = ?`, id).
		scan(&address, &m.Name, &m.UIDNext, &m.HighestModSeq, &m.Messages, &m.Unseen, &m.Deleted, &m.Size)
	if errors.Is(err, ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	wrong := func(kind, format string, args ...any) {
		v.note(Problem{Kind: kind, Account: address, Mailbox: m.Name, Text: fmt.Sprintf(format, args...), Mend: mendRecount})
	}
	var n Mailbox
	err = r.queryRow(`SELECT count(*), coalesce(sum(flags & 1 = 0), 0), coalesce(sum(flags & 8 <> 0), 0), coalesce(sum(size), 0)
		FROM messages WHERE mailbox = ?`, id).scan(&n.Messages, &n.Unseen, &n.Deleted, &n.Size)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what     string
		says, is int64
	}{
		{"messages", m.Messages, n.Messages},
		{"unseen messages", m.Unseen, n.Unseen},
		{`messages with \Deleted`, m.Deleted, n.Deleted},
		{"octets", m.Size, n.Size},
	} {
		if c.says != c.is {
			wrong(KindCounter, "the mailbox counts %d %s and has %d", c.says, c.what, c.is)
		}
	}
	if _, err := keywordList(r.conn, id); errors.Is(err, ErrDamaged) {
		wrong(KindReference, "%v", err)
	} else if err != nil {
		return err
	}
	return nil
}
