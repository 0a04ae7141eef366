package smtp

import (
	"context"
	"errors"
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"posthorn/auth"
	"posthorn/internal/address"
	"posthorn/internal/delivery"
	"posthorn/storage"
)

// reply is an answer with its code, its enhanced code (RFC 2034) and its text.
type reply = gosmtp.SMTPError

func newReply(code int, class, subject, detail int, text string) *reply {
	return &reply{Code: code, EnhancedCode: gosmtp.EnhancedCode{class, subject, detail}, Message: text}
}

func replyBusy() *reply { return newReply(421, 4, 3, 2, "Too busy; try again later") }
func replyTooManyConnections() *reply {
	return newReply(421, 4, 7, 0, "Too many connections from your address")
}
func replyShutdown() *reply { return newReply(421, 4, 3, 2, "Shutting down; try again later") }
func replyTimeout() *reply  { return newReply(421, 4, 4, 2, "Timeout; closing the connection") }
func replyTooSlow() *reply  { return newReply(421, 4, 4, 2, "Too slow; closing the connection") }
func replyTooManyErrors() *reply {
	return newReply(421, 4, 7, 0, "Too many errors; closing the connection")
}
func replyTooBig() *reply {
	return newReply(552, 5, 3, 4, "The message is larger than this server takes")
}
func replySequence(text string) *reply  { return newReply(503, 5, 5, 1, text) }
func replyArguments(text string) *reply { return newReply(501, 5, 5, 4, text) }

// translate is the one place where an error becomes a reply. What it does not
// know is our fault and worth a retry. Causes are for the log: see cause.
func translate(err error) *reply {
	var r *reply
	var refusal *delivery.Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &refusal):
		return &reply{Code: refusal.Code, EnhancedCode: refusal.Status, Message: refusal.Text}
	case errors.Is(err, address.ErrSyntax):
		return newReply(501, 5, 1, 3, oneLine(err.Error()))
	case errors.Is(err, auth.ErrCredentials):
		return newReply(535, 5, 7, 8, "Authentication credentials invalid")
	case errors.Is(err, auth.ErrMalformed):
		return newReply(501, 5, 5, 2, "The authentication message is malformed")
	case errors.Is(err, auth.ErrMechanism):
		return newReply(504, 5, 5, 4, "Authentication mechanism not available")
	case errors.Is(err, auth.ErrPlaintext):
		return newReply(538, 5, 7, 11, "Authentication needs TLS; use STARTTLS first")
	case errors.Is(err, auth.ErrTemporary):
		return newReply(454, 4, 7, 0, "Authentication is not possible now; try again later")
	case errors.Is(err, storage.ErrDiskFull):
		return newReply(452, 4, 3, 1, "No room to store the message; try again later")
	case errors.Is(err, storage.ErrReadOnly):
		return newReply(452, 4, 3, 1, "The message cannot be stored now; try again later")
	case errors.Is(err, storage.ErrOverQuota):
		return newReply(452, 4, 2, 2, "Mailbox full")
	case errors.Is(err, storage.ErrClosed), errors.Is(err, context.Canceled):
		return replyShutdown()
	}
	return newReply(451, 4, 3, 0, "Local error; try again later")
}

// isOurs reports whether the error is a fault of ours, for the log's level.
func isOurs(err error) bool {
	var r *reply
	var refusal *delivery.Refusal
	switch {
	case errors.As(err, &r), errors.Is(err, address.ErrSyntax),
		errors.Is(err, auth.ErrCredentials), errors.Is(err, auth.ErrMalformed),
		errors.Is(err, auth.ErrMechanism), errors.Is(err, auth.ErrPlaintext):
		return false
	case errors.As(err, &refusal):
		return refusal.Cause != nil
	}
	return true
}

// oneLine keeps text fit for a reply: printable ASCII.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// appendReply writes a reply line; more says that others of the same reply follow.
func appendReply(dst []byte, code int, status gosmtp.EnhancedCode, text string, more bool) []byte {
	dst = strconv.AppendInt(dst, int64(code), 10)
	if more {
		dst = append(dst, '-')
	} else {
		dst = append(dst, ' ')
	}
	if status != (gosmtp.EnhancedCode{}) {
		for i, n := range status {
			if i > 0 {
				dst = append(dst, '.')
			}
			dst = strconv.AppendInt(dst, int64(n), 10)
		}
		dst = append(dst, ' ')
	}
	dst = append(dst, text...)
	return append(dst, "\r\n"...)
}
