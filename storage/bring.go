package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Selection names what RestoreFrom brings: an account's mail, of one mailbox
// of the backup or of all, one message by its UID in the backup or all.
type Selection struct {
	Account string // its address' normal form
	Mailbox string // "": all
	UID     UID    // 0: all; else Mailbox is set
}

// Brought counts what RestoreFrom did.
type Brought struct {
	Account   bool     // it was made anew, with its passwords
	Mailboxes []string // made anew
	Added     int64    // messages from the backup
	Revived   int64    // expunged messages that the store still had
	Mended    int64    // bodies, headers and contents that were damaged or lost and are whole again
	Present   int64    // messages that were there
}

const (
	bringMessages = 100     // at most, in a write
	bringOctets   = 4 << 20 // about
)

// RestoreFrom brings from a backup what of the selection is missing in the
// running store, and makes whole what is damaged. A message is missing when no
// mailbox of the account has its UIDL; it gets a new UID in the mailbox of its
// name, and keeps its UIDL, flags, keywords and INTERNALDATE. Quota is not
// asked; twice does no harm. progress, which may be nil, hears of messages
// looked at. ErrNotFound: the backup has no such account, mailbox or message;
// ErrInvalid: it is of another schema version; ErrDamaged: of the backup.
func (s *Store) RestoreFrom(ctx context.Context, src string, sel Selection, progress func(messages int64)) (Brought, error) {
	b := bringer{s: s, ctx: ctx, sel: sel, progress: progress}
	m, err := ReadManifest(src)
	if err == nil && m.Schema != len(migrations()) {
		err = fmt.Errorf("the backup has schema version %d and this posthorn needs %d: restore it whole into another data folder, and take a backup there: %w",
			m.Schema, len(migrations()), ErrInvalid)
	}
	if err == nil {
		b.from, err = openCopy(filepath.Join(src, databaseName))
	}
	if err != nil {
		return b.done, wrap("restore", err)
	}
	err = b.run()
	return b.done, wrap("restore", errors.Join(err, b.from.close()))
}

// bringer is one RestoreFrom at work.
type bringer struct {
	s        *Store
	ctx      context.Context
	from     *conn // the backup
	sel      Selection
	progress func(int64)
	seen     int64
	done     Brought

	account AccountID             // here
	live    map[[16]byte]location // the account's messages by their UIDLs; the zero one came just now
	kept    map[[16]byte]location // and those that undelete can bring back
	batch   []*incoming
	octets  int64
}

type location struct {
	mailbox MailboxID
	uid     UID
}

// incoming is a message of the backup.
type incoming struct {
	uid       UID
	row       newRow // without content and keywords
	content   ContentID
	body      BodyID // in the backup
	hash      []byte
	bodySize  int64
	prefixLen int
	parsed    Parsed
	keywords  []string
	stage     *Stage
}

func (b *bringer) run() error {
	var source AccountID
	err := b.from.queryRow("SELECT id FROM accounts WHERE address = ?", b.sel.Account).scan(&source)
	if err != nil {
		return fmt.Errorf("account %s in the backup: %w", b.sel.Account, err)
	}
	if b.sel.Mailbox != "" {
		if b.sel.Mailbox, err = mailboxName(b.sel.Mailbox); err != nil {
			return err
		}
	}
	boxes, err := b.mailboxes(source)
	if err != nil {
		return err
	}
	if b.sel.Mailbox != "" && len(boxes) == 0 {
		return fmt.Errorf("mailbox %q in the backup: %w", b.sel.Mailbox, ErrNotFound)
	}
	if b.sel.UID != 0 {
		var there bool
		err := b.from.queryRow("SELECT EXISTS (SELECT 1 FROM messages WHERE mailbox = ? AND uid = ?)", boxes[0].id, b.sel.UID).scan(&there)
		if err == nil && !there {
			err = fmt.Errorf("message %d of mailbox %q in the backup: %w", b.sel.UID, b.sel.Mailbox, ErrNotFound)
		}
		if err != nil {
			return err
		}
	}
	if err := b.findAccount(source); err != nil {
		return err
	}
	if err := b.loadUIDLs(); err != nil {
		return err
	}
	for i := range boxes {
		if err := b.mailbox(&boxes[i]); err != nil {
			return fmt.Errorf("mailbox %q: %w", boxes[i].name, err)
		}
	}
	return nil
}

func (b *bringer) mailboxes(source AccountID) ([]attic, error) {
	rows, err := b.from.query(`SELECT id, name, uidvalidity, special_use FROM mailboxes WHERE account = ? AND ? IN ('', name)
		ORDER BY name <> 'INBOX', name`, source, b.sel.Mailbox)
	if err != nil {
		return nil, err
	}
	var list []attic
	for rows.next() {
		list = append(list, attic{id: MailboxID(rows.int(0)), name: rows.string(1), validity: uint32(rows.int(2)), use: rows.string(3)})
	}
	return list, rows.close()
}

// findAccount finds the account here, or makes it as it was.
func (b *bringer) findAccount(source AccountID) error {
	have, err := b.s.AccountByAddress(b.ctx, b.sel.Account)
	if err == nil || !errors.Is(err, ErrNotFound) {
		b.account = have.ID
		return err
	}
	var secrets Secrets
	var domain, settings string
	var bytes, messages int64
	err = b.from.queryRow("SELECT domain, salt, iterations, quota_bytes, quota_messages, settings FROM accounts WHERE id = ?", source).
		scan(&domain, &secrets.Salt, &secrets.Iterations, &bytes, &messages, &settings)
	if err != nil {
		return err
	}
	own, err := parseSettings(settings)
	if err != nil {
		return err
	}
	rows, err := b.from.query("SELECT name, stored_key, server_key, created FROM credentials WHERE account = ?", source)
	if err != nil {
		return err
	}
	for rows.next() {
		secrets.Credentials = append(secrets.Credentials, Credential{Name: rows.string(0), StoredKey: rows.blob(1),
			ServerKey: rows.blob(2), Created: time.Unix(rows.int(3), 0)})
	}
	if err := rows.close(); err != nil {
		return err
	}
	if err := b.s.CreateDomain(b.ctx, domain); err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	if have, err = b.s.CreateAccount(b.ctx, b.sel.Account, secrets, []NewMailbox{{Name: inboxName}}); err != nil {
		return err
	}
	b.account, b.done.Account = have.ID, true
	if err := b.s.SetAccountSettings(b.ctx, have.ID, own); err != nil {
		return err
	}
	return b.s.SetQuota(b.ctx, have.ID, bytes, messages)
}

// loadUIDLs learns which messages the account has, and which it could have back.
func (b *bringer) loadUIDLs() error {
	b.live, b.kept = map[[16]byte]location{}, map[[16]byte]location{}
	attics, err := b.s.attics(b.ctx, b.account, "")
	if err != nil {
		return err
	}
	for i := range attics {
		for _, table := range []string{"messages", "expunged"} {
			if err := b.loadTable(&attics[i], table); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bringer) loadTable(x *attic, table string) error {
	for after, n := UID(0), verifySlice; n == verifySlice; {
		err := b.s.read(b.ctx, "read UIDLs", func(r *reader) error {
			rows, err := r.query("SELECT uid, uidl FROM "+table+` WHERE mailbox = ? AND uid > ? AND content IS NOT NULL AND flags & ? = 0
				ORDER BY uid LIMIT ?`, x.id, after, movedAway, verifySlice)
			if err != nil {
				return err
			}
			for n = 0; rows.next(); n++ {
				after = UID(rows.int(0))
				key := uidlKey(rows.string(1), x.validity, after)
				if table == "messages" {
					b.live[key] = location{x.id, after}
				} else {
					b.kept[key] = location{x.id, after}
				}
			}
			return rows.close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// uidlKey is a UIDL, or a derived one, in little memory.
func uidlKey(uidl string, validity uint32, uid UID) [16]byte {
	if uidl == "" {
		uidl = derivedUIDL(validity, uid)
	}
	sum := sha256.Sum256([]byte(uidl))
	return [16]byte(sum[:16])
}

// mailbox brings what is missing of one mailbox of the backup.
func (b *bringer) mailbox(x *attic) error {
	defer b.discard()
	var err error
	if x.keywords, err = keywordList(b.from, x.id); err != nil {
		return err
	}
	to, err := b.destination(x)
	if err != nil {
		return err
	}
	for after, more := UID(0), true; more; {
		var list []*incoming
		if list, err = b.next(x, after); err != nil {
			return err
		}
		more = len(list) == bringMessages
		for _, m := range list {
			after = m.uid
			b.seen++
			if err := b.bring(to, m); err != nil {
				return fmt.Errorf("message %d: %w", m.uid, err)
			}
			if len(b.batch) >= bringMessages || b.octets >= bringOctets {
				if err := b.flush(to); err != nil {
					return err
				}
			}
		}
		if b.progress != nil {
			b.progress(b.seen)
		}
	}
	return b.flush(to)
}

// destination is the mailbox of that name here, made and subscribed where it is
// missing.
func (b *bringer) destination(x *attic) (MailboxID, error) {
	have, err := b.s.Mailbox(b.ctx, b.account, x.name)
	if !errors.Is(err, ErrNotFound) {
		return have.ID, err
	}
	var id MailboxID
	err = b.s.write(b.ctx, "create mailbox", func(t *tx) (err error) {
		id, err = t.recreate(b.account, x)
		return err
	})
	if err != nil {
		return 0, err
	}
	b.done.Mailboxes = append(b.done.Mailboxes, x.name)
	var subscribed bool
	err = b.from.queryRow(`SELECT EXISTS (SELECT 1 FROM subscriptions s JOIN mailboxes m ON m.account = s.account AND m.name = s.name
		WHERE m.id = ? AND active = 1)`, x.id).scan(&subscribed)
	if err == nil && subscribed {
		err = b.s.Subscribe(b.ctx, b.account, x.name, true)
	}
	return id, err
}

// next reads the backup's next messages after a UID.
func (b *bringer) next(x *attic, after UID) ([]*incoming, error) {
	rows, err := b.from.query(`SELECT m.uid, m.flags, m.keywords, m.received, m.uidl, m.prefix, m.size,
			c.id, c.body, c.prefix_len, c.parser, c.threadid, c.structure, c.envelope, c.parts, c.meta, b.hash, b.size
		FROM messages m LEFT JOIN contents c ON c.id = m.content LEFT JOIN bodies b ON b.id = c.body
		WHERE m.mailbox = ?1 AND m.uid > ?2 AND (?3 = 0 OR m.uid = ?3) ORDER BY m.uid LIMIT ?4`, x.id, after, b.sel.UID, bringMessages)
	if err != nil {
		return nil, err
	}
	defer rows.close()
	var list []*incoming
	for rows.next() {
		m := &incoming{uid: UID(rows.int(0)), content: ContentID(rows.int(7)), body: BodyID(rows.int(8)), prefixLen: int(rows.int(9)),
			keywords: namesOf(x.keywords, KeywordSet(rows.int(2))), hash: rows.blob(16), bodySize: rows.int(17)}
		m.row = newRow{size: rows.int(6), flags: Flags(rows.int(1)) &^ POP3Retrieved, received: rows.int(3), uidl: rows.string(4), prefix: rows.blob(5)}
		if m.row.uidl == "" {
			m.row.uidl = derivedUIDL(x.validity, m.uid)
		}
		m.parsed = Parsed{Version: int(rows.int(10)), ThreadID: uint64(rows.int(11)), Structure: rows.blob(12),
			Envelope: rows.blob(13), Parts: rows.blob(14), Meta: rows.blob(15)}
		if rows.null(16) {
			return nil, fmt.Errorf("message %d of the backup: %w", m.uid, ErrDamaged)
		}
		list = append(list, m)
	}
	return list, rows.close()
}
