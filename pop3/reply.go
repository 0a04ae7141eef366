package pop3

import (
	"context"
	"errors"

	"posthorn/auth"
	"posthorn/internal/listener"
	"posthorn/storage"
)

// Response codes.
const (
	codeInUse      = "IN-USE"      // RFC 2449 8.1.2
	codeLoginDelay = "LOGIN-DELAY" // RFC 2449 8.1.1
	codeTemporary  = "SYS/TEMP"    // RFC 3206 4
	codeAuth       = "AUTH"        // RFC 3206 5
)

// response is an -ERR, as an error.
type response struct {
	code string // without brackets, or ""
	text string // public
}

func (r *response) Error() string { return "-ERR " + r.text }

func (r *response) append(dst []byte) []byte {
	dst = append(dst, "-ERR "...)
	if r.code != "" {
		dst = append(dst, '[')
		dst = append(dst, r.code...)
		dst = append(dst, "] "...)
	}
	dst = append(dst, r.text...)
	return append(dst, '\r', '\n')
}

// refusal is what a client hears that is not let in.
func refusal(why listener.Reason) *response {
	switch why {
	case listener.Connections:
		return &response{codeTemporary, "Too many connections, try again later"}
	case listener.PerAddress:
		return &response{codeTemporary, "Too many connections from your address"}
	}
	return &response{codeTemporary, "The server is shutting down"}
}

// refuse is the answer to a command that cannot be done.
func refuse(code, text string) error { return &response{code, text} }

// badCommand is the answer to a command that is wrong in itself: too many of
// them end the session.
type badCommand struct{ text string }

func (b *badCommand) Error() string { return "-ERR " + b.text }

func bad(text string) error { return &badCommand{text} }

// translate makes the response of an error. The second result says that it is
// our fault and belongs into the log with its cause.
func translate(err error) (r *response, ours bool) {
	if r, ok := errors.AsType[*response](err); ok {
		return r, false
	}
	if b, ok := errors.AsType[*badCommand](err); ok {
		return &response{"", b.text}, false
	}
	if r := translateLogin(err); r != nil {
		return r, false
	}
	switch {
	case errors.Is(err, errLongLine):
		return &response{"", "The line is too long"}, false
	case errors.Is(err, storage.ErrNotFound):
		return &response{"", "The message is no longer there"}, false
	case errors.Is(err, storage.ErrDiskFull):
		return &response{codeTemporary, "The server's disk is full, try again later"}, true
	case errors.Is(err, storage.ErrReadOnly):
		// RFC 3206 4: a disk that fails a write may take the next one, and the
		// server goes on by itself once it does.
		return &response{codeTemporary, "The server cannot write now, try again later"}, true
	case errors.Is(err, storage.ErrClosed), errors.Is(err, context.Canceled):
		return refusal(listener.Draining), false
	}
	return &response{codeTemporary, "Internal error, it was logged; try again later"}, true
}

// translateLogin makes the response of a failed login, which auth has logged.
func translateLogin(err error) *response {
	switch {
	case errors.Is(err, auth.ErrCredentials):
		return &response{codeAuth, "Authentication failed"}
	case errors.Is(err, auth.ErrPlaintext):
		return &response{"", "Use STLS or the TLS port first"}
	case errors.Is(err, auth.ErrMechanism):
		return &response{"", "That authentication mechanism is not available"}
	case errors.Is(err, auth.ErrMalformed):
		return &response{"", "Malformed authentication message"}
	case errors.Is(err, auth.ErrTemporary):
		return &response{codeTemporary, "Authentication is not possible now, try again later"}
	}
	return nil
}
