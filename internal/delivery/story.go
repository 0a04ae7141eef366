package delivery

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/netip"
	"sync"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/message"
	"posthorn/storage"
)

// Kinds of the events that this package records; storage adds those of hops.
const (
	EventAccepted = "accepted"
	EventRefused  = "refused"
)

// Story is what an accepted or refused event tells, as JSON in storage.Event.
type Story struct {
	Client     string      `json:"client,omitempty"`      // its address
	ClientName string      `json:"client_name,omitempty"` // confirmed by the DNS
	Helo       string      `json:"helo,omitempty"`
	With       string      `json:"with,omitempty"` // RFC 3848's word
	TLS        string      `json:"tls,omitempty"`
	Login      string      `json:"login,omitempty"`
	Sender     string      `json:"sender"` // "": the null reverse-path
	Recipients []string    `json:"recipients,omitempty"`
	More       int         `json:"more,omitempty"` // recipients beyond those
	MessageID  string      `json:"message_id,omitempty"`
	Size       int64       `json:"size,omitempty"`   // octets
	Checks     []string    `json:"checks,omitempty"` // "spf=pass ..."
	Junk       string      `json:"junk,omitempty"`   // why
	Copies     []StoryCopy `json:"copies,omitempty"`
	Hops       []string    `json:"hops,omitempty"`    // recipients elsewhere
	Refusal    string      `json:"refusal,omitempty"` // the reply
	Times      int         `json:"times,omitempty"`   // that it was refused just so, when more than one
}

// StoryCopy is where a copy went.
type StoryCopy struct {
	Account string `json:"account"`
	Mailbox string `json:"mailbox"`
}

// Bounds of a story, so that it stays within what the store keeps.
const (
	maxStoryList = 20  // entries of a list
	maxStoryText = 200 // octets of what others wrote
)

func cut(s string) string { return s[:min(len(s), maxStoryText)] }

// story tells what is known of the transaction so far.
func (t *Transaction) story() Story {
	c := &t.client
	s := Story{ClientName: t.clientName, Helo: cut(c.Helo), Login: c.Login, Sender: t.sender.Path.String(), Checks: t.notes}
	if c.Role != Notice {
		s.With = t.with()
	}
	if c.Addr.IsValid() {
		s.Client = c.Addr.String()
	}
	if c.TLS != nil {
		s.TLS = tls.VersionName(c.TLS.Version) + " " + tls.CipherSuiteName(c.TLS.CipherSuite)
	}
	for i, r := range t.recipients {
		if i == maxStoryList {
			s.More = len(t.recipients) - i
			break
		}
		s.Recipients = append(s.Recipients, r.String())
	}
	return s
}

// names are what the transaction is found by.
func (t *Transaction) names(messageID string) []string {
	names := []string{messageID, t.sender.Path.Key()}
	for _, r := range t.recipients {
		names = append(names, r.Key())
	}
	for i := range t.copies {
		names = append(names, t.copies[i].address)
	}
	for i := range t.hops {
		names = append(names, t.hops[i].Recipient)
	}
	return names
}

// event tells of a message that is about to be kept.
func (t *Transaction) event(m *storage.Acceptance, junk string) *storage.Event {
	s := t.story()
	s.MessageID, s.Junk = messageID(m.Parsed.Header), junk
	s.Size = m.Stage.Size() + int64(len(m.Prefix))
	for i := range t.copies[:min(len(t.copies), maxStoryList)] {
		box := "INBOX"
		if m.Copies[i].Mailbox != 0 {
			box = "Junk"
		}
		s.Copies = append(s.Copies, StoryCopy{t.copies[i].address, box})
	}
	for i := range t.hops[:min(len(t.hops), maxStoryList)] {
		s.Hops = append(s.Hops, t.hops[i].Recipient)
	}
	return &storage.Event{At: m.Received, Kind: EventAccepted, QueueID: m.QueueID, Names: t.names(s.MessageID), Story: s.encode()}
}

// messageID is a header's Message-ID without its brackets.
func messageID(header []byte) string {
	value, _ := message.Field(header, "message-id")
	for _, id := range message.MessageIDs(nil, bytes.TrimSpace(value), 1) {
		return cut(id)
	}
	return ""
}

func (s *Story) encode() []byte {
	text, err := json.Marshal(s)
	if err != nil {
		return nil // strings and numbers: it never fails
	}
	return text
}

// refused puts a Refusal on record and returns err, whatever it is. to is the
// recipient that it is about, or zero.
func (t *Transaction) refused(err error, to address.Address) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	t.agent.counters.refusal(err)
	s := t.story()
	names := t.names("")
	if to != (address.Address{}) {
		s.Recipients, s.More = []string{to.String()}, 0
		names = []string{t.sender.Path.Key(), to.Key()}
	}
	public := *r
	public.Cause = nil
	s.Refusal = public.Error()
	t.agent.refusals.note(t.agent, t.client.Addr, &s, names)
	return err
}

// How many refusals are told apart in each window of time: all in all, and of
// one client. A flood must not push what was accepted out of the record.
const (
	refusalWindow    = 30 * time.Second
	refusalsAtAll    = 100
	refusalsOfClient = 20
	refusalDelay     = time.Second // before they are written, several at once
)

// refusals gathers refusals for the record: they happen many at a time, and none
// of them is worth a commit of its own.
type refusals struct {
	mu      sync.Mutex
	window  time.Time // when it began
	told    map[netip.Addr]int
	count   int
	pending []*pendingRefusal
	timer   *time.Timer
}

type pendingRefusal struct {
	at    time.Time
	story Story
	names []string
}

func (r *refusals) note(a *Agent, client netip.Addr, s *Story, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pending {
		if p.story.Refusal == s.Refusal && p.story.Client == s.Client && p.story.Sender == s.Sender &&
			len(p.story.Recipients) == len(s.Recipients) && (len(s.Recipients) == 0 || p.story.Recipients[0] == s.Recipients[0]) {
			p.story.Times = max(p.story.Times, 1) + 1
			return
		}
	}
	now := a.now()
	if now.Sub(r.window) >= refusalWindow || r.told == nil {
		r.window, r.told, r.count = now, map[netip.Addr]int{}, 0
	}
	if r.count >= refusalsAtAll || r.told[client] >= refusalsOfClient {
		return
	}
	r.count++
	r.told[client]++
	r.pending = append(r.pending, &pendingRefusal{now, *s, names})
	if r.timer == nil {
		r.timer = time.AfterFunc(refusalDelay, func() { a.writeRefusals(context.Background()) })
	}
}

// Close writes what is not on record yet.
func (a *Agent) Close() { a.writeRefusals(context.Background()) }

func (a *Agent) writeRefusals(ctx context.Context) {
	r := &a.refusals
	r.mu.Lock()
	pending := r.pending
	r.pending = nil
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	r.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	events := make([]storage.Event, 0, len(pending))
	for _, p := range pending {
		events = append(events, storage.Event{At: p.at, Kind: EventRefused, Names: p.names, Story: p.story.encode()})
	}
	if err := a.store.Record(ctx, events); err != nil {
		a.log.Warn("refusals are not on record", "refusals", len(events), "err", err)
	}
}
