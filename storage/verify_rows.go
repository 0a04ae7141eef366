package storage

import (
	"errors"
	"fmt"
)

// messages checks every message's row, mailbox by mailbox.
func (v *verifier) messages() error {
	return v.table("messages", "", func(r *reader, id MailboxID) (place, bool, error) {
		p, err := v.placeOf(r, id, "mailboxes")
		return p, err == nil, err
	})
}

// expunged checks the rows in the retention window: undelete needs them. Those
// that were moved away borrow their content and may outlive it.
func (v *verifier) expunged() error {
	return v.table("expunged", "AND m.content IS NOT NULL AND m.flags & (1 << 30) = 0", func(r *reader, id MailboxID) (place, bool, error) {
		p, err := v.placeOf(r, id, "mailboxes")
		if !errors.Is(err, ErrNotFound) {
			return p, err == nil, err
		}
		p, err = v.placeOf(r, id, "deleted_mailboxes")
		return p, false, err
	})
}

// placeOf is ErrNotFound where the table has no such mailbox.
func (v *verifier) placeOf(r *reader, id MailboxID, table string) (place, error) {
	var p place
	err := r.queryRow("SELECT a.address, m.name FROM "+table+" m JOIN accounts a ON a.id = m.account WHERE m.id = ?", id).
		scan(&p.account, &p.mailbox)
	return p, err
}

// table walks the rows of messages or expunged in slices. find names a mailbox
// and tells whether it is a live one, with bounds to check.
func (v *verifier) table(name, where string, find func(*reader, MailboxID) (place, bool, error)) error {
	for id := MailboxID(0); ; {
		err := v.read(func(r *reader) error {
			var next MailboxID
			err := r.queryRow("SELECT coalesce(min(mailbox), 0) FROM "+name+" WHERE mailbox > ?", id).scan(&next)
			id = next
			return err
		})
		if err != nil || id == 0 {
			return err
		}
		for after, more := UID(0), true; more; {
			err := v.read(func(r *reader) (err error) {
				after, more, err = v.rows(r, name, where, id, after, find)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
}

// rows checks one slice of a mailbox's rows, those after a UID.
func (v *verifier) rows(r *reader, table, where string, id MailboxID, after UID, find func(*reader, MailboxID) (place, bool, error)) (UID, bool, error) {
	p, live, err := find(r, id)
	if errors.Is(err, ErrNotFound) {
		return 0, false, v.lostRows(r, table, id)
	}
	if err != nil {
		return 0, false, err
	}
	var next UID
	var highest ModSeq
	var keywords int
	if live {
		err := r.queryRow(`SELECT uidnext, highestmodseq, (SELECT count(*) FROM keywords WHERE mailbox = mailboxes.id)
			FROM mailboxes WHERE id = ?`, id).scan(&next, &highest, &keywords)
		if err != nil {
			return 0, false, err
		}
	}
	rows, err := r.query(`SELECT m.uid, m.modseq, m.size, coalesce(length(m.prefix), 0), m.content, m.keywords, c.size
		FROM `+table+` m LEFT JOIN contents c ON c.id = m.content
		WHERE m.mailbox = ? AND m.uid > ? `+where+` ORDER BY m.uid LIMIT ?`, id, after, verifySlice)
	if err != nil {
		return 0, false, err
	}
	n := 0
	for ; rows.next(); n++ {
		after = UID(rows.int(0))
		wrong := func(kind, mend, format string, args ...any) {
			text := fmt.Sprintf(format, args...)
			if table == "expunged" {
				text = "expunged: " + text
			}
			v.note(Problem{Kind: kind, Account: p.account, Mailbox: p.mailbox, UID: after, Text: text, Mend: mend})
		}
		v.sum.Messages++
		content := ContentID(rows.int(4))
		bad, harmed := v.badContents[content]
		switch {
		case rows.null(6):
			wrong(KindReference, mendMessage, "the message's content (%d) is missing", content)
		case harmed:
			wrong(bad.kind, mendMessage, "%s", bad.text)
			bad.told = true
			v.badContents[content] = bad
		case rows.int(2) != rows.int(3)+rows.int(6):
			wrong(KindSize, mendMessage, "the message has %d octets and its row says %d", rows.int(3)+rows.int(6), rows.int(2))
		}
		if !live {
			continue
		}
		if after >= next {
			wrong(KindUID, mendRecount, "the UID is not below the mailbox's next, %d", next)
		}
		if ModSeq(rows.int(1)) > highest {
			wrong(KindUID, mendRecount, "the ModSeq %d is beyond the mailbox's highest, %d", rows.int(1), highest)
		}
		if table == "messages" && KeywordSet(rows.int(5))>>keywords != 0 {
			wrong(KindReference, "store the message's keywords anew with a mail client", "the message has keywords without a name")
		}
	}
	return after, n == verifySlice, rows.close()
}

// lostRows tells of rows whose mailbox does not exist, unless the sweeper is
// about to free them.
func (v *verifier) lostRows(r *reader, table string, id MailboxID) error {
	var doomed bool
	var n int64
	err := r.queryRow("SELECT EXISTS (SELECT 1 FROM doomed WHERE mailbox = ?)", id).scan(&doomed)
	if err != nil || doomed {
		return err
	}
	err = r.queryRow("SELECT count(*) FROM "+table+" WHERE mailbox = ? AND (?2 = 'messages' OR content IS NOT NULL)", id, table).scan(&n)
	if err == nil && n > 0 {
		v.note(Problem{Kind: KindReference, Mend: mendRestore,
			Text: fmt.Sprintf("%d rows of %s belong to mailbox %d, which is not there", n, table, id)})
	}
	return err
}

// queue checks the messages that wait for other servers, and tells of harmed
// contents that no message of an account has.
func (v *verifier) queue() error {
	for after, more := int64(0), true; more; {
		err := v.read(func(r *reader) error {
			rows, err := r.query(`SELECT q.id, q.queue_id, q.content, c.id FROM queued q LEFT JOIN contents c ON c.id = q.content
				WHERE q.id > ? ORDER BY q.id LIMIT ?`, after, verifySlice)
			if err != nil {
				return err
			}
			n := 0
			for ; rows.next(); n++ {
				after = rows.int(0)
				content := ContentID(rows.int(2))
				bad, harmed := v.badContents[content]
				switch {
				case rows.null(3):
					bad = harm{kind: KindReference, text: fmt.Sprintf("its content (%d) is missing", content)}
				case !harmed:
					continue
				}
				v.note(Problem{Kind: bad.kind, Text: "queued message " + rows.string(1) + ": " + bad.text,
					Mend: "it cannot be sent: remove it from the queue and ask its sender to send it again"})
				bad.told = true
				v.badContents[content] = bad
			}
			more = n == verifySlice
			return rows.close()
		})
		if err != nil {
			return err
		}
	}
	for id, bad := range v.badContents {
		if bad.told {
			continue
		}
		err := v.tell(Problem{Kind: bad.kind, Text: fmt.Sprintf("content %d, which no message has: %s", id, bad.text), Mend: mendNothing})
		if err != nil {
			return err
		}
	}
	return nil
}
