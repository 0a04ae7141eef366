package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/delivery"
	"posthorn/internal/message"
	"posthorn/storage"
)

// The actions of RFC 3464 2.3.3 that this queue reports.
const (
	actionFailed    = "failed"
	actionDelayed   = "delayed"
	actionRelayed   = "relayed"
	actionDelivered = "delivered"
)

// How much of a message its notification brings back.
const (
	maxReturned      = 64 << 10 // octets of a message when nobody asked for it
	maxReturnedFull  = 1 << 20  // with RET=FULL
	maxReturnedField = 64 << 10 // of a header
)

// wanted tells whether the sender wants to hear, RFC 3461 4.1: of failures and
// delays unless NOTIFY says otherwise, of success only where it asks.
func wanted(notify, action string) bool {
	switch action {
	case actionFailed:
		return notify == "" || hasWord(notify, "FAILURE")
	case actionDelayed:
		return notify == "" || hasWord(notify, "DELAY")
	}
	return hasWord(notify, "SUCCESS")
}

func hasWord(list, word string) bool {
	return slices.Contains(strings.Split(strings.ToUpper(list), ","), word)
}

// notices prepares the notifications about the verdicts, one for each action.
// The caller keeps or discards their stages, after an error too.
func (q *Queue) notices(ctx context.Context, lease *storage.Lease, verdicts []verdict, now time.Time) ([]storage.Acceptance, error) {
	if lease.ReversePath == "" {
		q.mourn(lease, verdicts)
		return nil, nil
	}
	var all []storage.Acceptance
	for _, action := range []string{actionFailed, actionDelayed, actionRelayed, actionDelivered} {
		var about []verdict
		for _, v := range verdicts {
			if v.action == action {
				about = append(about, v)
			}
		}
		if len(about) == 0 {
			continue
		}
		notice, err := q.notice(ctx, lease, action, about, now)
		if err != nil {
			return all, err
		}
		if notice != nil {
			q.counters.notices.With(action).Inc()
			all = append(all, *notice)
		}
	}
	return all, nil
}

// mourn logs what failed and nobody can be told of: a notification is never
// answered with one (RFC 5321 6.1).
func (q *Queue) mourn(lease *storage.Lease, verdicts []verdict) {
	for _, v := range verdicts {
		if v.action == actionFailed {
			q.log.Warn("a notification could not be delivered and is dropped", "queue_id", lease.QueueID, "to", v.hop.Recipient, "reply", replyOf(v.attempt))
		}
	}
}

// notice prepares one notification; nil when its receiver does not exist any more.
func (q *Queue) notice(ctx context.Context, lease *storage.Lease, action string, about []verdict, now time.Time) (*storage.Acceptance, error) {
	sender, err := address.Parse(lease.ReversePath)
	if err != nil {
		q.log.Error("a sender cannot be told of its mail", "queue_id", lease.QueueID, "err", err)
		return nil, nil
	}
	r := report{hostname: q.o.Hostname, lease: lease, action: action, about: about, now: now, sender: sender}
	original, err := q.openOriginal(ctx, lease, &r)
	if err != nil {
		return nil, err
	}
	tx, err := q.o.Agent.AdmitSender(ctx, delivery.Client{Role: delivery.Notice}, delivery.Sender{EightBit: true, SMTPUTF8: sender.NeedsUTF8(),
		RequireTLS: lease.RequireTLS}) // RFC 8689 5
	if err == nil {
		err = tx.Admit(ctx, delivery.Recipient{Path: sender, Notify: "NEVER"})
	}
	var notice *storage.Acceptance
	if err == nil {
		top, bottom := r.render()
		notice, err = tx.Prepare(ctx, io.MultiReader(bytes.NewReader(top), original, strings.NewReader(bottom)))
	}
	if refusal, ok := errors.AsType[*delivery.Refusal](err); ok {
		q.log.Warn("a sender cannot be told of its mail", "queue_id", lease.QueueID, "sender", lease.ReversePath, "action", action, "err", refusal)
		return nil, nil
	}
	return notice, err
}

// openOriginal reads what the report brings back of the message: all of it only
// for failures (RFC 3461 6.2), and within bounds. Of a damaged message nothing is
// brought back.
func (q *Queue) openOriginal(ctx context.Context, lease *storage.Lease, r *report) (io.Reader, error) {
	m, err := q.store.OpenQueued(ctx, lease)
	if err != nil {
		if errors.Is(err, storage.ErrDamaged) {
			return strings.NewReader(""), nil
		}
		return nil, err
	}
	limit := int64(maxReturned)
	switch {
	case r.action != actionFailed || lease.Ret == "HDRS" || lease.RequireTLS: // RFC 8689 5
		limit = 0
	case lease.Ret == "FULL":
		limit = maxReturnedFull
	}
	header, body, err := message.ReadHeader(io.NewSectionReader(m, 0, m.Size()), message.MaxHeader)
	if err != nil {
		if errors.Is(err, message.ErrHeaderTooLong) || errors.Is(err, storage.ErrDamaged) {
			return strings.NewReader(""), nil
		}
		return nil, err
	}
	if id, ok := message.Field(header, "message-id"); ok && len(id) < 900 {
		r.messageID = string(bytes.TrimSpace(id))
	}
	if r.full = m.Size() <= limit; r.full {
		// Read now, so that damage shows before the notice is begun.
		rest, err := io.ReadAll(body)
		if err == nil {
			return io.MultiReader(bytes.NewReader(header), bytes.NewReader(rest)), nil
		}
		if !errors.Is(err, storage.ErrDamaged) {
			return nil, err
		}
		r.full = false
	}
	if len(header) > maxReturnedField {
		header = header[:bytes.LastIndexByte(header[:maxReturnedField], '\n')+1]
	}
	return bytes.NewReader(header), nil
}

// replyOf is the other server's reply as it came, or our own words.
func replyOf(a *storage.Attempt) string {
	if a.Code == 0 {
		return a.Text
	}
	if a.Status == "" || strings.HasPrefix(a.Text, a.Status) {
		return fmt.Sprintf("%d %s", a.Code, a.Text)
	}
	return fmt.Sprintf("%d %s %s", a.Code, a.Status, a.Text)
}
