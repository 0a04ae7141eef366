package delivery

import (
	"context"
	"strings"
	"testing"

	"posthorn/storage"
)

func TestNoticesReachFullMailboxesAndElsewhereUnjudged(t *testing.T) {
	judged := 0
	o := newOffice(t, func(o *Options) {
		o.Checks = []Check{func(context.Context, *Incoming) (Verdict, error) {
			judged++
			return Verdict{Action: Quarantine, Reason: "x"}, nil
		}}
	})
	ctx := context.Background()
	if err := o.store.SetQuota(ctx, o.ids["bob@example.org"], 1, 1); err != nil {
		t.Fatal(err)
	}
	tx := o.begin(Client{Role: Notice}, "", "bob@example.org", "friend@elsewhere.example")
	m, err := tx.Prepare(ctx, strings.NewReader("Subject: sorry\r\n\r\nIt did not work.\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stage.Discard()
	if n := len(o.messages("bob@example.org", "INBOX")); n != 0 {
		t.Errorf("Prepare kept %d messages", n)
	}
	if err := o.store.Settle(ctx, &storage.Lease{}, nil, []storage.Acceptance{*m}); err != nil {
		t.Fatal(err)
	}
	want := "Return-Path: <>\r\nDelivered-To: bob@example.org\r\nSubject: sorry\r\n\r\nIt did not work.\r\n"
	if got := o.last("bob@example.org"); got != want || judged != 0 {
		t.Errorf("%q, judged %d times", got, judged)
	}
	if hops, err := o.store.Queued(ctx, 0, 10); err != nil || len(hops) != 1 || hops[0].ReversePath != "" || hops[0].Recipient != "friend@elsewhere.example" {
		t.Errorf("%+v, %v", hops, err)
	}
	tx, err = o.AdmitSender(ctx, Client{Role: Notice}, Sender{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Admit(ctx, Recipient{Path: path(t, "gone@example.org")}); status(err) != "550 5.1.1" {
		t.Error(err)
	}
}
