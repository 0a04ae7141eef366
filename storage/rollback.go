package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Rollback puts the snapshot of before the last upgrade back into the data
// folder dir, which no server may own, so that the posthorn of before can run
// on it. It refuses when messages or accounts came since, unless leaveNew: then
// they are in the newer database alone, which is kept aside. What a Restore
// does to UIDVALIDITYs, UIDLs and the queue, it does too. Errors are one line of
// WHAT: WHERE: HOW TO MEND.
func Rollback(ctx context.Context, dir string, o Options, leaveNew bool) (Restored, error) {
	o.Existing = true
	s, err := lockStore(dir, o)
	if err != nil {
		return Restored{}, err
	}
	defer s.lock.Close()
	file, err := s.lastSnapshot()
	if err != nil {
		return Restored{}, err
	}
	if !leaveNew {
		if err := s.nothingCameSince(file); err != nil {
			return Restored{}, err
		}
	}
	return s.install(ctx, file, "before-rollback", func(*conn, string) error { return nil })
}

// lastSnapshot is the newest one that is older than the database.
func (s *Store) lastSnapshot() (string, error) {
	dir := s.path(snapshotDir)
	const mend = "there was no upgrade yet that could be undone; to go back to a backup, use posthorn restore"
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", refuse("the snapshots cannot be read", dir, "let the user that runs posthorn own the folder", err)
	}
	current, known := s.schemaVersion()
	var newest, when string
	for _, e := range entries {
		var version int
		name := e.Name()
		if n, _ := fmt.Sscanf(name, "schema-%d-", &version); n != 1 || !strings.HasSuffix(name, ".db") || known && version >= current {
			continue
		}
		// Newer ones of an older version, from after an earlier rollback, count.
		if stamp := name[strings.IndexByte(name[len("schema-"):], '-')+len("schema-"):]; stamp > when {
			newest, when = name, stamp
		}
	}
	if newest == "" {
		return "", refuse("there is no snapshot from before an upgrade", dir, mend, nil)
	}
	return filepath.Join(dir, newest), nil
}

// schemaVersion is the database's; known is false where it cannot be read.
func (s *Store) schemaVersion() (version int, known bool) {
	path := s.path(databaseName)
	if _, err := os.Stat(path); err != nil {
		return 0, false
	}
	c, err := openConn(fileURI(path), []string{"busy_timeout = 10000"})
	if err == nil {
		err = errors.Join(c.queryRow("PRAGMA user_version").scan(&version), c.close())
	}
	return version, err == nil
}

// nothingCameSince refuses a snapshot that lacks messages or accounts of the
// database. Ids are never given out twice, so that what is new is above what
// the snapshot gave out last.
func (s *Store) nothingCameSince(file string) error {
	const force = "posthorn rollback --leave-new-mail goes back all the same and keeps the newer database aside"
	var contents, accounts int64
	old, err := openCopy(file)
	if err == nil {
		const last = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'contents'), 0), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'accounts'), 0)"
		err = errors.Join(old.queryRow(last).scan(&contents, &accounts), old.close())
	}
	if err != nil {
		return refuse("the snapshot cannot be read", file, "restore a backup instead", err)
	}
	var messages, people int64
	c, err := openConn(s.dsn(), []string{"busy_timeout = 10000"})
	if err == nil {
		err = errors.Join(c.queryRow(`SELECT (SELECT count(*) FROM messages WHERE content > ?1) + (SELECT count(*) FROM queued WHERE content > ?1),
			(SELECT count(*) FROM accounts WHERE id > ?2)`, contents, accounts).scan(&messages, &people), c.close())
	}
	if err != nil {
		return refuse("it cannot be told what came since the snapshot", s.path(databaseName), force, err)
	}
	if messages > 0 || people > 0 {
		return refuse(fmt.Sprintf("%d messages and %d accounts came since the upgrade, and the snapshot lacks them", messages, people), file, force, nil)
	}
	return nil
}
