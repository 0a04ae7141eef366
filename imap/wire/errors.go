package wire

import "errors"

// Kinds of *Error, for errors.Is.
var (
	// ErrSyntax: the command does not follow the grammar. Answer BAD.
	ErrSyntax = errors.New("imap syntax error")
	// ErrLineTooLong: a line exceeds Limits.Line. Answer BAD.
	ErrLineTooLong = errors.New("imap line too long")
	// ErrLiteralTooBig: an argument exceeds Limits.Literal. Answer
	// NO [TOOBIG] or BAD (RFC 7888 section 4).
	ErrLiteralTooBig = errors.New("imap literal too big")
	// ErrCommandTooBig: lines and literals together exceed Limits.Command, a set
	// has too many elements or a list is nested too deeply. Answer BAD, or
	// NO [LIMIT] (RFC 9051 section 7.1).
	ErrCommandTooBig = errors.New("imap command too big")
	// ErrName: a well-formed argument that cannot be a mailbox name. Answer NO
	// or BAD.
	ErrName = errors.New("invalid mailbox name")
)

var (
	// ErrDesync means that skipping the rest of a command would cost more than
	// Limits.Drain octets, so that it cannot be told where the next command
	// begins. It is final: say BYE and close.
	ErrDesync = errors.New("imap: too much to skip before the next command")
	// ErrLiteralOpen is the caller's mistake: an argument was asked for while a
	// Literal was neither read to its end nor given up by Discard.
	ErrLiteralOpen = errors.New("imap: literal still open")
)

// Error is a fault in the client's input. After it, answer and call
// ReadCommand, which skips the rest of the command.
type Error struct {
	Tag  string // the command's tag; empty if none was read (answer untagged)
	Text string // safe to send as the text of a response
	Kind error  // one of ErrSyntax, ErrLineTooLong, ...
}

func (e *Error) Error() string { return e.Kind.Error() + ": " + e.Text }

func (e *Error) Unwrap() error { return e.Kind }

func (r *Reader) fail(kind error, text string) error {
	return &Error{Tag: string(r.tag), Text: text, Kind: kind}
}

func (r *Reader) syntax(text string) error { return r.fail(ErrSyntax, text) }
