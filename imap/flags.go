package imap

import (
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"posthorn/storage"
)

// storeFlags parts a client's flags into system flags and keywords. \Recent is
// left out in silence: only the server sets it (RFC 3501 2.3.2), but clients
// copy it from one mailbox to another. Other unknown system flags are an error.
func storeFlags(flags []goimap.Flag) (system storage.Flags, keywords []string, err error) {
	for _, flag := range flags {
		switch strings.ToLower(string(flag)) {
		case `\seen`:
			system |= storage.Seen
		case `\answered`:
			system |= storage.Answered
		case `\flagged`:
			system |= storage.Flagged
		case `\deleted`:
			system |= storage.Deleted
		case `\draft`:
			system |= storage.Draft
		case `\recent`:
		default:
			if strings.HasPrefix(string(flag), `\`) {
				return 0, nil, badSyntax("Unknown system flag")
			}
			keywords = append(keywords, string(flag))
		}
	}
	return system, keywords, nil
}
