package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"posthorn/internal/address"
	"posthorn/storage"
)

// hopLine is a line of `queue list --json` and `queue show --json`.
type hopLine struct {
	ID         int64     `json:"id"`
	QueueID    string    `json:"queue_id"`
	Sender     string    `json:"sender"`
	Recipient  string    `json:"recipient"`
	Bytes      int64     `json:"bytes"`
	Queued     time.Time `json:"queued"`
	State      string    `json:"state"`
	Next       time.Time `json:"next"`
	Attempts   int       `json:"attempts"`
	Tried      time.Time `json:"tried,omitzero"`
	LastStatus string    `json:"last_status"`
	LastHost   string    `json:"last_host"`
	LastTLS    string    `json:"last_tls"`
	LastError  string    `json:"last_error"`
}

func lineOf(h *storage.QueuedHop) hopLine {
	l := hopLine{ID: int64(h.ID), QueueID: h.QueueID, Sender: h.ReversePath, Recipient: h.Recipient, Bytes: h.Size,
		Queued: h.Queued.UTC(), State: h.State.String(), Next: h.Next.UTC(), Attempts: h.Attempts,
		LastStatus: h.LastStatus, LastHost: h.LastHost, LastTLS: h.LastTLS, LastError: h.LastError}
	if !h.Tried.IsZero() {
		l.Tried = h.Tried.UTC()
	}
	return l
}

// queuePage bounds what one look at the queue holds in memory.
const queuePage = 500

const timeForm = "2006-01-02 15:04:05Z"

// isQueueID: the form that internal/delivery gives them.
func isQueueID(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789abcdefghjkmnpqrstvwxyz") == ""
}

// selectors read what a person names hops by: a queue id, a domain of recipients,
// a sender (`<>` is the null one), or `all`.
func selectors(args []string) ([]storage.QueueSelector, error) {
	var all []storage.QueueSelector
	for _, arg := range args {
		var sel storage.QueueSelector
		switch {
		case arg == "all":
		case arg == "<>":
			sel.Sender = new(string)
		case isQueueID(arg):
			sel.QueueID = arg
		case strings.Contains(arg, "@") && !strings.HasPrefix(arg, "@"):
			a, err := address.Parse(strings.TrimSuffix(strings.TrimPrefix(arg, "<"), ">"))
			if err != nil {
				return nil, usageError{fmt.Sprintf("%q: %v", arg, err)}
			}
			sender := strings.ToLower(a.ASCII())
			sel.Sender = &sender
		default:
			domain := strings.TrimPrefix(arg, "@")
			if !strings.HasPrefix(domain, "[") {
				var err error
				if domain, err = parseDomain(domain); err != nil {
					return nil, err
				}
			}
			sel.Domain = domain
		}
		all = append(all, sel)
	}
	return all, nil
}

// eachHop walks the hops that the command's arguments name; without any, all.
func (e *env) eachHop(ctx context.Context, fn func(h *storage.QueuedHop) error) error {
	sels, err := selectors(e.args)
	if err != nil {
		return err
	}
	if len(sels) == 0 {
		sels = []storage.QueueSelector{{}}
	}
	for _, sel := range sels {
		for after := storage.HopID(0); ; {
			hops, err := e.store.QueuedBy(ctx, sel, after, queuePage)
			if err != nil {
				return err
			}
			if len(hops) == 0 {
				break
			}
			for i := range hops {
				if err := fn(&hops[i]); err != nil {
					return err
				}
			}
			after = hops[len(hops)-1].ID
		}
	}
	return nil
}

func queueList(ctx context.Context, e *env) error {
	if _, err := selectors(e.args); err != nil {
		return err // before the heading
	}
	if !e.json {
		if _, err := fmt.Fprintf(e.out, "%-17s %-20s %-9s %8s %10s  %s\n", "QUEUE ID", "QUEUED", "STATE", "ATTEMPTS", "BYTES", "SENDER -> RECIPIENT"); err != nil {
			return err
		}
	}
	return e.eachHop(ctx, func(h *storage.QueuedHop) error {
		if e.json {
			return e.printJSON(lineOf(h))
		}
		_, err := fmt.Fprintf(e.out, "%-17s %-20s %-9s %8d %10d  <%s> -> <%s>\n", h.QueueID,
			h.Queued.UTC().Format(timeForm), h.State, h.Attempts, h.Size, h.ReversePath, h.Recipient)
		return err
	})
}

func queueShow(ctx context.Context, e *env) error {
	last, n := "", 0
	err := e.eachHop(ctx, func(h *storage.QueuedHop) error {
		n++
		if e.json {
			return e.printJSON(lineOf(h))
		}
		text := ""
		if h.QueueID != last {
			last = h.QueueID
			text = fmt.Sprintf("%s from <%s>, %d octets, queued %s\n", h.QueueID, h.ReversePath, h.Size, h.Queued.UTC().Format(timeForm))
		}
		text += fmt.Sprintf("  to <%s>: %s, ", h.Recipient, h.State)
		switch {
		case h.Tried.IsZero():
			text += "not tried yet\n"
		default:
			text += fmt.Sprintf("tried %d times, last %s\n", h.Attempts, h.Tried.UTC().Format(timeForm))
		}
		if h.State == storage.HopWaits {
			text += "    next: " + h.Next.UTC().Format(timeForm) + "\n"
		}
		if h.LastHost != "" {
			text += "    server: " + h.LastHost + "\n"
		}
		if h.LastTLS != "" {
			text += "    secured: " + h.LastTLS + "\n"
		}
		if h.LastError != "" {
			text += "    last words: " + h.LastError + "\n"
		}
		_, err := fmt.Fprint(e.out, text)
		return err
	})
	if err == nil && n == 0 && !slices.Contains(e.args, "all") {
		err = nothingNamed(e.args)
	}
	return err
}

func nothingNamed(args []string) error {
	hint := ""
	if slices.ContainsFunc(args, func(arg string) bool { return strings.Contains(arg, "@") }) {
		hint = ", and an address means the sender"
	}
	return fmt.Errorf("%s: nothing in the queue is named so: `posthorn queue list` shows what is there%s", strings.Join(args, " "), hint)
}

// queueChange makes the command that does action to what its arguments name;
// outcome says what was done to so many recipients.
func queueChange(action storage.QueueAction, outcome string) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		sels, err := selectors(e.args)
		if err != nil {
			return err
		}
		total := 0
		var unmatched []string
		for i, sel := range sels {
			n, err := e.store.ChangeQueued(ctx, sel, action)
			total += n
			if err != nil {
				return err
			}
			if n > 0 || e.args[i] == "all" {
				continue
			}
			// What is there and has nothing to change is as the operator wants it.
			there, err := e.store.QueuedBy(ctx, sel, 0, 1)
			if err != nil {
				return err
			}
			if len(there) == 0 {
				unmatched = append(unmatched, e.args[i])
			}
		}
		if total == 0 && len(unmatched) > 0 {
			return nothingNamed(unmatched)
		}
		recipients := "recipients"
		if total == 1 {
			recipients = "recipient"
		}
		_, err = fmt.Fprintf(e.out, "%d %s %s\n", total, recipients, outcome)
		if err == nil && len(unmatched) > 0 {
			err = nothingNamed(unmatched) // the others are done
		}
		return err
	}
}
