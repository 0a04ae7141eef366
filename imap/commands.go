package imap

import "posthorn/storage"

// states is a set of the states of RFC 9051 3 in which a command is allowed.
type states uint8

const (
	notAuthenticated states = 1 << iota
	authenticated
	selected

	anyState = notAuthenticated | authenticated | selected
	loggedIn = authenticated | selected
)

// call is a command under way.
type call struct {
	name string // as the client is told: "UID FETCH"
	uid  bool   // the UID form: arguments and answers name UIDs
	// code and text are the tagged OK's; text defaults to "<name> completed".
	code string
	text string
	// keepExpunged holds EXPUNGE back after this command (RFC 9051 7.5.1).
	keepExpunged bool
	// silent are messages whose flags this command's STORE.SILENT has set, with
	// the ModSeq it gave them, ascending; sync leaves their flags out.
	silent []storage.Message
	// told: the command has told of the silent ones itself.
	told bool
	// expunges: the command expunges messages, so that EXPUNGE is its answer.
	expunges bool
	// heed is which events of the selected mailbox this command tells; nil: those
	// that NOTIFY says.
	heed *heed
	// noSync leaves out the mailbox's news altogether: the command has told them.
	noSync bool
}

// command is an entry of the table of commands.
type command struct {
	in  states
	run func(*session, *call) error
	// uid is the command's UID form; nil: there is none.
	uid func(*session, *call) error
	// keepExpunged: no EXPUNGE while the command's non-UID form runs.
	keepExpunged bool
	// numbers: its non-UID form names messages by their sequence numbers.
	numbers bool
	// writes: the command changes the selected mailbox, so EXAMINE forbids it
	// (RFC 9051 6.3.3). CLOSE and FETCH, which only may, look for themselves.
	writes bool
}

// lookup finds a command by its upper-case name.
func lookup(name []byte) (command, bool) {
	if c, ok := sessionCommand(name); ok {
		return c, true
	}
	if c, ok := mailboxCommand(name); ok {
		return c, true
	}
	return messageCommand(name)
}

// sessionCommand finds the commands about the connection and the login.
func sessionCommand(name []byte) (command, bool) {
	switch string(name) {
	case "CAPABILITY":
		return command{in: anyState, run: (*session).capability}, true
	case "NOOP":
		return command{in: anyState, run: (*session).noop}, true
	case "LOGOUT":
		return command{in: anyState, run: (*session).logout}, true
	case "ID":
		return command{in: anyState, run: (*session).idCommand}, true
	case "COMPRESS":
		// Not before the login: STARTTLS would have to go beneath it (RFC 4978 3).
		return command{in: loggedIn, run: (*session).compress}, true
	case "STARTTLS":
		return command{in: notAuthenticated, run: (*session).startTLS}, true
	case "AUTHENTICATE":
		return command{in: notAuthenticated, run: (*session).authenticate}, true
	case "LOGIN":
		return command{in: notAuthenticated, run: (*session).login}, true
	case "ENABLE":
		return command{in: loggedIn, run: (*session).enable}, true
	case "IDLE":
		return command{in: loggedIn, run: (*session).idle}, true
	case "NOTIFY":
		return command{in: loggedIn, run: (*session).notify}, true
	case "UNAUTHENTICATE":
		return command{in: loggedIn, run: (*session).unauthenticateCommand}, true
	}
	return command{}, false
}

// mailboxCommand finds the commands about mailboxes and the account.
func mailboxCommand(name []byte) (command, bool) {
	switch string(name) {
	case "SELECT":
		return command{in: loggedIn, run: (*session).selectCommand}, true
	case "EXAMINE":
		return command{in: loggedIn, run: (*session).examine}, true
	case "CREATE":
		return command{in: loggedIn, run: (*session).create}, true
	case "DELETE":
		return command{in: loggedIn, run: (*session).delete}, true
	case "RENAME":
		return command{in: loggedIn, run: (*session).rename}, true
	case "SUBSCRIBE":
		return command{in: loggedIn, run: (*session).subscribe}, true
	case "UNSUBSCRIBE":
		return command{in: loggedIn, run: (*session).unsubscribe}, true
	case "LIST":
		return command{in: loggedIn, run: (*session).list}, true
	case "LSUB":
		return command{in: loggedIn, run: (*session).lsub}, true
	case "NAMESPACE":
		return command{in: loggedIn, run: (*session).namespace}, true
	case "STATUS":
		return command{in: loggedIn, run: (*session).status}, true
	case "APPEND":
		return command{in: loggedIn, run: (*session).append}, true
	case "GETQUOTA":
		return command{in: loggedIn, run: (*session).getQuota}, true
	case "GETQUOTAROOT":
		return command{in: loggedIn, run: (*session).getQuotaRoot}, true
	case "SETQUOTA":
		return command{in: loggedIn, run: (*session).setQuota}, true
	case "RESETKEY":
		return command{in: loggedIn, run: (*session).resetKey}, true
	case "GENURLAUTH":
		return command{in: loggedIn, run: (*session).genURLAuth}, true
	case "URLFETCH":
		return command{in: loggedIn, run: (*session).urlFetchCommand}, true
	case "GETMETADATA":
		return command{in: loggedIn, run: (*session).getMetadata}, true
	case "SETMETADATA":
		return command{in: loggedIn, run: (*session).setMetadata}, true
	case "ESEARCH":
		return command{in: loggedIn, run: (*session).eSearch}, true
	case "CHECK":
		return command{in: selected, run: (*session).noop}, true
	case "CLOSE":
		return command{in: selected, run: (*session).closeCommand}, true
	case "UNSELECT":
		return command{in: selected, run: (*session).unselect}, true
	}
	return command{}, false
}

// messageCommand finds the commands about the messages of the selected mailbox.
func messageCommand(name []byte) (command, bool) {
	switch string(name) {
	case "FETCH":
		return command{in: selected, run: (*session).fetch, uid: (*session).fetch, numbers: true, keepExpunged: true}, true
	case "SEARCH":
		return command{in: selected, run: (*session).search, uid: (*session).search, numbers: true, keepExpunged: true}, true
	case "SORT":
		return command{in: selected, run: (*session).sort, uid: (*session).sort, numbers: true, keepExpunged: true}, true
	case "CANCELUPDATE":
		return command{in: selected, run: (*session).cancelUpdate}, true
	case "THREAD":
		return command{in: selected, run: (*session).thread, uid: (*session).thread, numbers: true, keepExpunged: true}, true
	case "STORE":
		return command{in: selected, run: (*session).store, uid: (*session).store, numbers: true, keepExpunged: true, writes: true}, true
	case "COPY":
		return command{in: selected, run: (*session).copy, uid: (*session).copy, numbers: true}, true
	case "MOVE":
		return command{in: selected, run: (*session).move, uid: (*session).move, numbers: true, writes: true}, true
	case "EXPUNGE":
		return command{in: selected, run: (*session).expunge, uid: (*session).uidExpunge, writes: true}, true
	case "REPLACE":
		return command{in: selected, run: (*session).replace, uid: (*session).replace, numbers: true, writes: true}, true
	}
	return command{}, false
}
