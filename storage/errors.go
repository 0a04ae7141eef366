package storage

import "errors"

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
	ErrTooMany   = errors.New("too many")  // keywords, mailboxes: a bound of the store
	ErrNotEmpty  = errors.New("not empty") // a domain that still has accounts
	ErrClosed    = errors.New("the store is closed")
	ErrStop      = errors.New("stop") // a callback's way to end an iteration early; not returned
)
