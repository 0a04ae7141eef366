package queue

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/delivery"
	"posthorn/storage"
)

// office is a queue over a real store, with alice@example.org and a carrier that
// does as the test says. Its time is synctest's.
type office struct {
	t     *testing.T
	store *storage.Store
	agent *delivery.Agent
	queue *Queue
	alice storage.Account
	log   *bytes.Buffer
	fault atomic.Value // string: the step of the store that fails

	mu      sync.Mutex
	tries   []try
	respond func(m *storage.Lease, n int) storage.Attempt // for the hop n
	during  func(m *storage.Lease, open func(bool) (io.Reader, int64, error))
	active  int
	most    int
}

// try is one hop's attempt.
type try struct {
	to    string
	after time.Duration // since the office opened
	hops  int           // in the same transaction
	hurry bool
}

func (o *office) Destination(domain string) string {
	if strings.HasSuffix(domain, ".routed.example") {
		return "relay"
	}
	return domain
}

func (o *office) Carry(ctx context.Context, m *storage.Lease, hurry bool, open func(bool) (io.Reader, int64, error)) []storage.Attempt {
	o.mu.Lock()
	o.active++
	o.most = max(o.most, o.active)
	for i := range m.Hops {
		o.tries = append(o.tries, try{m.Hops[i].Recipient, time.Since(epoch), len(m.Hops), hurry})
	}
	respond, during := o.respond, o.during
	o.mu.Unlock()
	if during != nil {
		during(m, open)
	}
	attempts := make([]storage.Attempt, len(m.Hops))
	for i := range attempts {
		attempts[i] = storage.Attempt{Outcome: storage.Relayed, Code: 250, Status: "2.0.0", Text: "taken", Host: "mx.example"}
		if respond != nil {
			attempts[i] = respond(m, i)
		}
		attempts[i].Hop = m.Hops[i].ID
	}
	o.mu.Lock()
	o.active--
	o.mu.Unlock()
	return attempts
}

// epoch is when synctest's time begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// inOffice runs a test in a bubble where time passes only while all wait.
func inOffice(t *testing.T, test func(o *office), changes ...func(*Options)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := &office{t: t, log: &bytes.Buffer{}}
		var err error
		o.store, err = storage.Open(dir, storage.Options{Logger: slog.New(slog.DiscardHandler), Fault: func(step string) error {
			if o.fault.Load() == step {
				return fmt.Errorf("an injected fault")
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		if err := o.store.CreateDomain(ctx, "example.org"); err != nil {
			t.Fatal(err)
		}
		if o.alice, err = o.store.CreateAccount(ctx, "alice@example.org", storage.Secrets{}, storage.DefaultMailboxes()); err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.NewTextHandler(o.log, nil))
		rules := delivery.DefaultConfig()
		rules.RecipientsPerHour = 0
		o.agent = delivery.New(o.store, delivery.Options{Hostname: "mail.example.org", Config: rules, Logger: log})
		options := Options{Hostname: "mail.example.org", Config: DefaultConfig(), Carrier: o, Agent: o.agent, Logger: log}
		for _, change := range changes {
			change(&options)
		}
		o.queue = New(o.store, options)
		run, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			o.queue.Run(run)
		}()
		test(o)
		stop()
		<-ended
		if err := o.queue.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := o.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// pass lets time pass until all is quiet, so that a test may look at what the
// queue's goroutines have left behind.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// envelope are what a test message says beside its recipients.
type envelope struct {
	from   string
	text   string
	sender delivery.Sender
	notify string
	orcpt  string
}

// submit sends a message of alice's, or one with another sender from outside by
// way of an alias.
func (o *office) submit(e envelope, to ...string) {
	o.t.Helper()
	ctx := context.Background()
	if e.text == "" {
		e.text = "From: alice@example.org\r\nMessage-ID: <original@example.org>\r\nSubject: x\r\n\r\nHello\r\n"
	}
	client := delivery.Client{Role: delivery.Submission, Account: o.alice.ID, Login: "alice@example.org", Helo: "c"}
	e.sender.Path = path(o.t, "alice@example.org")
	switch e.from {
	case "":
	case "<>":
		e.sender.Path = address.Address{}
	default:
		e.sender.Path = path(o.t, e.from)
		client = delivery.Client{Role: delivery.Exchanger, Helo: "c"}
		if err := o.store.SetAlias(ctx, storage.Alias{Address: "list@example.org", Targets: to}); err != nil {
			o.t.Fatal(err)
		}
		to = []string{"list@example.org"}
	}
	tx, err := o.agent.AdmitSender(ctx, client, e.sender)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, r := range to {
		if err := tx.Admit(ctx, delivery.Recipient{Path: path(o.t, r), Notify: e.notify, ORcpt: e.orcpt}); err != nil {
			o.t.Fatal(err)
		}
	}
	if _, err := tx.Accept(ctx, strings.NewReader(e.text)); err != nil {
		o.t.Fatal(err)
	}
}

func path(t testing.TB, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// setRespond changes what the carrier answers.
func (o *office) setRespond(respond func(m *storage.Lease, n int) storage.Attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.respond = respond
}

// always is a response of one kind.
func always(a storage.Attempt) func(*storage.Lease, int) storage.Attempt {
	return func(*storage.Lease, int) storage.Attempt { return a }
}

func later() storage.Attempt {
	return storage.Attempt{Outcome: storage.Deferred, Code: 450, Status: "4.2.0", Text: "come back later", Host: "mx.there.example", Addr: "192.0.2.1", TLS: "TLS 1.3 unverified"}
}

func unknown() storage.Attempt {
	return storage.Attempt{Outcome: storage.Failed, Code: 550, Status: "5.1.1", Text: "no such user", Host: "mx.there.example", Addr: "192.0.2.1"}
}

func dead() storage.Attempt {
	return storage.Attempt{Outcome: storage.Deferred, Status: "4.4.1", Text: "no answer", Unreachable: true}
}

func (o *office) tried() []try {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]try(nil), o.tries...)
}

func (o *office) hops() []storage.QueuedHop {
	o.t.Helper()
	list, err := o.store.Queued(context.Background(), 0, 100000)
	if err != nil {
		o.t.Fatal(err)
	}
	return list
}

// inbox are alice's messages.
func (o *office) inbox() []string {
	o.t.Helper()
	ctx := context.Background()
	box, err := o.store.Mailbox(ctx, o.alice.ID, "INBOX")
	if err != nil {
		o.t.Fatal(err)
	}
	s, err := o.store.Select(ctx, o.alice.ID, box.ID, true)
	if err != nil {
		o.t.Fatal(err)
	}
	var all []string
	for _, uid := range s.UIDs {
		m, err := o.store.OpenMessage(ctx, o.alice.ID, box.ID, uid)
		if err != nil {
			o.t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
		if err != nil {
			o.t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

func bufioReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }
