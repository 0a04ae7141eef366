// Package transfer moves mail in and out: from and to Maildir trees and mbox
// files, and in from other IMAP servers.
//
// Everything streams. What is held in memory is one batch of messages for one
// transaction, a few octets for each message of the one folder at work, and
// nothing that grows with the size of a message.
//
// A transfer that was cut off, at any moment, is repeated: what is there already
// is left alone. An import knows a message by its folder, its date and its
// octets, as many times as it is there; one from an IMAP server also remembers
// how far it came in each folder. An export knows a Maildir's messages by their
// file names, and an mbox file's by a note beside it.
//
// Octets: messages on disk have lines that end in LF, as other programs expect;
// those in the store end in CRLF, so that nothing is lost on the way there and
// back. A NUL is dealt with as in a literal8 of APPEND.
//
// RFC 4155 (mbox), RFC 3501 5.1.3 (names in modified UTF-7), RFC 6154 (special
// uses), RFC 1939 7 (unique-ids), RFC 3516 4.4 (NUL).
package transfer

import (
	"errors"
	"time"
)

// Tally counts the messages of a transfer.
type Tally struct {
	Done    int64 // carried over
	Present int64 // were there already
	Failed  int64 // could not be carried over; Problem told why
}

// Reports are where a transfer tells how it is doing. Nil ones are left out.
type Reports struct {
	// Progress gets a short line about once a second.
	Progress func(line string)
	// Problem gets what could not be carried over, or not whole, and why.
	Problem func(where string, err error)

	told time.Time // of the last progress, or of the start
}

// due tells that progress is to be told.
func (r *Reports) due() bool {
	if r.Progress == nil {
		return false
	}
	if r.told.IsZero() {
		r.told = time.Now()
	}
	if time.Since(r.told) < time.Second {
		return false
	}
	r.told = time.Now()
	return true
}

func (r *Reports) problem(where string, err error) {
	if r.Problem != nil {
		r.Problem(where, err)
	}
}

// ErrNotOurs refuses to write where something else has written.
var ErrNotOurs = errors.New("written by something else; nothing was overwritten")

// errEmpty refuses a message without octets, as APPEND does (RFC 3502 6.3.11).
var errEmpty = errors.New("the message is empty")

// broken marks an error as that of one message: the transfer goes on.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }
