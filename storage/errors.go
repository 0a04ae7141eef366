package storage

import (
	"errors"
	"syscall"

	sqlitelib "modernc.org/sqlite/lib"
)

// What callers can act on. Methods wrap these with the operation; test with
// errors.Is. Anything else is a fault of ours or of the disk and is worth a
// retry later.
var (
	ErrNotFound  = errors.New("not found")
	ErrExists    = errors.New("already exists")
	ErrInvalid   = errors.New("invalid")    // a name or value that the store cannot hold
	ErrOverQuota = errors.New("over quota") // the account's bytes or messages
	ErrDiskFull  = errors.New("no space left on the disk")
	ErrReadOnly  = errors.New("the disk does not take writes")
	ErrTooMany   = errors.New("too many")                  // keywords, mailboxes: a bound of the store
	ErrNotEmpty  = errors.New("not empty")                 // a domain that still has accounts
	ErrExpunged  = errors.New("expunged")                  // a message that was to be replaced
	ErrLocked    = errors.New("the data folder is in use") // by another process
	ErrDamaged   = errors.New("damaged on the disk")       // what was asked for; the rest of the store works
	ErrClosed    = errors.New("the store is closed")
	ErrOldSchema = errors.New("the database is of an older posthorn") // and Options.NoUpgrade is set
	ErrStop      = errors.New("stop")                                 // a callback's way to end an iteration early; not returned
)

// sentinel is what a driver's or the system's error means to callers, or nil.
func sentinel(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrDiskFull
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return ErrReadOnly
	}
	switch resultCode(err) {
	case sqlitelib.SQLITE_IOERR_WRITE, sqlitelib.SQLITE_IOERR_FSYNC, sqlitelib.SQLITE_IOERR_DIR_FSYNC,
		sqlitelib.SQLITE_IOERR_TRUNCATE, sqlitelib.SQLITE_IOERR_DELETE:
		// The driver does not tell the system's reason, such as EROFS.
		return ErrReadOnly
	case sqlitelib.SQLITE_IOERR_SHMSIZE:
		return ErrDiskFull // the log's index cannot grow
	}
	switch resultCode(err) & 0xff {
	case sqlitelib.SQLITE_FULL:
		return ErrDiskFull
	case sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_PERM:
		return ErrReadOnly
	case sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB:
		return ErrDamaged
	}
	return nil
}

// resultCode is SQLite's extended result code, or 0.
func resultCode(err error) int {
	var e *sqliteError
	if errors.As(err, &e) {
		return int(e.code)
	}
	return 0
}

// isDamage tells errors that mean broken bytes rather than a passing trouble.
func isDamage(err error) bool {
	switch resultCode(err) & 0xff {
	case sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB:
		return true
	}
	return false
}

// isConflict tells that a UNIQUE or PRIMARY KEY stood in the way.
func isConflict(err error) bool {
	switch resultCode(err) {
	case sqlitelib.SQLITE_CONSTRAINT_UNIQUE, sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY, sqlitelib.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return false
}
