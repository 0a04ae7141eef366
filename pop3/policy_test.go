package pop3

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"posthorn/storage"
)

const day = 24 * time.Hour

func (h *harness) set(t testing.TB, account string, changes storage.Settings) {
	t.Helper()
	if account == "" {
		must(t, h.store.SetDomainSettings(context.Background(), "example.org", changes))
		return
	}
	must(t, h.store.SetAccountSettings(context.Background(), h.ids[account], changes))
}

// capability is the line of CAPA that begins with name, or "".
func (c *client) capability(name string) string {
	c.t.Helper()
	c.say("CAPA", "+OK")
	for _, line := range strings.Split(c.body(), "\r\n") {
		if line == name || strings.HasPrefix(line, name+" ") {
			return line
		}
	}
	return ""
}

func TestSettingsOfTheAccountCountBeforeItsDomainsAndThose(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 10 * time.Second })
	for n := range 4 {
		must(t, h.deliver("alice", "INBOX", fmt.Sprintf("%d", n)))
		must(t, h.deliver("bob", "INBOX", fmt.Sprintf("%d", n)))
	}
	must(t, h.deliver("alice", "Junk", "junk"))
	h.set(t, "", storage.Settings{"pop3.newest": "3", "pop3.delete": "hide", "pop3.mark_seen": "false", "imap.color": "red"})
	h.set(t, "alice", storage.Settings{"pop3.newest": "2", "pop3.include_junk": "true", "pop3.delete": "trash"})
	c := h.login(t, alice)
	c.say("STAT", "+OK 2 ") // the last of INBOX and the one in Junk
	c.say("RETR 1", "+OK")
	c.body()
	c.say("DELE 2", "+OK")
	c.say("QUIT", "+OK Bye, 1 messages deleted")
	must(t, h.awaitState("alice", "INBOX", "1 2 3 4 retrieved"))
	must(t, h.awaitState("alice", "Trash", "1"))
	must(t, h.awaitState("alice", "Junk", ""))
	c = h.login(t, bob)
	c.say("STAT", "+OK 3 ")
	c.say("DELE 3", "+OK")
	// A session keeps the policy that it began with.
	h.set(t, "", storage.Settings{"pop3.delete": "", "pop3.newest": "", "pop3.mark_seen": ""})
	c.say("QUIT", "+OK Bye, 1 messages deleted")
	must(t, h.awaitState("bob", "INBOX", "1 2 3 4 hidden"))
	c = h.login(t, bob)
	c.say("STAT", "+OK 3 ")
	c.say("RETR 1", "+OK")
	c.body()
	c.say("DELE 3", "+OK")
	c.say("QUIT", "+OK Bye, 1 messages deleted")
	must(t, h.awaitState("bob", "INBOX", "1 seen retrieved 2 4 hidden"))
}

func TestSettingThatIsNotUnderstoodChangesNothing(t *testing.T) {
	h := newHarness(t)
	must(t, h.deliver("alice", "INBOX", "a"))
	h.set(t, "alice", storage.Settings{"pop3.delete": "frame", "pop3.login_delay": "soon", "pop3.newest": "-3",
		"pop3.mark_seen": "perhaps", "pop3.expire": "tomorrow", "pop3.new_idea": "x"})
	c := h.login(t, alice)
	c.say("STAT", "+OK 1 ")
	if got := c.capability("EXPIRE"); got != "EXPIRE NEVER" {
		t.Error(got)
	}
	for _, name := range []string{"delete", "login_delay", "newest", "mark_seen", "expire"} {
		if !strings.Contains(h.log.String(), "setting=pop3."+name) {
			t.Errorf("nothing is logged of %s", name)
		}
	}
}

func TestCheckSettingSaysWhatIsWrong(t *testing.T) {
	c := DefaultConfig()
	names, defaults := c.Settings()
	if !slices.IsSorted(names) || len(names) != len(defaults) {
		t.Errorf("names %v, defaults %v", names, defaults)
	}
	for _, name := range names {
		if err := c.CheckSetting(name, defaults[name]); err != nil {
			t.Errorf("the default of %s: %v", name, err)
		}
		key := strings.TrimPrefix(name, "pop3.")
		for _, value := range []string{"-1", "nonsense", "99999999999999999999", "1.5s", "36526d"} {
			if err := c.CheckSetting(name, value); err == nil || !strings.HasPrefix(err.Error(), key+" is ") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
	if n, _ := DefaultConfig().Settings(); !slices.Equal(n, names) {
		t.Error("a check has changed the configuration")
	}
}

func TestExpiryReadsWhatItWrites(t *testing.T) {
	for text, want := range map[string]Expiry{"never": Never, "0d": 0, "30d": 30, "7": 7, "36525d": 36525} {
		var x Expiry
		if err := x.UnmarshalText([]byte(text)); err != nil || x != want {
			t.Errorf("%s: %v, %v", text, x, err)
		}
		again := x
		if err := again.UnmarshalText([]byte(x.String())); err != nil || again != x {
			t.Errorf("%s was written as %s", text, x)
		}
	}
}

// RFC 2449 6.5 and 6.7: before the login the worst that anybody has.
func TestCapaPromisesTheLeastOfAll(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.LoginDelay = 60 * time.Second })
	check := func(c *client, expire, delay string) {
		t.Helper()
		if got := c.capability("EXPIRE"); got != expire {
			t.Errorf("%q, want %q", got, expire)
		}
		if got := c.capability("LOGIN-DELAY"); got != delay {
			t.Errorf("%q, want %q", got, delay)
		}
	}
	c := h.connect(t)
	check(c, "EXPIRE NEVER", "LOGIN-DELAY 60")
	h.set(t, "", storage.Settings{"pop3.expire": "30d"})
	h.set(t, "bob", storage.Settings{"pop3.expire": "7d", "pop3.login_delay": "5m0s"})
	check(c, "EXPIRE 7 USER", "LOGIN-DELAY 300 USER")
	c.say("USER "+alice, "+OK")
	c.say("PASS "+secret, "+OK")
	check(c, "EXPIRE 30", "LOGIN-DELAY 60")
	check(h.login(t, bob), "EXPIRE 7", "LOGIN-DELAY 300")
	h.set(t, "bob", storage.Settings{"pop3.expire": "never", "pop3.login_delay": "0s"})
	c = h.connect(t)
	check(c, "EXPIRE 30 USER", "LOGIN-DELAY 60 USER")
}

// session fetches the messages and says good-bye, or is lost.
func (h *harness) session(t *testing.T, well bool, fetch ...int) {
	t.Helper()
	c := h.login(t, alice)
	for _, n := range fetch {
		c.say(fmt.Sprintf("RETR %d", n), "+OK")
		c.body()
	}
	if well {
		c.say("QUIT", "+OK")
		return
	}
	must(t, c.Close())
}

func TestRetrievedMailExpires(t *testing.T) {
	for _, tt := range []struct{ delete, left, trash string }{
		{deleteExpunge, "1 4", ""},
		{deleteTrash, "1 4", "1 seen retrieved 2 seen retrieved"},
		{deleteHide, "1 2 seen retrieved hidden 3 seen retrieved hidden 4", ""},
	} {
		t.Run(tt.delete, func(t *testing.T) {
			h := newHarness(t, func(c *Config, _ *Options) { c.Expire, c.Delete, c.LockWait = 7, tt.delete, 10*time.Second })
			for n := range 4 {
				must(t, h.deliver("alice", "INBOX", fmt.Sprint(n)))
			}
			h.session(t, true, 2)
			h.pass(6 * day)
			h.session(t, true, 3, 2) // again: that does not count
			must(t, h.awaitState("alice", "INBOX", "1 2 seen retrieved 3 seen retrieved 4"))
			h.pass(day)
			c := h.login(t, alice)
			c.say("STAT", "+OK 3 ") // the login has expired the second
			h.pass(6 * day)         // and while this session lasts, nothing goes
			c.say("RETR 2", "+OK")
			if got := c.body(); !strings.Contains(got, "Subject: 2\r\n") {
				t.Errorf("%q", got)
			}
			must(t, c.Close())
			h.session(t, true)
			must(t, h.awaitState("alice", "INBOX", tt.left))
			must(t, h.awaitState("alice", "Trash", tt.trash))
		})
	}
}

// RFC 2449 6.7: EXPIRE 0 is a DELE for all that RETR sent, in the UPDATE state. A
// session that is lost deletes nothing.
func TestExpireZeroDeletesAtQuit(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.Expire, c.LockWait = 0, 10*time.Second })
	for n := range 3 {
		must(t, h.deliver("alice", "INBOX", fmt.Sprint(n)))
	}
	h.session(t, false, 1)
	must(t, h.awaitState("alice", "INBOX", "1 seen retrieved 2 3"))
	c := h.login(t, alice)
	if got := c.capability("EXPIRE"); got != "EXPIRE 0" {
		t.Error(got)
	}
	c.say("STAT", "+OK 3 ")
	c.say("TOP 3 0", "+OK") // no retrieval
	c.body()
	c.say("RETR 2", "+OK")
	c.body()
	c.say("QUIT", "+OK")
	must(t, h.awaitState("alice", "INBOX", "3"))
}

// Expiry that fails is tried again, and stops neither a login nor a QUIT.
func TestExpiryThatFailsStopsNothing(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.Expire, c.LockWait = 1, 10*time.Second })
	must(t, h.deliver("alice", "INBOX", "a"))
	h.session(t, true, 1)
	h.pass(2 * day)
	h.fail("commit", storage.ErrDiskFull, 0)
	c := h.login(t, alice)
	c.say("STAT", "+OK 1 ")
	c.say("QUIT", "+OK")
	h.mend()
	if !strings.Contains(h.log.String(), "removing expired messages failed") {
		t.Error("nothing is logged")
	}
	c = h.login(t, alice)
	c.say("STAT", "+OK 0 ")
}

// Who has the mail on another computer may never log in again.
func TestRetrievedMailExpiresWithoutASession(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 10 * time.Second })
	h.set(t, "", storage.Settings{"pop3.expire": "7d"})
	h.set(t, "bob", storage.Settings{"pop3.expire": "never"})
	const many = expiryStep + 20
	h.fill(t, "alice", many)
	must(t, h.deliver("bob", "INBOX", "kept"))
	var all []int
	for n := range many - 1 {
		all = append(all, n+1)
	}
	h.session(t, true, all...)
	bob := h.login(t, "bob@example.org")
	bob.say("RETR 1", "+OK")
	bob.body()
	bob.say("QUIT", "+OK")
	must(t, h.awaitState("bob", "INBOX", "1 seen retrieved"))
	h.pass(6 * day)
	must(t, h.server.expireAll(t.Context()))
	c := h.login(t, alice)
	c.say("STAT", fmt.Sprintf("+OK %d ", many))
	h.pass(day)
	// A session's messages stay while it lasts.
	must(t, h.server.expireAll(t.Context()))
	must(t, h.awaitState("bob", "INBOX", "1 seen retrieved"))
	c.say("NOOP", "+OK")
	if _, left, err := h.mailbox("alice", "INBOX"); err != nil || len(left) != many {
		t.Errorf("%d messages are left under a session (%v)", len(left), err)
	}
	must(t, c.Close())
	if !h.server.drops.acquire(h.ids["alice"], 20*time.Second, nil) {
		t.Fatal("the maildrop is not given back")
	}
	h.server.drops.release(h.ids["alice"])
	must(t, h.server.expireAll(t.Context()))
	must(t, h.awaitState("alice", "INBOX", fmt.Sprint(many)))
	must(t, h.awaitState("bob", "INBOX", "1 seen retrieved"))
}

func TestExpiryEndsWithItsContext(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.server.Expire(ctx)
	}()
	cancel()
	<-ended
}
