package storage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
)

// The files of a data folder.
const (
	databaseName = "posthorn.db"
	markerName   = "posthorn.id" // says that a database belongs here
	lockName     = "lock"
	snapshotDir  = "snapshots" // of before migrations
)

// applicationID marks our database files for file(1) and for Open ("Post").
const applicationID = 0x506f7374

// Options are Open's settings; the zero value is right for production.
type Options struct {
	Logger *slog.Logger     // nil: slog.Default()
	Now    func() time.Time // nil: time.Now
	// Retention is how long expunged mail can be had back; 0: 14 days.
	Retention time.Duration
	// TraceRetention is how long Trace finds an event; 0: 30 days.
	TraceRetention time.Duration
	// CompressAfter is the age at which stored bodies are compressed, when
	// nothing else is to do; 0: 5 minutes; below 0: never.
	CompressAfter time.Duration
	// Tombstones is how many expunged messages' UIDs a mailbox remembers at
	// least, after Retention; 0: 10,000. See Changes.Truncated.
	Tombstones int
	// Idle runs when hardly anything was read or written for a minute, and not
	// again before there was: the moment to give memory back. Nil: nothing.
	Idle func()
	// Existing refuses a folder without a store, where Open makes one otherwise.
	Existing bool
	// NoUpgrade refuses a database of an older schema with ErrOldSchema, where
	// Open upgrades it otherwise.
	NoUpgrade bool
	// Fault, for tests, runs before named steps ("begin", "commit", "chunk",
	// "read") and fails them with the error it returns.
	Fault func(step string) error

	unsynced bool // for a test: no commit is synced
}

// Store is the open data folder.
type Store struct {
	dir     string // absolute
	options Options
	log     *slog.Logger
	lock    *os.File
	writer  *writer
	readers *pool
	sweeper *sweeper
	indexes indexes // of the open mailboxes
	watches watches
	recents recents // claimed \Recent marks that are not written yet
	stages  stages
	leases  leases
	buffers buffers
	lookups lookups
	uses    atomic.Int64 // reads and writes since the sweeper's last look
	backups backups
	epoch   atomic.Uint64 // SecretsEpoch

	closeOnce sync.Once
	closeErr  error
}

// Open opens or creates the store in dir. It takes the folder's lock for the
// life of the process; errors say what is wrong, where, and how to mend it:
// a second instance, a newer schema, a damaged or vanished database.
func Open(dir string, o Options) (*Store, error) {
	s, err := lockStore(dir, o)
	if err != nil {
		return nil, err
	}
	c, err := s.openDatabase()
	if err != nil {
		s.lock.Close()
		return nil, err
	}
	pack, err := s.loadCompressor(c)
	if err != nil {
		c.close()
		s.lock.Close()
		return nil, s.unusable(err)
	}
	beside, err := newCheckpointer(s)
	if err != nil {
		c.close()
		s.lock.Close()
		return nil, s.unusable(err)
	}
	s.readers = newPool(func() (*conn, error) { return openConn(s.dsn(), readerPragmas()) })
	s.writer = newWriter(s, c, beside)
	s.sweeper = newSweeper(s, pack)
	return s, nil
}

// lockStore is a store without an open database, in a folder that is ours.
func lockStore(dir string, o Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, refuse("the data folder's path is unusable", dir, "name another folder as data_dir", err)
	}
	s := &Store{dir: abs, options: o.withDefaults()}
	s.log = s.options.Logger
	s.epoch.Store(1)
	if o.Existing {
		if err := s.mustExist(); err != nil {
			return nil, err
		}
	}
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	s.lock, err = s.lockFolder()
	return s, err
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Retention == 0 {
		o.Retention = 14 * 24 * time.Hour
	}
	if o.TraceRetention == 0 {
		o.TraceRetention = 30 * 24 * time.Hour
	}
	if o.CompressAfter == 0 {
		o.CompressAfter = 5 * time.Minute
	}
	if o.Tombstones == 0 {
		o.Tombstones = keepTombstones
	}
	return o
}

// Close waits for the writes under way and closes the database.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.backups.close()
		s.sweeper.close()
		recents := s.saveRecents(context.Background())
		s.packIndexes(context.Background())
		s.closeErr = errors.Join(recents, s.readers.close(), s.writer.close(), s.lock.Close())
	})
	return s.closeErr
}

func (s *Store) now() time.Time { return s.options.Now() }

func (s *Store) fault(step string) error {
	if s.options.Fault == nil {
		return nil
	}
	return s.options.Fault(step)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// dsn names the database to SQLite.
func (s *Store) dsn() string { return fileURI(s.path(databaseName)) }

func writerPragmas() []string {
	return []string{
		"busy_timeout = 10000",
		"page_size = 4096",          // this and the next take effect
		"auto_vacuum = INCREMENTAL", // only while the file is empty
		"journal_mode = WAL",        // stays with the file
		"synchronous = FULL",        // a commit is on the disk
		"wal_autocheckpoint = 0",    // see checkpointer
		"journal_size_limit = 16777216",
		"foreign_keys = ON",
		"secure_delete = OFF",
		"temp_store = MEMORY",
		"cache_size = -4096",
	}
}

func readerPragmas() []string {
	return []string{"busy_timeout = 10000", "temp_store = MEMORY", "cache_size = -1024", "query_only = ON"}
}

// refuse is an error that stops a start: WHAT: WHERE: HOW TO MEND.
func refuse(what, where, how string, cause error) error {
	if cause == nil {
		return fmt.Errorf("%s: %s: %s", what, where, how)
	}
	return fmt.Errorf("%s (%w): %s: %s", what, cause, where, how)
}

// openDatabase returns the writer's connection to a database of the current
// schema: created in a fresh folder, checked and migrated in a used one.
func (s *Store) openDatabase() (*conn, error) {
	path := s.path(databaseName)
	used, err := s.examineFiles()
	if err != nil {
		return nil, err
	}
	if !used {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, refuse("the database cannot be made", path, s.ownership(), err)
		}
		// SQLite has not opened the file yet: no lock is lost.
		if err := f.Close(); err != nil {
			return nil, refuse("the database cannot be made", path, "check the disk", err)
		}
	}
	// Where OFD locks do not exist, POSIX locks serve: nothing in the process
	// opens the file beside SQLite.
	if _, err := sqlite.OFDLocking(true); err != nil && !errors.Is(err, sqlite.ErrOFDLockingUnavailable) {
		s.log.Warn("storage: SQLite keeps POSIX locks", "err", err)
	}
	c, err := openConn(s.dsn()+"?vfs="+gatherName, writerPragmas())
	if err != nil {
		return nil, s.unusable(err)
	}
	if err = s.prepareDatabase(c, used); err == nil {
		if err = s.stages.load(c); err != nil {
			err = s.unusable(err)
		}
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// examineFiles tells whether the folder was used before, and refuses one whose
// database is gone: a new one in its place would look like lost mail.
func (s *Store) examineFiles() (used bool, err error) {
	path := s.path(databaseName)
	_, err = os.Stat(s.path(markerName))
	marked := err == nil
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		_, walErr := os.Stat(path + "-wal")
		if marked || walErr == nil {
			return false, refuse("the database is missing", path, "restore it from a backup; to begin anew without the old mail, move the whole folder away", nil)
		}
		return false, nil
	case err != nil:
		return false, refuse("the database cannot be read", path, s.ownership(), err)
	case info.Size() == 0 && marked:
		return false, refuse("the database is empty", path, "restore it from a backup; to begin anew without the old mail, move the whole folder away", nil)
	}
	return info.Size() > 0, nil
}

// unusable says in words why the database did not open.
func (s *Store) unusable(err error) error {
	path := s.path(databaseName)
	switch {
	case isDamage(err):
		return refuse("the database is damaged", path, "restore it from a backup; keep the damaged file, much of it may be recoverable", err)
	case errors.Is(classify(err), ErrDiskFull):
		return refuse("the disk is full", s.dir, "free some space and start again", err)
	case errors.Is(classify(err), ErrReadOnly):
		return refuse("the database is not writable", path, "let the user that runs posthorn own the folder and its files, on a writable disk", err)
	}
	return refuse("the database does not open", path, "check the disk and the folder's permissions", err)
}

// prepareDatabase brings the database to the current schema and leaves the marker.
func (s *Store) prepareDatabase(c *conn, used bool) error {
	if used {
		if err := s.check(c); err != nil {
			return err
		}
	}
	if err := s.migrate(c, migrations()); err != nil {
		return err
	}
	if _, err := os.Stat(s.path(markerName)); err == nil {
		return nil
	}
	// The database and its name reach the disk before the marker that vouches
	// for it.
	if err := c.script("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return s.unusable(err)
	}
	if err := syncFolder(s.dir); err != nil {
		return refuse("the data folder cannot be written", s.dir, "check the disk", err)
	}
	return s.writeMarker(c)
}

// check refuses a damaged or foreign database as far as a quick look can tell.
func (s *Store) check(c *conn) error {
	path := s.path(databaseName)
	var app, tables, pages int64
	err := c.queryRow("PRAGMA application_id").scan(&app)
	if err == nil {
		err = c.queryRow("SELECT count(*) FROM sqlite_master").scan(&tables)
	}
	if err == nil {
		err = c.queryRow("PRAGMA page_count").scan(&pages)
	}
	if err != nil {
		return s.unusable(err)
	}
	if app != applicationID && (app != 0 || tables != 0) {
		return refuse("the database is another program's", path, "set data_dir to posthorn's own folder", nil)
	}
	// After a checkpoint every page stands in the file: a shorter file was cut.
	if err := c.script("PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return s.unusable(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return s.unusable(err)
	}
	if info.Size() < pages*4096 {
		return refuse("the database is cut short", path,
			fmt.Sprintf("it should have %d octets and has %d; restore it from a backup", pages*4096, info.Size()), nil)
	}
	return s.checkTables(c)
}

// checkTables looks through the small tables that everything hangs on; a look
// at all mail would take too long here.
func (s *Store) checkTables(c *conn) error {
	for _, table := range []string{"meta", "domains", "accounts", "mailboxes"} {
		var has bool
		err := c.queryRow("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?)", table).scan(&has)
		found := "ok"
		if err == nil && has {
			err = c.queryRow("PRAGMA quick_check(" + table + ")").scan(&found)
		}
		if err != nil {
			return s.unusable(err)
		}
		if found != "ok" {
			return refuse("the database is damaged", s.path(databaseName),
				"its table "+table+" is broken; restore it from a backup and keep the damaged file, much of it may be recoverable", nil)
		}
	}
	return nil
}

func (s *Store) writeMarker(c *conn) error {
	var id []byte
	if err := c.queryRow("SELECT value FROM meta WHERE name = 'id'").scan(&id); err != nil {
		return s.unusable(err)
	}
	err := writeSynced(s.path(markerName), markerText(string(id)))
	if err == nil {
		err = syncFolder(s.dir)
	}
	if err != nil {
		return refuse("the folder's marker cannot be written", s.path(markerName), "check the disk's space and the folder's permissions", err)
	}
	return nil
}

func markerText(folder string) string {
	return "posthorn data folder " + folder + "\nKeep this file: it says that a database belongs here.\n"
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// randomHex is n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
