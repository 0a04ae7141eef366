package imap

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// A client that others wrote understands what we say.
func TestGoImapClient(t *testing.T) {
	h := newHarness(t)
	news := make(chan uint32, 16)
	open := func(o *imapclient.Options) *imapclient.Client {
		conn, err := net.Dial("tcp", h.plain)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		c := imapclient.New(conn, o)
		t.Cleanup(func() { _ = c.Close() })
		if err := c.Login(alice, secret).Wait(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open(nil)
	if err := c.Create("Work/2026", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe("Work/2026").Wait(); err != nil {
		t.Fatal(err)
	}
	testClientLists(t, c)
	testClientAppends(t, c)

	watcher := open(&imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				news <- *data.NumMessages
			}
		},
	}})
	selected, err := watcher.Select("Work/2026", nil).Wait()
	if err != nil || selected.NumMessages != 1 || selected.UIDNext != 2 {
		t.Fatalf("select: %+v, %v", selected, err)
	}
	idle, err := watcher.Idle()
	if err != nil {
		t.Fatal(err)
	}
	testClientAppends(t, c)
	select {
	case n := <-news:
		if n != 2 {
			t.Errorf("%d messages instead of 2", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("no news")
	}
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*imapclient.Client{c, watcher} {
		if err := c.Logout().Wait(); err != nil {
			t.Error(err)
		}
	}
}

func testClientLists(t *testing.T, c *imapclient.Client) {
	t.Helper()
	boxes, err := c.List("", "*", &goimap.ListOptions{
		ReturnSubscribed: true, ReturnChildren: true, ReturnSpecialUse: true,
		ReturnStatus: &goimap.StatusOptions{NumMessages: true, UIDNext: true, NumUnseen: true, Size: true},
	}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]goimap.MailboxAttr{}
	for _, box := range boxes {
		found[box.Mailbox] = box.Attrs
		if box.Status == nil || box.Status.NumMessages == nil || *box.Status.NumMessages != 0 || box.Delim != '/' {
			t.Errorf("list: %+v", box)
		}
	}
	for name, want := range map[string]goimap.MailboxAttr{
		"INBOX": goimap.MailboxAttrSubscribed, "Sent": goimap.MailboxAttrSent, "Work": goimap.MailboxAttrHasChildren,
		"Work/2026": goimap.MailboxAttrSubscribed,
	} {
		if !slices.Contains(found[name], want) {
			t.Errorf("%s has %v without %s", name, found[name], want)
		}
	}
	spaces, err := c.Namespace().Wait()
	if err != nil || len(spaces.Personal) != 1 || spaces.Personal[0].Delim != '/' || spaces.Personal[0].Prefix != "" {
		t.Errorf("namespace: %+v, %v", spaces, err)
	}
}

func testClientAppends(t *testing.T, c *imapclient.Client) {
	t.Helper()
	const text = "Subject: hello\r\n\r\nA body.\r\n"
	w := c.Append("Work/2026", int64(len(text)), &goimap.AppendOptions{
		Flags: []goimap.Flag{goimap.FlagSeen, "$Forwarded"}, Time: time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC),
	})
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := w.Wait()
	if err != nil || data.UID == 0 || data.UIDValidity == 0 {
		t.Errorf("append: %+v, %v", data, err)
	}
	status, err := c.Status("Work/2026", &goimap.StatusOptions{NumMessages: true, NumUnseen: true, AppendLimit: true}).Wait()
	if err != nil || *status.NumMessages != uint32(data.UID) || *status.NumUnseen != 0 || *status.AppendLimit != 52428800 {
		t.Errorf("status: %+v, %v", status, err)
	}
}
