package admin

import (
	"context"
	"fmt"

	"posthorn/storage"
)

// problemLine is a line of `verify --json`.
type problemLine struct {
	Kind    string `json:"kind"`
	Account string `json:"account"`
	Mailbox string `json:"mailbox"`
	UID     uint32 `json:"uid"`
	Problem string `json:"problem"`
	Mend    string `json:"mend"`
}

func verify(ctx context.Context, e *env) error {
	sum, err := e.store.Verify(ctx, e.flags.full, func(p storage.Problem) error {
		if e.json {
			return e.printJSON(problemLine{p.Kind, p.Account, p.Mailbox, uint32(p.UID), p.Text, p.Mend})
		}
		_, err := fmt.Fprintf(e.out, "%s%s\n    %s\n", whose(p), p.Text, p.Mend)
		return err
	})
	if err != nil {
		return err
	}
	for _, note := range sum.Notes {
		fmt.Fprintf(e.err, "posthorn: verify: note: %s\n", note)
	}
	if sum.Problems > 0 {
		return fmt.Errorf("%d problems found: see the list for what to do about each", sum.Problems)
	}
	if !e.json {
		_, err = fmt.Fprintf(e.out, "nothing is wrong: %d accounts, %d mailboxes, %d messages with the expunged ones that are kept, %d message texts\n",
			sum.Accounts, sum.Mailboxes, sum.Messages, sum.Bodies)
	}
	return err
}

// whose names the account, mailbox and message of a problem, as far as it has them.
func whose(p storage.Problem) string {
	switch {
	case p.UID != 0:
		return fmt.Sprintf("%s: %s: message %d: ", p.Account, p.Mailbox, p.UID)
	case p.Mailbox != "":
		return fmt.Sprintf("%s: %s: ", p.Account, p.Mailbox)
	case p.Account != "":
		return p.Account + ": "
	}
	return ""
}
