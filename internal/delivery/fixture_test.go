package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"posthorn/internal/address"
	"posthorn/storage"
)

// office is an agent over a real store: alice and bob in example.org, carol in
// example.net, and example.com of aliases alone.
type office struct {
	*Agent
	t     *testing.T
	ids   map[string]storage.AccountID
	log   *bytes.Buffer
	fault string // the storage step that fails
}

var errFault = errors.New("an injected fault")

func newOffice(t *testing.T, changes ...func(*Options)) *office {
	t.Helper()
	o := &office{t: t, ids: map[string]storage.AccountID{}, log: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(o.log, nil))
	// The store's clock too: what is on record must not be long past to it.
	now := func() time.Time { return time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC) }
	store, err := storage.Open(t.TempDir(), storage.Options{Logger: slog.New(slog.DiscardHandler), Now: now, Fault: func(step string) error {
		if step == o.fault {
			return errFault
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	ctx := context.Background()
	for _, domain := range []string{"example.org", "example.net", "example.com"} {
		if err := store.CreateDomain(ctx, domain); err != nil {
			t.Fatal(err)
		}
	}
	options := Options{Hostname: "mail.example.org", Config: DefaultConfig(), Logger: logger, Now: now}
	for _, change := range changes {
		change(&options)
	}
	o.Agent = New(store, options)
	for _, name := range []string{"alice@example.org", "bob@example.org", "carol@example.net"} {
		a, err := store.CreateAccount(ctx, name, storage.Secrets{}, storage.DefaultMailboxes())
		if err != nil {
			t.Fatal(err)
		}
		o.ids[name] = a.ID
	}
	return o
}

func (o *office) setAlias(from string, to ...string) {
	o.t.Helper()
	if err := o.store.SetAlias(context.Background(), storage.Alias{Address: from, Targets: to}); err != nil {
		o.t.Fatal(err)
	}
}

var outside = Client{Role: Exchanger, Addr: netip.MustParseAddr("192.0.2.7"), Helo: "client.example", Extended: true}

func (o *office) submitter(name string) Client {
	c := outside
	c.Role, c.Account, c.Login = Submission, o.ids[name], name
	return c
}

func path(t testing.TB, s string) address.Address {
	t.Helper()
	if s == "" {
		return address.Address{}
	}
	if !strings.Contains(s, "@") {
		return address.Address{Local: s}
	}
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// begin opens a transaction with all recipients admitted.
func (o *office) begin(c Client, from string, to ...string) *Transaction {
	o.t.Helper()
	tx, err := o.AdmitSender(context.Background(), c, Sender{Path: path(o.t, from)})
	if err != nil {
		o.t.Fatalf("from %s: %v", from, err)
	}
	for _, name := range to {
		if err := tx.Admit(context.Background(), Recipient{Path: path(o.t, name)}); err != nil {
			o.t.Fatalf("to %s: %v", name, err)
		}
	}
	return tx
}

// send takes a message in and gives its id or its error.
func (o *office) send(tx *Transaction, text string) (string, error) {
	return tx.Accept(context.Background(), strings.NewReader(text))
}

// messages are an account's, in one mailbox.
func (o *office) messages(name, box string) []string {
	o.t.Helper()
	ctx := context.Background()
	id := o.ids[name]
	m, err := o.store.Mailbox(ctx, id, box)
	if err != nil {
		o.t.Fatal(err)
	}
	s, err := o.store.Select(ctx, id, m.ID, true)
	if err != nil {
		o.t.Fatal(err)
	}
	var all []string
	for _, uid := range s.UIDs {
		r, err := o.store.OpenMessage(ctx, id, m.ID, uid)
		if err != nil {
			o.t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil {
			o.t.Fatal(err)
		}
		_ = r.Close()
		all = append(all, string(text))
	}
	return all
}

// last is the newest message in the account's INBOX.
func (o *office) last(name string) string {
	o.t.Helper()
	all := o.messages(name, "INBOX")
	if len(all) == 0 {
		o.t.Fatalf("%s has no message", name)
	}
	return all[len(all)-1]
}

func (o *office) queue() []string {
	o.t.Helper()
	hops, err := o.store.Queued(context.Background(), 0, 5000)
	if err != nil {
		o.t.Fatal(err)
	}
	var all []string
	for _, h := range hops {
		all = append(all, h.Recipient)
	}
	return all
}

// status is a refusal's code and RFC 3463 status, "ok", or the error.
func status(err error) string {
	var r *Refusal
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &r):
		return fmt.Sprintf("%d %d.%d.%d", r.Code, r.Status[0], r.Status[1], r.Status[2])
	}
	return err.Error()
}
