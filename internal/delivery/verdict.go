package delivery

import (
	"context"
	"io"

	"posthorn/internal/address"
)

// Check judges a message after it was staged and before anything refers to it.
// This is the one place where mail authentication, spam scoring and scanners
// come in: a verdict in, an action out. An error is our fault and refuses the
// message for now; a check that may be skipped when it fails says Deliver.
type Check func(ctx context.Context, m *Incoming) (Verdict, error)

// Incoming is what a Check may look at. It is valid until the Check returns.
type Incoming struct {
	QueueID    string
	Client     Client
	Sender     Sender
	Recipients []address.Address
	Header     []byte // as it will be kept, with the empty line; without our trace fields
	Size       int64  // octets of header and body
	Body       func() io.Reader
}

// Action is what becomes of a message. The gravest of all verdicts counts.
type Action uint8

// The actions, by gravity.
const (
	Deliver    Action = iota
	Quarantine        // into each account's Junk, with a header that says why
	Reject            // with Verdict.Refusal
)

// Verdict is what a Check found.
type Verdict struct {
	Action  Action
	Reason  string   // of Quarantine, in words for the mailbox's owner; ASCII
	Refusal *Refusal // of Reject
	// ClientName is the client's name where the DNS confirms it; "" is unknown.
	ClientName string
	Notes      []string // what was found, for the record: "spf=pass"
	Trace      []byte   // whole header fields, each with its CRLF, for all copies and hops
}

// judgement is what all checks said together.
type judgement struct {
	junk   string // the reason; "" for the inbox
	traces []byte
	client string // its confirmed name
	notes  []string
}

func (a *Agent) judge(ctx context.Context, m *Incoming) (judgement, error) {
	var j judgement
	if m.Client.Role == Notice {
		return j, nil // ours
	}
	for _, check := range a.checks {
		v, err := check(ctx, m)
		if err != nil {
			return judgement{}, err
		}
		a.counters.judged(&v)
		j.traces = append(j.traces, v.Trace...)
		j.notes = append(j.notes, v.Notes...)
		if v.ClientName != "" {
			j.client = v.ClientName
		}
		switch v.Action {
		case Reject:
			return j, v.Refusal
		case Quarantine:
			if j.junk == "" {
				j.junk = v.Reason
			}
		}
	}
	return j, nil
}
