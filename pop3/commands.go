package pop3

// states are those of a session, RFC 1939 3; UPDATE is the inside of QUIT.
type states uint8

const (
	authorization states = iota + 1
	transaction
	anyState
)

// command is an entry of the table. run gets what follows the keyword and a
// space; it appends a response to the output, or returns an error before it has
// appended anything.
type command struct {
	in  states
	run func(s *session, rest []byte) error
}

// lookup finds a command by its keyword in capitals.
func lookup(name string) (command, bool) {
	switch name {
	case "CAPA":
		return command{anyState, (*session).capa}, true
	case "USER":
		return command{authorization, (*session).userCommand}, true
	case "PASS":
		return command{authorization, (*session).pass}, true
	case "AUTH":
		return command{authorization, (*session).authCommand}, true
	case "STLS":
		return command{authorization, (*session).stls}, true
	case "UTF8":
		return command{authorization, (*session).utf8Command}, true
	case "LANG":
		return command{anyState, (*session).lang}, true
	case "STAT":
		return command{transaction, (*session).stat}, true
	case "LIST":
		return command{transaction, (*session).list}, true
	case "UIDL":
		return command{transaction, (*session).uidl}, true
	case "RETR":
		return command{transaction, (*session).retr}, true
	case "TOP":
		return command{transaction, (*session).top}, true
	case "DELE":
		return command{transaction, (*session).dele}, true
	case "RSET":
		return command{transaction, (*session).rset}, true
	case "NOOP":
		return command{transaction, (*session).noop}, true
	case "QUIT":
		return command{anyState, (*session).quit}, true
	}
	return command{}, false
}

// none refuses arguments where there are to be none.
func none(rest []byte) error {
	if fields(rest, nil) != 0 {
		return bad("The command takes no arguments")
	}
	return nil
}

// noop answers NOOP (RFC 1939 5).
func (s *session) noop(rest []byte) error {
	if err := none(rest); err != nil {
		return err
	}
	s.ok("Still here")
	return nil
}
