package imap

import (
	"context"
	"errors"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// response is a tagged NO or BAD, as an error.
type response struct {
	status string // NO, BAD
	code   string // response code without brackets (RFC 9051 7.1), or ""
	text   string // public
}

func (r *response) Error() string { return r.status + " " + r.text }

// no and badSyntax are the refusals that commands give.
func no(code, text string) error  { return &response{"NO", code, text} }
func badSyntax(text string) error { return &response{"BAD", "", text} }

// textShutdown is what clients hear of a shutdown.
const textShutdown = "The server is shutting down"

// errUIDRequired refuses what has to do with sequence numbers (RFC 9586 3).
var errUIDRequired error = &response{"BAD", "UIDREQUIRED", "Sequence numbers are not used after ENABLE UIDONLY"}

// bye ends the session: the text goes out untagged before the connection closes.
type bye struct {
	code string
	text string
}

func (b *bye) Error() string { return "BYE " + b.text }

// errLogout ends the session after LOGOUT's tagged response.
var errLogout = errors.New("logout")

// translate makes the tagged response of an error from below. The second result
// says that it is our fault and belongs into the log with its cause.
func translate(err error) (r *response, ours bool) {
	if r, ok := errors.AsType[*response](err); ok {
		return r, false
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return translateSyntax(e), false
	}
	switch {
	case errors.Is(err, message.ErrNUL):
		// RFC 3516 4.4: only a literal8 may carry it, in parts that say so.
		return &response{"NO", "UNKNOWN-CTE", "The message has NUL octets outside of binary parts"}, false
	case errors.Is(err, storage.ErrNotFound):
		return &response{"NO", "NONEXISTENT", "There is no such mailbox"}, false
	case errors.Is(err, storage.ErrExists):
		return &response{"NO", "ALREADYEXISTS", "The mailbox exists already"}, false
	case errors.Is(err, storage.ErrInvalid):
		return &response{"NO", "CANNOT", "The store cannot hold that name"}, false
	case errors.Is(err, storage.ErrOverQuota):
		return &response{"NO", "OVERQUOTA", "The account's quota is used up"}, false
	case errors.Is(err, storage.ErrTooMany):
		return &response{"NO", "LIMIT", "That is more than the server keeps"}, false
	case errors.Is(err, storage.ErrDiskFull):
		// RFC 9051 7.1: OVERQUOTA is for "no space", whoever's it is; clients know it.
		return &response{"NO", "OVERQUOTA", "The server's disk is full, try again later"}, true
	case errors.Is(err, storage.ErrReadOnly):
		return &response{"NO", "UNAVAILABLE", "The server cannot write now, try again later"}, true
	case errors.Is(err, storage.ErrClosed), errors.Is(err, context.Canceled):
		return &response{"NO", "UNAVAILABLE", textShutdown}, false
	}
	return &response{"NO", "SERVERBUG", "Internal error, it was logged"}, true
}

// translateSyntax answers a fault in the client's input.
func translateSyntax(e *wire.Error) *response {
	switch {
	case errors.Is(e, wire.ErrLiteralTooBig):
		return &response{"NO", "TOOBIG", e.Text}
	case errors.Is(e, wire.ErrName):
		return &response{"NO", "CANNOT", e.Text}
	}
	return &response{"BAD", "", e.Text}
}
