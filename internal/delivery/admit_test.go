package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestWhoMaySend(t *testing.T) {
	o := newOffice(t)
	o.setAlias("team@example.org", "alice@example.org", "bob@example.org")
	o.setAlias("tagged@example.org", "alice+tagged@example.org")
	o.setAlias("far@example.org", "team@example.org")
	o.setAlias("@example.com", "alice@example.org")
	o.setAlias("boss@example.com", "bob@example.org")
	nobody := outside
	nobody.Role = Submission
	for _, test := range []struct {
		client Client
		from   string
		want   string
	}{
		{outside, "a@remote.example", "ok"},
		{outside, "", "ok"},
		{outside, "alice@example.org", "ok"},
		{nobody, "alice@example.org", "530 5.7.0"},
		{nobody, "", "530 5.7.0"},
		{o.submitter("alice@example.org"), "", "ok"},
		{o.submitter("alice@example.org"), "Alice@EXAMPLE.org", "ok"},
		{o.submitter("alice@example.org"), "alice+tag@example.org", "ok"},
		{o.submitter("alice@example.org"), "team@example.org", "ok"},
		{o.submitter("bob@example.org"), "team@example.org", "ok"},
		{o.submitter("carol@example.net"), "team@example.org", "553 5.7.1"},
		{o.submitter("alice@example.org"), "tagged@example.org", "ok"},
		{o.submitter("alice@example.org"), "far@example.org", "553 5.7.1"},
		{o.submitter("alice@example.org"), "anything@example.com", "ok"},
		{o.submitter("alice@example.org"), "boss@example.com", "553 5.7.1"},
		{o.submitter("bob@example.org"), "anything@example.com", "553 5.7.1"},
		{o.submitter("alice@example.org"), "bob@example.org", "553 5.7.1"},
		{o.submitter("alice@example.org"), "nobody@example.org", "553 5.7.1"},
		{o.submitter("alice@example.org"), "alice@remote.example", "553 5.7.1"},
		{o.submitter("alice@example.org"), "postmaster@example.org", "ok"},
		{o.submitter("bob@example.org"), "postmaster@example.org", "553 5.7.1"},
	} {
		_, err := o.AdmitSender(context.Background(), test.client, Sender{Path: path(t, test.from)})
		if got := status(err); got != test.want {
			t.Errorf("%s as <%s>: %s, want %s", test.client.Login, test.from, got, test.want)
		}
	}
}

// where tells a transaction's destinations.
func where(tx *Transaction) string {
	var all []string
	for _, c := range tx.copies {
		all = append(all, c.address)
	}
	for _, h := range tx.hops {
		all = append(all, "-> "+h.Recipient)
	}
	return strings.Join(all, ", ")
}

func TestWhereMailGoes(t *testing.T) {
	o := newOffice(t)
	for from, to := range map[string][]string{
		"team@example.org":      {"alice@example.org", "bob@example.org", "far@remote.example"},
		"nested@example.org":    {"team@example.org", "carol@example.net", "alice@example.org"},
		"bob@example.org":       {"bob@example.org", "bob@remote.example"}, // forwards and keeps
		"loop1@example.org":     {"loop2@example.org"},
		"loop2@example.org":     {"loop1@example.org", "alice@example.org"},
		"void@example.org":      {"void2@example.org"},
		"void2@example.org":     {"void@example.org"},
		"dead@example.org":      {"nobody@example.org"},
		"half@example.org":      {"nobody@example.org", "alice@example.org"},
		"user+real@example.org": {"carol@example.net"},
		"list@example.org":      {"alice+list@example.org"},
		"@example.com":          {"carol@example.net"},
		"abuse@example.net":     {"bob@remote.example"},
	} {
		o.setAlias(from, to...)
	}
	alice := o.submitter("alice@example.org")
	for _, test := range []struct {
		client Client
		to     string
		status string
		where  string
	}{
		{outside, "alice@example.org", "ok", "alice@example.org"},
		{outside, "ALICE@Example.ORG", "ok", "alice@example.org"},
		{outside, "alice+any+thing@example.org", "ok", "alice@example.org"},
		{outside, "+alice@example.org", "550 5.1.1", ""},
		{outside, "nobody@example.org", "550 5.1.1", ""},
		{outside, "nobody+alice@example.org", "550 5.1.1", ""},
		{outside, "x@remote.example", "550 5.7.1", ""},
		{outside, "x@sub.example.org", "550 5.7.1", ""},
		{outside, "alice@[192.0.2.1]", "550 5.7.1", ""},
		{outside, "team@example.org", "ok", "alice@example.org, bob@example.org, -> bob@remote.example, -> far@remote.example"},
		{outside, "team+x@example.org", "ok", "alice@example.org, bob@example.org, -> bob@remote.example, -> far@remote.example"},
		{outside, "nested@example.org", "ok", "alice@example.org, carol@example.net, bob@example.org, -> bob@remote.example, -> far@remote.example"},
		{outside, "bob@example.org", "ok", "bob@example.org, -> bob@remote.example"},
		{outside, "bob+x@example.org", "ok", "bob@example.org, -> bob@remote.example"},
		{outside, "loop1@example.org", "ok", "alice@example.org"},
		{outside, "void@example.org", "451 4.3.5", ""},
		{outside, "dead@example.org", "451 4.3.5", ""},
		{outside, "half@example.org", "ok", "alice@example.org"},
		{outside, "user+real@example.org", "ok", "carol@example.net"},
		{outside, "list@example.org", "ok", "alice@example.org"},
		{outside, "whoever@example.com", "ok", "carol@example.net"},
		{outside, "postmaster", "ok", "alice@example.org"},
		{outside, "PostMaster@example.org", "ok", "alice@example.org"},
		{outside, "postmaster+x@example.org", "ok", "alice@example.org"},
		{outside, "abuse@example.org", "ok", "alice@example.org"},
		{outside, "postmaster@example.net", "ok", "carol@example.net"},
		{outside, "abuse@example.net", "ok", "-> bob@remote.example"},
		{outside, "postmaster@example.com", "ok", "carol@example.net"},
		{outside, "postmaster@mail.example.org", "ok", "alice@example.org"},
		{outside, "hostmaster@mail.example.org", "550 5.7.1", ""},
		{alice, "x@remote.example", "ok", "-> x@remote.example"},
		{alice, "X@Bücher.Example", "ok", "-> X@xn--bcher-kva.example"},
		{alice, "x@[192.0.2.1]", "ok", "-> x@[192.0.2.1]"},
		{alice, "nobody@example.org", "550 5.1.1", ""},
		{alice, "bob@example.org", "ok", "bob@example.org, -> bob@remote.example"},
	} {
		from := ""
		tx := o.begin(test.client, from)
		err := tx.Admit(context.Background(), Recipient{Path: path(t, test.to)})
		if status(err) != test.status || where(tx) != test.where {
			t.Errorf("%s: %s to %q, want %s to %q", test.to, status(err), where(tx), test.status, test.where)
		}
		if want := map[bool]int{true: 1, false: 0}[err == nil]; tx.Recipients() != want {
			t.Errorf("%s: %d recipients", test.to, tx.Recipients())
		}
	}
}

func TestLMTPIsNoRelayEither(t *testing.T) {
	o := newOffice(t)
	c := outside
	c.Role, c.Trusted = LMTP, true
	tx := o.begin(c, "a@remote.example")
	if got := status(tx.Admit(context.Background(), Recipient{Path: path(t, "x@remote.example")})); got != "550 5.7.1" {
		t.Error(got)
	}
}

func TestPostmasterAtTheAddressOfTheConnection(t *testing.T) {
	o := newOffice(t)
	c := outside
	c.Local = netip.MustParseAddr("192.0.2.1")
	for to, want := range map[string]string{
		"postmaster@[192.0.2.1]": "ok", "abuse@[192.0.2.1]": "ok",
		"postmaster@[192.0.2.2]": "550 5.7.1", "alice@[192.0.2.1]": "550 5.7.1",
	} {
		tx := o.begin(c, "")
		if got := status(tx.Admit(context.Background(), Recipient{Path: path(t, to)})); got != want {
			t.Errorf("%s: %s, want %s", to, got, want)
		}
	}
}

func TestSeveralRecipientsGiveOneCopyAMailbox(t *testing.T) {
	o := newOffice(t)
	o.setAlias("team@example.org", "alice@example.org", "bob@example.org", "x@remote.example")
	tx := o.begin(o.submitter("alice@example.org"), "alice@example.org",
		"bob@example.org", "team@example.org", "bob+x@example.org", "x@remote.example", "X@remote.example")
	if got := where(tx); got != "bob@example.org, alice@example.org, -> x@remote.example, -> X@remote.example" {
		t.Error(got)
	}
	if _, err := o.send(tx, "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice@example.org", "bob@example.org"} {
		if n := len(o.messages(name, "INBOX")); n != 1 {
			t.Errorf("%s has %d messages", name, n)
		}
	}
	if got := o.queue(); !slices.Equal(got, []string{"x@remote.example", "X@remote.example"}) {
		t.Errorf("queue: %q", got)
	}
}

func TestAliasExpansionIsBounded(t *testing.T) {
	o := newOffice(t)
	for i := range 30 {
		o.setAlias(fmt.Sprintf("deep%d@example.org", i), fmt.Sprintf("deep%d@example.org", i+1))
	}
	var many []string
	for i := range maxDestinations + 1 {
		many = append(many, fmt.Sprintf("u%d@remote.example", i))
	}
	o.setAlias("wide@example.org", many...)
	o.setAlias("wide2@example.org", many[:maxDestinations]...)
	for to, want := range map[string]string{
		"deep0@example.org": "451 4.3.5", "wide@example.org": "451 4.3.5", "wide2@example.org": "ok",
	} {
		tx := o.begin(outside, "")
		err := tx.Admit(context.Background(), Recipient{Path: path(t, to)})
		if status(err) != want {
			t.Errorf("%s: %s, want %s", to, status(err), want)
		}
	}
}

func TestQuotaIsAskedAtRCPT(t *testing.T) {
	o := newOffice(t)
	ctx := context.Background()
	if _, err := o.send(o.begin(outside, "", "alice@example.org"), "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	used, err := o.store.Account(ctx, o.ids["alice@example.org"])
	if err != nil {
		t.Fatal(err)
	}
	o.setAlias("team@example.org", "bob@example.org", "alice@example.org")
	for _, test := range []struct {
		bytes, messages, size int64
		want                  string
	}{
		{0, 0, 1 << 40, "ok"},
		{used.UsedBytes, 0, 0, "452 4.2.2"},
		{used.UsedBytes + 1, 0, 0, "ok"},
		{used.UsedBytes + 100, 0, 101, "452 4.2.2"},
		{used.UsedBytes + 100, 0, 100, "ok"},
		{used.UsedBytes + 100, 0, used.UsedBytes + 101, "552 5.2.2"},
		{0, 1, 0, "452 4.2.2"},
		{0, 2, 0, "ok"},
	} {
		if err := o.store.SetQuota(ctx, used.ID, test.bytes, test.messages); err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"alice@example.org", "team@example.org"} {
			tx, err := o.AdmitSender(ctx, outside, Sender{Size: test.size})
			if err != nil {
				t.Fatal(err)
			}
			if got := status(tx.Admit(ctx, Recipient{Path: path(t, to)})); got != test.want {
				t.Errorf("%+v to %s: %s", test, to, got)
			}
		}
	}
}

func TestStoreFaultsAreNoRefusals(t *testing.T) {
	o := newOffice(t)
	ctx := context.Background()
	tx := o.begin(outside, "")
	alice := o.submitter("alice@example.org")
	o.fault = "read"
	var r *Refusal
	if err := tx.Admit(ctx, Recipient{Path: path(t, "alice@example.org")}); !errors.Is(err, errFault) || errors.As(err, &r) {
		t.Errorf("Admit: %v", err)
	}
	if _, err := o.AdmitSender(ctx, alice, Sender{Path: path(t, "bob@example.org")}); !errors.Is(err, errFault) {
		t.Errorf("AdmitSender: %v", err)
	}
	o.fault = ""
	if err := tx.Admit(ctx, Recipient{Path: path(t, "alice@example.org")}); err != nil {
		t.Error(err)
	}
}
