package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Lease is a queued message with those of its hops that one attempt takes
// along. Until Settle or Unlease nobody else is given these hops. Leases are in
// memory: one process owns the folder, so those of a dead process are void.
type Lease struct {
	QueueID     string
	ReversePath string    // "" is the null reverse-path
	Submitter   AccountID // Ourselves: this server wrote it; 0: it came from outside
	Size        int64
	Queued      time.Time
	Ret         string // DSN RET: "", FULL or HDRS
	EnvID       string // DSN ENVID, still encoded
	EightBit    bool
	SMTPUTF8    bool
	RequireTLS  bool
	TLSOptional bool        // see Acceptance
	Hops        []LeasedHop // at least one
	More        bool        // another message with a hop for the domain is due

	content ContentID
}

// LeasedHop is one recipient of a Lease.
type LeasedHop struct {
	ID         HopID
	Recipient  string
	Domain     string
	Notify     string // DSN NOTIFY: "" or e.g. "SUCCESS,FAILURE"
	ORcpt      string // DSN ORCPT, still encoded
	Attempts   int    // before this one
	Warned     bool
	AtOnce     bool // an operator asked for this attempt
	LastStatus string
	LastHost   string
	LastError  string
}

// Outcome is how an attempt ended for a hop.
type Outcome uint8

const (
	Deferred Outcome = iota // worth another attempt
	Relayed                 // another server has it
	Failed                  // no attempt will help
)

// String is the outcome in a word.
func (o Outcome) String() string {
	switch o {
	case Relayed:
		return "relayed"
	case Failed:
		return "failed"
	}
	return "deferred"
}

// Attempt is what one try to hand a hop over led to.
type Attempt struct {
	Hop     HopID
	Outcome Outcome
	Code    int    // SMTP reply code; 0 when there was no reply
	Status  string // RFC 3463
	Text    string // the other server's words, or ours where it said nothing
	Host    string // the server's name, "" where none was reached
	Addr    string // its address
	TLS     string // how the connection was secured; "" in clear
	// TookDSN: the server understands DSN, so that reporting is its affair now.
	TookDSN bool
	// Unreachable: no server of the destination took part; other mail for it
	// would fare the same.
	Unreachable bool
}

// Settled is what Settle puts on record about a hop.
type Settled struct {
	Hop    HopID
	Done   bool      // the hop leaves the queue
	Next   time.Time // otherwise: when it is due again
	Warned bool      // the sender is told of the delay
	Status string
	Host   string
	TLS    string
	Error  string
}

// leases are the hops that somebody is at work on; the zero value is ready.
type leases struct {
	mu   sync.Mutex
	hops map[HopID]struct{}
}

// LeaseRequest says which hops Lease is to find.
type LeaseRequest struct {
	Domain    string                   // of the first hop
	Same      func(domain string) bool // whose hops of the same message go along; nil: Domain's
	Now       time.Time                // hops that are due by then
	Max       int                      // hops
	Returning bool                     // hops of any domain to be returned, due or not
}

// Lease gives out the message whose hop has been due the longest, with its other
// due hops of the same kind. ErrNotFound: there is none. ErrDamaged: there is
// one whose message is lost; it is not given out again until the store is opened
// anew.
func (s *Store) Lease(ctx context.Context, q LeaseRequest) (*Lease, error) {
	// The read begins under the lock: whatever was leased and settled is gone
	// from both or from none.
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	var l *Lease
	err := s.read(ctx, "lease", func(r *reader) error {
		first, queued, more, err := s.leases.first(r, &q)
		if err != nil {
			return err
		}
		if l, err = s.leases.gather(r, &q, queued); err != nil {
			l = &Lease{Hops: []LeasedHop{{ID: first}}} // to step over it from now on
			return err
		}
		l.More = more
		return nil
	})
	if s.leases.hops == nil {
		s.leases.hops = map[HopID]struct{}{}
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	for i := range l.Hops {
		s.leases.hops[l.Hops[i].ID] = struct{}{}
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// maxAhead bounds how many more hops are looked at for another message.
const maxAhead = 100

// first finds the first hop that is free, its message, and whether another
// message has one too.
func (x *leases) first(r *reader, q *LeaseRequest) (id HopID, queued int64, more bool, err error) {
	var rows *rows
	if q.Returning {
		rows, err = r.query("SELECT id, queued FROM hops WHERE state = 2")
	} else {
		rows, err = r.query("SELECT id, queued FROM hops WHERE domain = ? AND state = 0 AND next <= ? ORDER BY next", q.Domain, q.Now.Unix())
	}
	if err != nil {
		return 0, 0, false, err
	}
	defer rows.close()
	for ahead := 0; ahead < maxAhead && rows.next(); {
		hop, of := HopID(rows.int(0)), rows.int(1)
		_, taken := x.hops[hop]
		switch {
		case id == 0 && !taken:
			id, queued = hop, of
		case id != 0 && !taken && of != queued:
			return id, queued, true, rows.close()
		}
		if id != 0 {
			ahead++
		}
	}
	if err := rows.close(); err != nil {
		return 0, 0, false, err
	}
	if id == 0 {
		return 0, 0, false, ErrNotFound
	}
	return id, queued, false, nil
}

// gather reads the message with its hops.
func (x *leases) gather(r *reader, q *LeaseRequest, queued int64) (*Lease, error) {
	l := &Lease{}
	var demand int
	err := r.queryRow(`SELECT q.queue_id, q.reverse_path, q.submitter, c.size, q.queued, q.ret, q.envid, q.eight_bit, q.smtputf8, q.require_tls, q.content
		FROM queued q JOIN contents c ON c.id = q.content WHERE q.id = ?`, queued).scan(&l.QueueID, &l.ReversePath, &l.Submitter, &l.Size,
		&l.Queued, &l.Ret, &l.EnvID, &l.EightBit, &l.SMTPUTF8, &demand, &l.content)
	if err != nil {
		// Not ErrNotFound: the hop is there, its message is damaged.
		return nil, fmt.Errorf("queued message %d: %w: %s", queued, ErrDamaged, err)
	}
	l.RequireTLS, l.TLSOptional = demand == tlsRequired, demand == tlsOptional
	state, until := HopWaits, q.Now.Unix()
	if q.Returning {
		state, until = HopReturns, 1<<62
	}
	query := `SELECT id, recipient, domain, notify, orcpt, attempts, warned, next = 0, last_status, last_host, last_error
		FROM hops WHERE queued = ? AND +state = ? AND +next <= ?` // by hops_queued, whatever SQLite thinks of the others
	args := []any{queued, int(state), until}
	if q.Same == nil && !q.Returning {
		query += " AND domain = ?" // a message to very many domains is not read as often
		args = append(args, q.Domain)
	}
	rows, err := r.query(query+" ORDER BY id", args...)
	if err != nil {
		return nil, err
	}
	defer rows.close()
	for len(l.Hops) < q.Max && rows.next() {
		var h LeasedHop
		err := rows.scan(&h.ID, &h.Recipient, &h.Domain, &h.Notify, &h.ORcpt, &h.Attempts, &h.Warned, &h.AtOnce, &h.LastStatus, &h.LastHost, &h.LastError)
		if err != nil {
			return nil, err
		}
		_, taken := x.hops[h.ID]
		if !taken && (q.Returning || h.Domain == q.Domain || q.Same != nil && q.Same(h.Domain)) {
			l.Hops = append(l.Hops, h)
		}
	}
	return l, rows.close()
}

// Unlease gives hops back as they are.
func (s *Store) Unlease(l *Lease) {
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	for i := range l.Hops {
		delete(s.leases.hops, l.Hops[i].ID)
	}
}

// Settle puts on record what became of the lease's hops and stores the
// notifications about them, in one transaction: no notification is lost or sent
// twice. A hop that is not settled is given back as it was. With the last hop
// the message leaves the queue. After an error everything is as before, and the
// hops stay leased. Errors are Accept's, for the notifications.
func (s *Store) Settle(ctx context.Context, l *Lease, settled []Settled, notices []Acceptance) error {
	err := s.write(ctx, "settle", func(t *tx) error {
		for i := range settled {
			if err := t.settle(&settled[i]); err != nil {
				return err
			}
			if err := t.recordSettled(l, &settled[i]); err != nil {
				return err
			}
		}
		for i := range notices {
			if err := t.accept(&notices[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range notices {
		notices[i].Stage.linked = true
	}
	s.Unlease(l)
	return nil
}

func (t *tx) settle(h *Settled) error {
	if h.Done {
		return t.removeHop(h.Hop)
	}
	_, err := t.exec(`UPDATE hops SET next = ?, attempts = attempts + 1, warned = max(warned, ?), tried = ?,
		last_status = ?, last_host = ?, last_tls = ?, last_error = ? WHERE id = ?`,
		max(h.Next.Unix(), 1), h.Warned, t.at, h.Status, h.Host, h.TLS, h.Error, h.Hop)
	return err
}

// Due calls fn with the domain of each waiting hop that becomes due between from
// and to, both included, in the order of their times; false ends it. Hops that an
// operator wants tried at once have the time 0. fn runs inside the read: it must
// not block.
func (s *Store) Due(ctx context.Context, from, to time.Time, fn func(domain string, at time.Time) bool) error {
	return s.read(ctx, "look for due hops", func(r *reader) error {
		rows, err := r.query("SELECT domain, next FROM hops WHERE state = 0 AND next BETWEEN ? AND ? ORDER BY next", from.Unix(), to.Unix())
		if err != nil {
			return err
		}
		defer rows.close()
		for rows.next() {
			if !fn(rows.string(0), time.Unix(rows.int(1), 0)) {
				return nil
			}
		}
		return rows.close()
	})
}

// NextDue is when the first waiting hop after a time is due. ErrNotFound.
func (s *Store) NextDue(ctx context.Context, after time.Time) (time.Time, error) {
	var at time.Time
	err := s.read(ctx, "look for the next due hop", func(r *reader) error {
		return r.queryRow("SELECT next FROM hops WHERE state = 0 AND next > ? ORDER BY next LIMIT 1", after.Unix()).scan(&at)
	})
	return at, err
}

// QueueSize is how many hops there are.
func (s *Store) QueueSize(ctx context.Context) (hops int64, err error) {
	err = s.read(ctx, "count queue", func(r *reader) error {
		return r.queryRow("SELECT count(*) FROM hops").scan(&hops)
	})
	return hops, err
}

// OpenQueued opens the leased message for reading. ctx bounds the reader's reads
// too. ErrDamaged, here or from the reader, where its bytes are lost.
func (s *Store) OpenQueued(ctx context.Context, l *Lease) (*MessageReader, error) {
	m := &MessageReader{s: s, ctx: ctx}
	err := s.read(ctx, "open queued message", func(r *reader) error {
		return m.openContent(r, l.content)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}
