package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/delivery"
	"posthorn/storage"
)

// maxTraced is how many events one trace tells, the newest.
const maxTraced = 500

// traceLine is a line of `trace --json`.
type traceLine struct {
	Time    time.Time       `json:"time"`
	Event   string          `json:"event"`
	QueueID string          `json:"queue_id"`
	Story   json.RawMessage `json:"story"`
}

func trace(ctx context.Context, e *env) error {
	name := strings.Trim(strings.TrimSpace(e.args[0]), "<>")
	events, err := e.store.Trace(ctx, name, maxTraced)
	if err != nil {
		return err
	}
	if a, parseErr := address.Parse(name); len(events) == 0 && parseErr == nil {
		if events, err = e.store.Trace(ctx, a.Key(), maxTraced); err != nil {
			return err
		}
	}
	if len(events) == 0 {
		return fmt.Errorf("%s: nothing is on record: give a queue id, a Message-ID or an address; old records are removed ([storage] trace_retention)", name)
	}
	for i := range events {
		ev := &events[i]
		if e.json {
			err = e.printJSON(traceLine{ev.At.UTC(), ev.Kind, ev.QueueID, ev.Story})
		} else {
			_, err = fmt.Fprint(e.out, tell(ev))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tell is an event in plain words, a line and what belongs to it below.
func tell(ev *storage.Event) string {
	var b strings.Builder
	b.WriteString(ev.At.UTC().Format("2006-01-02 15:04:05Z "))
	if ev.Kind == delivery.EventAccepted || ev.Kind == delivery.EventRefused {
		var s delivery.Story
		if err := json.Unmarshal(ev.Story, &s); err != nil {
			return b.String() + ev.Kind + "\n"
		}
		tellMessage(&b, ev, &s)
		return b.String()
	}
	var s storage.HopStory
	if err := json.Unmarshal(ev.Story, &s); err != nil {
		return b.String() + ev.Kind + "\n"
	}
	tellHop(&b, ev, &s)
	return b.String()
}

func tellMessage(b *strings.Builder, ev *storage.Event, s *delivery.Story) {
	to := strings.Join(brackets(s.Recipients), ", ")
	if s.More > 0 {
		to += fmt.Sprintf(" and %d more", s.More)
	}
	if ev.Kind == delivery.EventRefused {
		fmt.Fprintf(b, "refused mail from <%s>", s.Sender)
		if to != "" {
			b.WriteString(" to " + to)
		}
		fmt.Fprintf(b, ": %s", s.Refusal)
		if s.Times > 1 {
			fmt.Fprintf(b, " (%d times)", s.Times)
		}
		b.WriteByte('\n')
	} else {
		fmt.Fprintf(b, "accepted %s from <%s> to %s, %d octets", ev.QueueID, s.Sender, to, s.Size)
		if s.MessageID != "" {
			fmt.Fprintf(b, ", Message-ID <%s>", s.MessageID)
		}
		b.WriteByte('\n')
	}
	tellClient(b, s)
	if len(s.Checks) > 0 {
		fmt.Fprintf(b, "    checks: %s\n", strings.Join(s.Checks, ", "))
	}
	for _, c := range s.Copies {
		fmt.Fprintf(b, "    put into %s of %s\n", c.Mailbox, c.Account)
	}
	if s.Junk != "" {
		fmt.Fprintf(b, "    into Junk because: %s\n", s.Junk)
	}
	for _, hop := range s.Hops {
		fmt.Fprintf(b, "    queued for <%s>\n", hop)
	}
}

func tellClient(b *strings.Builder, s *delivery.Story) {
	if s.With == "" {
		return
	}
	fmt.Fprintf(b, "    came from %s", cmp.Or(s.Client, "a local socket"))
	if s.ClientName != "" {
		b.WriteString(", which is " + s.ClientName)
	}
	if s.Helo != "" {
		b.WriteString(", said to be " + s.Helo)
	}
	fmt.Fprintf(b, ", by %s", s.With)
	if s.TLS != "" {
		b.WriteString(" with " + s.TLS)
	} else {
		b.WriteString(" without TLS")
	}
	if s.Login != "" {
		b.WriteString(", logged in as " + s.Login)
	}
	b.WriteByte('\n')
}

func tellHop(b *strings.Builder, ev *storage.Event, s *storage.HopStory) {
	words := map[string]string{storage.Relayed.String(): "was handed over", storage.Deferred.String(): "has to wait", storage.Failed.String(): "failed for good"}
	fmt.Fprintf(b, "%s for <%s> %s", ev.QueueID, s.Recipient, cmp.Or(words[ev.Kind], ev.Kind))
	if s.Host != "" {
		b.WriteString(" at " + s.Host)
	}
	if s.TLS != "" {
		b.WriteString(" with " + s.TLS)
	}
	if said := strings.TrimSpace(s.Status + " " + s.Text); said != "" {
		b.WriteString(": " + said)
	}
	if !s.Next.IsZero() {
		b.WriteString("; next attempt " + s.Next.UTC().Format("2006-01-02 15:04:05Z"))
	}
	b.WriteByte('\n')
}

func brackets(list []string) []string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = "<" + s + ">"
	}
	return all
}
