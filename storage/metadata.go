package storage

import (
	"context"
	"errors"
	"fmt"
)

// Bounds on annotations (RFC 5464 4.1). An account's names and values together
// have another one, so that they cannot stand in for mail.
const (
	MaxMetadataValue   = 64 << 10 // octets of one value
	MaxMetadataEntries = 100      // of one mailbox, and of the server as an account sees it

	maxMetadataTotal  = 10_000  // entries of an account
	maxMetadataOctets = 4 << 20 // of its names and values
	maxMetadataGone   = 1_000   // removed entries that are remembered for the change feed
)

// Annotation is an entry of a mailbox, or of the server as one account sees it,
// with its value (RFC 5464 3.1). Entries are alike in any case of ASCII letters.
type Annotation struct {
	Entry string // in the case in which it was set first
	Size  int64  // octets of the value; SetMetadata does not look at it
	Value []byte // only for SetMetadata; nil removes the entry
}

// AnnotationChange names an entry that was set or removed.
type AnnotationChange struct {
	Mailbox MailboxID // 0: the server's
	Name    string    // the mailbox's; "" for the server
	Entry   string
	ModSeq  ModSeq
}

// Metadata lists the annotations of a mailbox of the account, or with id 0 those
// of the server, in the order of their names, without values. ErrNotFound.
func (s *Store) Metadata(ctx context.Context, a AccountID, id MailboxID) ([]Annotation, error) {
	var list []Annotation
	err := s.read(ctx, "list metadata", func(r *reader) error {
		if err := r.annotates(a, id); err != nil {
			return err
		}
		rows, err := r.query(`SELECT entry, octets - length(CAST(entry AS BLOB)) FROM metadata
			WHERE account = ? AND mailbox = ? AND octets IS NOT NULL ORDER BY entry`, a, id)
		if err != nil {
			return err
		}
		for rows.next() {
			list = append(list, Annotation{Entry: rows.string(0), Size: rows.int(1)})
		}
		return rows.close()
	})
	return list, err
}

// MetadataValue is the value of one annotation; never nil. ErrNotFound.
func (s *Store) MetadataValue(ctx context.Context, a AccountID, id MailboxID, entry string) ([]byte, error) {
	var value []byte
	err := s.read(ctx, "read metadata", func(r *reader) error {
		return r.queryRow("SELECT value FROM metadata WHERE account = ? AND mailbox = ? AND entry = ? AND octets IS NOT NULL", a, id, entry).scan(&value)
	})
	if err == nil && value == nil {
		value = []byte{}
	}
	return value, err
}

// SetMetadata sets and removes annotations of a mailbox, or with id 0 of the
// server as the account sees it, all or none; use, if not nil, is the mailbox's new
// special use, which is told as a change of SpecialUseEntry. It returns the
// change's ModSeq, 0 where nothing changed. ErrNotFound, ErrTooMany, ErrOverQuota
// (octets of all annotations), ErrInvalid (the special use, or a value's size).
func (s *Store) SetMetadata(ctx context.Context, a AccountID, id MailboxID, set []Annotation, use *string) (ModSeq, error) {
	var at ModSeq
	err := s.write(ctx, "set metadata", func(t *tx) error {
		at = 0
		if err := t.annotates(a, id); err != nil {
			return err
		}
		changed, err := t.annotate(a, id, set)
		if err != nil {
			return err
		}
		if use != nil {
			if err := t.setSpecialUse(a, id, *use); err != nil {
				return err
			}
			changed = true
		}
		if !changed {
			return nil
		}
		if at, err = t.modseq(a); err != nil {
			return err
		}
		t.nudgeAccount(a)
		return t.boundMetadata(a, id)
	})
	return at, err
}

// SpecialUseEntry is the annotation that stands for a mailbox's special use
// (RFC 6154 4). The store keeps no value of it.
const SpecialUseEntry = "/private/specialuse"

// annotates is ErrNotFound where the account has no such mailbox; 0 is the server.
func (c *conn) annotates(a AccountID, id MailboxID) error {
	if id == 0 {
		return nil
	}
	var one int
	if err := c.queryRow("SELECT 1 FROM mailboxes WHERE id = ? AND account = ?", id, a).scan(&one); err != nil {
		return fmt.Errorf("mailbox %d: %w", id, err)
	}
	return nil
}

// annotate writes the entries, and tells whether that changed any.
func (t *tx) annotate(a AccountID, id MailboxID, set []Annotation) (changed bool, err error) {
	at, err := t.modseq(a)
	if err != nil {
		return false, err
	}
	for i := range set {
		x := &set[i]
		if len(x.Value) > MaxMetadataValue {
			return false, fmt.Errorf("a value of %d octets: %w", len(x.Value), ErrInvalid)
		}
		var n int64
		if x.Value == nil {
			n, err = t.exec(`UPDATE metadata SET modseq = ?, octets = NULL, value = NULL
				WHERE account = ? AND mailbox = ? AND entry = ? AND octets IS NOT NULL`, at, a, id, x.Entry)
		} else if err = t.takeRoom(int64(len(x.Value))); err == nil {
			// The driver binds an empty slice as NULL.
			n, err = t.exec(`INSERT INTO metadata (account, mailbox, entry, modseq, octets, value) VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, x''))
				ON CONFLICT DO UPDATE SET modseq = excluded.modseq, octets = excluded.octets, value = excluded.value`,
				a, id, x.Entry, at, len(x.Entry)+len(x.Value), x.Value)
		}
		if err != nil {
			return false, err
		}
		changed = changed || n > 0
	}
	return changed, nil
}

func (t *tx) setSpecialUse(a AccountID, id MailboxID, use string) error {
	if !validSpecialUse(use) || id == 0 {
		return fmt.Errorf("special use %q: %w", use, ErrInvalid)
	}
	at, err := t.modseq(a)
	if err != nil {
		return err
	}
	if _, err := t.exec("UPDATE mailboxes SET special_use = ?, modseq = ? WHERE id = ?", use, at, id); err != nil {
		return err
	}
	// A removed entry, for the feed alone.
	_, err = t.exec(`INSERT INTO metadata (account, mailbox, entry, modseq) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET modseq = excluded.modseq`, a, id, SpecialUseEntry, at)
	return err
}

// boundMetadata refuses what is too much and forgets the eldest removed entries.
func (t *tx) boundMetadata(a AccountID, id MailboxID) error {
	var here, all, octets, rows int64
	err := t.queryRow("SELECT count(octets) FROM metadata WHERE account = ? AND mailbox = ?", a, id).scan(&here)
	if err != nil {
		return err
	}
	err = t.queryRow("SELECT count(octets), coalesce(sum(octets), 0), count(*) FROM metadata INDEXED BY metadata_changes WHERE account = ?", a).
		scan(&all, &octets, &rows)
	switch {
	case err != nil:
		return err
	case here > MaxMetadataEntries, all > maxMetadataTotal:
		return fmt.Errorf("%d annotations, %d in the account: %w", here, all, ErrTooMany)
	case octets > maxMetadataOctets:
		return fmt.Errorf("annotations of %d octets: %w", octets, ErrOverQuota)
	case rows-all <= maxMetadataGone:
		return nil
	}
	_, err = t.exec(`DELETE FROM metadata WHERE rowid IN (SELECT rowid FROM metadata INDEXED BY metadata_changes
		WHERE account = ? AND octets IS NULL ORDER BY modseq LIMIT ?)`, a, rows-all-maxMetadataGone)
	return err
}

// copyMetadata gives one mailbox the annotations of another.
func (t *tx) copyMetadata(a AccountID, from, to MailboxID) error {
	at, err := t.modseq(a)
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO metadata (account, mailbox, entry, modseq, octets, value)
		SELECT account, ?, entry, ?, octets, value FROM metadata WHERE account = ? AND mailbox = ? AND octets IS NOT NULL`, to, at, a, from)
	if err != nil || n == 0 {
		return err
	}
	return t.boundMetadata(a, to)
}

// MetadataChanges are the annotations that were set or removed after a ModSeq, by
// mailbox and name, the server's first, and the account's ModSeq now. Of removed
// ones the last 1,000 are remembered; a deleted mailbox's are none.
func (s *Store) MetadataChanges(ctx context.Context, a AccountID, since ModSeq) ([]AnnotationChange, ModSeq, error) {
	var list []AnnotationChange
	var now ModSeq
	err := s.read(ctx, "read metadata changes", func(r *reader) error {
		err := r.queryRow("SELECT modseq FROM accounts WHERE id = ?", a).scan(&now)
		if err != nil || now <= since {
			return err
		}
		rows, err := r.query(`SELECT x.mailbox, coalesce(m.name, ''), x.entry, x.modseq FROM metadata x LEFT JOIN mailboxes m ON m.id = x.mailbox
			WHERE x.account = ? AND x.modseq > ? ORDER BY x.mailbox, x.entry`, a, since)
		if err != nil {
			return err
		}
		for rows.next() {
			list = append(list, AnnotationChange{
				Mailbox: MailboxID(rows.int(0)), Name: rows.string(1), Entry: rows.string(2), ModSeq: ModSeq(rows.int(3)),
			})
		}
		return rows.close()
	})
	if errors.Is(err, ErrNotFound) {
		return nil, 0, nil // the account was removed: there is nothing to tell
	}
	return list, now, err
}
