package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// restoringName is the database while it is being made ready.
const restoringName = "restoring.db"

// Restored says what Restore or Rollback did.
type Restored struct {
	Accounts, Messages int64
	Held               int64  // queued recipients that wait for an operator's release
	Aside              string // where the database that was there before is kept; "": there was none
}

// Restore makes the backup in src the database of the data folder dir, which no
// server may own: ErrLocked. What stood there is kept aside. Every mailbox gets
// a new UIDVALIDITY, so that no client takes the old mail for what it has seen
// since; UIDLs stay, so that POP3 clients download nothing twice; what was
// queued is held, since it may have been sent after the backup. All counters
// are counted anew. Errors are one line of WHAT: WHERE: HOW TO MEND.
func Restore(ctx context.Context, src, dir string, o Options) (Restored, error) {
	m, err := ReadManifest(src)
	if err != nil {
		return Restored{}, err
	}
	if known := len(migrations()); m.Schema > known {
		return Restored{}, refuse("the backup is of a newer posthorn", src,
			fmt.Sprintf("it has schema version %d and this posthorn knows %d: restore it with the newer posthorn", m.Schema, known), nil)
	}
	s, err := lockStore(dir, o)
	if err != nil {
		return Restored{}, err
	}
	defer s.lock.Close()
	return s.install(ctx, filepath.Join(src, databaseName), "before-restore", func(c *conn, sum string) error {
		if sum != m.SHA256 {
			return refuse("the backup is damaged", src, "its database has another SHA-256 than its manifest says: take another backup", nil)
		}
		if m.Schema == len(migrations()) {
			return nil
		}
		return s.apply(c, m.Schema, migrations())
	})
}

// install puts a copy of the database file in place of the one that is there,
// which it keeps aside. ready, given the copy and its SHA-256, may refuse it.
func (s *Store) install(ctx context.Context, file, aside string, ready func(c *conn, sum string) error) (Restored, error) {
	var done Restored
	path := s.path(restoringName)
	clean := func() {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(path + suffix)
		}
	}
	clean() // what an earlier try left
	defer clean()
	sum, err := s.copyIn(ctx, file, path)
	if err != nil {
		return done, refuse("the copy cannot be made", file, "free space on the disk of "+s.dir+" and see that this user may read the backup", err)
	}
	floor := s.lastUIDValidity()
	c, err := openConn(fileURI(path), writerPragmas())
	if err != nil {
		return done, refuse("the copy does not open", file, "take another backup", err)
	}
	var folder []byte
	if err = ready(c, sum); err == nil {
		if done.Held, err = renew(c, s.now().Unix(), floor); err != nil {
			err = refuse("the copy cannot be made ready", file, "take another backup, or free space on the disk of "+s.dir, classify(err))
		}
	}
	if err == nil {
		err = c.queryRow(`SELECT (SELECT value FROM meta WHERE name = 'id'), (SELECT count(*) FROM accounts),
			(SELECT coalesce(sum(messages), 0) FROM mailboxes)`).scan(&folder, &done.Accounts, &done.Messages)
	}
	if err == nil {
		err = c.script("PRAGMA wal_checkpoint(TRUNCATE)")
	}
	if err = errors.Join(err, c.close()); err != nil {
		return done, err
	}
	done.Aside, err = s.swap(path, aside)
	if err == nil {
		err = writeSynced(s.path(markerName), markerText(string(folder)))
	}
	if err == nil {
		err = syncFolder(s.dir)
	}
	if err != nil {
		return done, refuse("the restored database cannot be put in place", s.dir, "see that this user owns the folder and its files, and try again", err)
	}
	return done, nil
}

// copyIn copies a database file to path, on the disk, and returns its SHA-256.
func (s *Store) copyIn(ctx context.Context, file, path string) (sum string, err error) {
	in, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	info, err := in.Stat()
	if err == nil {
		err = needSpace(s.dir, info.Size()+info.Size()/4) // the log while it is made ready
	}
	if err != nil {
		return "", err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, hash), contextReader{ctx, in})
	return hex.EncodeToString(hash.Sum(nil)), errors.Join(err, out.Sync(), out.Close())
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// lastUIDValidity is the highest that the database in place gave out, 0 where
// there is none that can be read.
func (s *Store) lastUIDValidity() int64 {
	path := s.path(databaseName)
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return 0
	}
	var last int64
	c, err := openConn(fileURI(path), []string{"busy_timeout = 10000"})
	if err == nil {
		err = errors.Join(c.queryRow("SELECT coalesce(max(uidvalidity), 0) FROM accounts").scan(&last), c.close())
	}
	if err != nil {
		s.log.Warn("storage: the database that is replaced cannot be read; it is kept aside as it is", "err", err)
	}
	return last
}

// swap puts the file in the database's place and returns where that one is now.
// A crash in between leaves a folder that Open refuses, and nothing lost.
func (s *Store) swap(file, aside string) (kept string, err error) {
	path := s.path(databaseName)
	_, err = os.Stat(path)
	if err == nil {
		kept = s.path(aside + "-" + s.now().UTC().Format("20060102-150405") + ".db")
		err = os.Rename(path, kept)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if kept != "" {
		if err := os.Rename(path+"-wal", kept+"-wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return kept, err
		}
	}
	if err := os.Remove(path + "-shm"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return kept, err
	}
	if err := os.Rename(file, path); err != nil {
		return kept, err
	}
	return kept, syncFolder(s.dir)
}

// renewal makes an old database fit to go on from, in this order; ?1 is the
// UIDVALIDITY that all new ones are above. It names only what the schema has
// since version 1, since a rollback runs it on older ones.
var renewal = [...]string{
	// UIDLs that follow from the UIDVALIDITY are written down before it changes.
	`UPDATE messages SET uidl = printf('%08x-%08x', m.uidvalidity, uid) FROM mailboxes m WHERE m.id = mailbox AND uidl IS NULL`,
	`UPDATE expunged SET uidl = printf('%08x-%08x', m.uidvalidity, uid) FROM mailboxes m
		WHERE m.id = mailbox AND uidl IS NULL AND content IS NOT NULL`,
	`UPDATE mailboxes SET uidvalidity = n.v FROM (SELECT m.id, max(a.uidvalidity, ?1) + row_number() OVER (PARTITION BY m.account ORDER BY m.id) AS v
		FROM mailboxes m JOIN accounts a ON a.id = m.account) AS n WHERE n.id = mailboxes.id`,
	`UPDATE accounts SET uidvalidity = max(uidvalidity, ?1, (SELECT coalesce(max(uidvalidity), 0) FROM mailboxes WHERE account = accounts.id))`,
	// Ids that were given out after the copy was made are not given out again:
	// clients know contents and mailboxes by them (RFC 8474).
	`UPDATE sqlite_sequence SET seq = seq + (1 << 24)`,
	// Counters.
	`UPDATE contents SET refs = coalesce(n, 0) FROM (SELECT id AS content, n FROM contents LEFT JOIN (SELECT content, count(*) AS n FROM (
			SELECT content FROM messages
			UNION ALL SELECT content FROM expunged WHERE content IS NOT NULL AND flags & (1 << 30) = 0
			UNION ALL SELECT content FROM queued) GROUP BY content) AS used ON used.content = id) AS c
		WHERE c.content = contents.id AND refs <> coalesce(n, 0)`,
	`UPDATE bodies SET refs = coalesce(n, 0) FROM (SELECT b.id AS body, n FROM bodies b LEFT JOIN
			(SELECT body, count(*) AS n FROM contents GROUP BY body) AS used ON used.body = b.id) AS c
		WHERE c.body = bodies.id AND refs <> coalesce(n, 0)`,
	`UPDATE mailboxes SET (messages, unseen, deleted, size, uidnext, highestmodseq) =
		(SELECT count(*), coalesce(sum(flags & 1 = 0), 0), coalesce(sum(flags & 8 <> 0), 0), coalesce(sum(m.size), 0),
			max(uidnext, coalesce(max(uid), 0) + 1), max(highestmodseq, coalesce(max(m.modseq), 0))
		 FROM messages m WHERE m.mailbox = mailboxes.id)`,
	`UPDATE accounts SET (used_messages, used_bytes, modseq) =
		(SELECT coalesce(sum(messages), 0), coalesce(sum(size), 0), max(accounts.modseq, coalesce(max(highestmodseq), 0), coalesce(max(m.modseq), 0)) + 1
		 FROM mailboxes m WHERE m.account = accounts.id)`,
	`UPDATE accounts SET (retained_messages, retained_bytes) =
		(SELECT count(*), coalesce(sum(size), 0) FROM expunged WHERE content IS NOT NULL AND flags & (1 << 30) = 0 AND mailbox IN
			(SELECT id FROM mailboxes WHERE account = accounts.id UNION ALL SELECT id FROM deleted_mailboxes WHERE account = accounts.id))`,
}

// renew runs the renewal and holds what is queued, in one transaction; it
// returns how many recipients are held.
func renew(c *conn, now, lastUIDValidity int64) (held int64, err error) {
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	for _, step := range renewal {
		var args []any
		if strings.Contains(step, "?1") {
			args = append(args, max(now, lastUIDValidity))
		}
		if _, err := c.exec(step, args...); err != nil {
			return 0, err
		}
	}
	if _, err := c.exec("UPDATE hops SET state = ? WHERE state <> ?1", int(HopHeld)); err != nil {
		return 0, err
	}
	if err := c.queryRow("SELECT count(*) FROM hops").scan(&held); err != nil {
		return 0, err
	}
	return held, c.script("COMMIT")
}
