package delivery

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/metrics"
	"posthorn/storage"
)

// Role is the door by which a message comes in.
type Role uint8

// The roles.
const (
	Exchanger  Role = iota // port 25: from anyone, for local domains
	Submission             // from our accounts, to anywhere
	LMTP                   // from the MTA in front of us, for local domains
	Notice                 // from our own queue, about a delivery, to anywhere
)

// Client is who brings the message.
type Client struct {
	Role     Role
	Addr     netip.Addr // the zero Addr for a unix socket
	Local    netip.Addr // the address of ours that it connected to
	Helo     string     // what HELO, EHLO or LHLO said; may hold any printable ASCII
	Extended bool       // EHLO or LHLO
	TLS      *tls.ConnectionState
	// Account is who authenticated; 0 for nobody. Login is its address.
	Account storage.AccountID
	Login   string
	Trusted bool // in a trusted network; the checks may spare it
}

// Sender is a MAIL command.
type Sender struct {
	Path     address.Address // zero: the null reverse-path
	Size     int64           // octets as SIZE declared them; 0 when it did not
	EightBit bool            // BODY=8BITMIME
	SMTPUTF8 bool
	// RequireTLS binds every hop to TLS, RFC 8689. The mailboxes here are behind
	// no further hop.
	RequireTLS bool
	Ret        string // DSN RET: "", FULL or HDRS
	EnvID      string // DSN ENVID, still encoded
}

// Recipient is a RCPT command. A Path without a domain is the bare Postmaster
// of RFC 5321 4.1.1.3.
type Recipient struct {
	Path   address.Address
	Notify string // DSN NOTIFY: "" or e.g. "SUCCESS,FAILURE"
	ORcpt  string // DSN ORCPT, still encoded
}

// Options are New's.
type Options struct {
	Hostname string // our name in trace fields, and our authserv-id
	Config   Config
	Checks   []Check           // asked about every message, in this order
	Logger   *slog.Logger      // nil: slog.Default()
	Now      func() time.Time  // nil: time.Now
	Metrics  *metrics.Registry // nil: counted and not shown
}

// Agent takes in mail for one store. Safe for concurrent use.
type Agent struct {
	directory
	store    *storage.Store
	hostname string
	config   Config
	checks   []Check
	log      *slog.Logger
	now      func() time.Time
	buffers  sync.Pool // *[]byte of copyBuffer octets
	refusals refusals
	senders  senders
	counters counters
}

// New makes the agent of a store. Hostname is a domain name in normal form.
func New(store *storage.Store, o Options) *Agent {
	a := &Agent{
		directory: directory{store, o.Config.RecipientDelimiter},
		store:     store, counters: newCounters(o.Metrics), hostname: o.Hostname, config: o.Config, checks: o.Checks, log: o.Logger, now: o.Now,
		buffers: sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }},
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.now == nil {
		a.now = time.Now
	}
	return a
}

// Transaction is one message on its way in, for one goroutine.
type Transaction struct {
	agent  *Agent
	client Client
	sender Sender
	owner  storage.Account // of the submission; zero otherwise

	recipients []address.Address // those admitted, as they were named
	copies     []localCopy
	hops       []storage.Hop
	taken      map[string]bool // mailboxes and remote addresses that copies and hops cover
	confirm    []storage.Hop   // recipients here whose sender wants to hear of success
	forwarder  string          // the domain of an alias that sends others' mail on; "" for none

	clientName string   // that the checks confirmed
	notes      []string // of the checks
}

// localCopy is a mailbox that gets the message.
type localCopy struct {
	account     storage.AccountID
	address     string // the account's
	deliveredTo address.Address
}

// Delivered is the domain of hops that lead nowhere: the mailboxes here have the
// message, and its sender asked to be told (RFC 3461 4.1, NOTIFY=SUCCESS). As hops
// they are kept together with the message, and the queue tells the sender.
const Delivered = ":delivered"

// Recipients is how many were admitted.
func (t *Transaction) Recipients() int { return len(t.recipients) }

// AdmitSender begins a transaction. A Refusal, or the store's error.
func (a *Agent) AdmitSender(ctx context.Context, c Client, s Sender) (*Transaction, error) {
	t := &Transaction{agent: a, client: c, sender: s, taken: map[string]bool{}}
	if c.Role != Submission {
		return t, nil
	}
	if c.Account == 0 {
		return nil, t.refused(refuse(530, 5, 7, 0, "Authentication required"), address.Address{})
	}
	var err error
	if t.owner, err = a.store.Account(ctx, c.Account); err != nil {
		return nil, err
	}
	if err := t.admitSends(0, false); err != nil {
		return nil, t.refused(err, address.Address{})
	}
	// The null reverse-path is for what must not be answered, such as the
	// disposition notifications that mail programs send (RFC 8098 3).
	if s.Path.IsZero() {
		return t, nil
	}
	owns, err := a.owns(ctx, t.owner, s.Path)
	if err != nil {
		return nil, err
	}
	if !owns {
		return nil, t.refused(refuse(553, 5, 7, 1, "You may not send as this address"), address.Address{})
	}
	return t, nil
}

// Admit takes a recipient into the transaction or gives a Refusal, or the
// store's error. After an error the transaction is as it was.
func (t *Transaction) Admit(ctx context.Context, r Recipient) error {
	return t.refused(t.admit(ctx, r), r.Path)
}

func (t *Transaction) admit(ctx context.Context, r Recipient) error {
	if err := t.admitSends(1, false); err != nil {
		return err
	}
	e := expansion{agent: t.agent, recipient: r, size: t.sender.Size, notice: t.client.Role == Notice, seen: map[string]bool{}}
	path, err := t.agent.ownPostmaster(ctx, r.Path, t.client.Local)
	if err != nil {
		return err
	}
	local, err := t.agent.isLocal(ctx, path)
	if err != nil {
		return err
	}
	switch {
	case local && t.agent.config.SRS && isSRSAddress(path):
		err = e.bounce(ctx, path)
	case local:
		err = e.local(ctx, path, 0)
		if len(e.hops) > 0 && t.forwarder == "" && t.client.Role != Submission {
			t.forwarder = path.ASCIIDomain()
		}
		if err == nil && len(e.copies)+len(e.hops) == 0 {
			t.agent.log.Warn("an alias leads to no mailbox; `posthorn alias check` tells why", "address", r.Path.String())
			err = refuse(451, 4, 3, 5, "This address is not set up properly here")
		}
	case t.client.Role == Submission && t.client.Account != 0, e.notice:
		e.remote(path)
	default:
		err = refuse(550, 5, 7, 1, "Relaying denied")
	}
	if err != nil {
		return err
	}
	t.recipients = append(t.recipients, r.Path)
	t.merge(&e)
	if key := Delivered + path.Key(); len(e.copies) > 0 && strings.Contains(r.Notify, "SUCCESS") && !t.taken[key] {
		t.taken[key] = true
		t.confirm = append(t.confirm, storage.Hop{Recipient: path.ASCII(), Domain: Delivered, Notify: "SUCCESS", ORcpt: r.ORcpt})
	}
	return nil
}

// merge adds what a recipient leads to, unless the transaction has it already.
func (t *Transaction) merge(e *expansion) {
	for _, c := range e.copies {
		if !t.taken[c.address] {
			t.taken[c.address] = true
			t.copies = append(t.copies, c)
		}
	}
	for _, h := range e.hops {
		// Case matters in a foreign local part, RFC 5321 2.4.
		if !t.taken[h.Recipient] {
			t.taken[h.Recipient] = true
			t.hops = append(t.hops, h)
		}
	}
}
