package delivery

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/storage"
)

// limited is an office whose accounts may send little, with a clock to turn.
func limited(t *testing.T, change func(*Config)) (*office, *time.Time) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	o := newOffice(t, func(o *Options) {
		change(&o.Config)
		o.Now = func() time.Time { return now }
	})
	return o, &now
}

func TestSendingLimitCountsMessagesOfAnHour(t *testing.T) {
	o, now := limited(t, func(c *Config) { c.MessagesPerHour = 3 })
	alice := o.submitter("alice@example.org")
	one := func(c Client) error {
		tx, err := o.AdmitSender(context.Background(), c, Sender{Path: path(t, c.Login)})
		if err == nil {
			err = tx.Admit(context.Background(), Recipient{Path: path(t, "x@elsewhere.example")})
		}
		if err == nil {
			_, err = o.send(tx, "Subject: x\r\n\r\n")
		}
		return err
	}
	for i := range 3 {
		if err := one(alice); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		*now = now.Add(10 * time.Minute)
	}
	err := one(alice)
	if status(err) != "450 4.7.1" || !strings.Contains(err.Error(), "3 messages in one hour") {
		t.Error(err)
	}
	if err := one(o.submitter("bob@example.org")); err != nil {
		t.Errorf("bob pays for alice: %v", err)
	}
	trusted := alice
	trusted.Trusted = true
	if err := one(trusted); err != nil {
		t.Errorf("from a trusted network: %v", err)
	}
	if err := one(outside); err == nil {
		t.Error("relayed")
	}
	*now = now.Add(35 * time.Minute) // the first of them is over an hour ago
	if err := one(alice); err != nil {
		t.Errorf("after the hour: %v", err)
	}
	if err := one(alice); status(err) != "450 4.7.1" {
		t.Errorf("the second one is less than an hour ago: %v", err)
	}
}

func TestSendingLimitCountsRecipientsOfADay(t *testing.T) {
	o, now := limited(t, func(c *Config) { c.RecipientsPerDay = 5 })
	alice := o.submitter("alice@example.org")
	tx := o.begin(alice, "alice@example.org", "a@x.example", "b@x.example", "bob@example.org")
	if _, err := o.send(tx, "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(20 * time.Hour)
	tx = o.begin(alice, "alice@example.org", "a@x.example", "b@x.example")
	if err := tx.Admit(context.Background(), Recipient{Path: path(t, "c@x.example")}); status(err) != "450 4.7.1" {
		t.Errorf("the sixth recipient: %v", err)
	}
	if _, err := o.send(tx, "Subject: those admitted go\r\n\r\n"); err != nil {
		t.Error(err)
	}
	if _, err := o.AdmitSender(context.Background(), alice, Sender{Path: path(t, "alice@example.org")}); err != nil {
		t.Errorf("a transaction without recipients: %v", err)
	}
	*now = now.Add(6 * time.Hour)
	o.begin(alice, "alice@example.org", "c@x.example", "d@x.example", "e@x.example")
}

func TestSendingLimitHoldsForTransactionsAtOnce(t *testing.T) {
	o, _ := limited(t, func(c *Config) { c.MessagesPerHour = 5 })
	alice := o.submitter("alice@example.org")
	var open []*Transaction
	for range 20 {
		open = append(open, o.begin(alice, "alice@example.org", "bob@example.org"))
	}
	var all sync.WaitGroup
	for _, tx := range open {
		all.Go(func() {
			if _, err := o.send(tx, "Subject: x\r\n\r\n"); err != nil && status(err) != "450 4.7.1" {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(o.messages("bob@example.org", "INBOX")); n != 5 {
		t.Errorf("%d messages passed a limit of 5", n)
	}
}

func TestSendersAreForgottenAfterADay(t *testing.T) {
	var s senders
	c := Config{MessagesPerDay: 1}
	now := time.Unix(1_700_000_000, 0)
	for id := range 100 {
		if err := s.admit(&c, 1+storage.AccountID(id), now, sends{1, 1}, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.admit(&c, 1, now.Add(26*time.Hour), sends{1, 1}, true); err != nil {
		t.Error(err)
	}
	if len(s.windows) != 1 {
		t.Errorf("%d accounts are kept", len(s.windows))
	}
}
