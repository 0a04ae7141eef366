package pop3

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"posthorn/storage"
)

// What DELE and QUIT do to a message (Policy.Delete).
const (
	deleteExpunge = "expunge" // it is gone, and can be undeleted within the retention window
	deleteTrash   = "trash"   // it moves to the mailbox with \Trash
	deleteHide    = "hide"    // POP3 lists it no more; IMAP still has it
)

// Policy is what accounts and domains may have in another way than the [pop3]
// section says: the account's setting counts before the domain's, and that
// before the file's.
type Policy struct {
	Delete      string        `toml:"delete"`       // what DELE means: "expunge", "trash" or "hide"
	Expire      Expiry        `toml:"expire"`       // what was retrieved is deleted after so many days
	MarkSeen    bool          `toml:"mark_seen"`    // what RETR sent is \Seen for IMAP
	IncludeJunk bool          `toml:"include_junk"` // the maildrop is INBOX and then Junk
	Newest      int           `toml:"newest"`       // show so many of the newest messages; 0: all
	LoginDelay  time.Duration `toml:"login_delay"`  // between two logins, whole seconds; 0: none
}

// Expiry is how many days a message is kept after it was retrieved, as EXPIRE
// says (RFC 2449 6.7); below 0: for ever.
type Expiry int

// Never is the Expiry of what is kept for ever.
const Never Expiry = -1

// maxExpiry is a hundred years.
const maxExpiry = 36525

// UnmarshalText reads "never", "30d" or "30".
func (x *Expiry) UnmarshalText(text []byte) error {
	if string(text) == "never" {
		*x = Never
		return nil
	}
	days, err := strconv.ParseUint(strings.TrimSuffix(string(text), "d"), 10, 16)
	if err != nil || days > maxExpiry {
		return fmt.Errorf("expire is %q: write \"never\", or days such as \"30d\"", text)
	}
	*x = Expiry(days)
	return nil
}

// String is the form that UnmarshalText reads.
func (x Expiry) String() string {
	if x < 0 {
		return "never"
	}
	return strconv.Itoa(int(x)) + "d"
}

// age is the time that a message is kept.
func (x Expiry) age() time.Duration { return time.Duration(x) * 24 * time.Hour }

func (p *Policy) validate() error {
	switch {
	case p.Delete != deleteExpunge && p.Delete != deleteTrash && p.Delete != deleteHide:
		return fmt.Errorf("delete is %q: write \"expunge\", \"trash\" or \"hide\"", p.Delete)
	case p.Newest < 0:
		return fmt.Errorf("newest is %d: write 0 for all messages", p.Newest)
	case p.LoginDelay < 0 || p.LoginDelay%time.Second != 0:
		// RFC 2449 6.5: LOGIN-DELAY tells seconds.
		return fmt.Errorf("login_delay is %v: write whole seconds such as \"60s\"", p.LoginDelay)
	}
	return nil
}

// settingPrefix begins the names of our settings in the store.
const settingPrefix = "pop3."

// setting is a part of a Policy as the store keeps it: a name and a text.
type setting struct {
	name string
	get  func(p *Policy) string
	set  func(p *Policy, value string) error
}

const (
	settingExpire     = settingPrefix + "expire"
	settingLoginDelay = settingPrefix + "login_delay"
)

func policySettings() []setting {
	return []setting{
		{settingPrefix + "delete",
			func(p *Policy) string { return p.Delete },
			func(p *Policy, value string) error { p.Delete = value; return nil }},
		{settingExpire,
			func(p *Policy) string { return p.Expire.String() },
			func(p *Policy, value string) error { return p.Expire.UnmarshalText([]byte(value)) }},
		{settingPrefix + "include_junk",
			func(p *Policy) string { return strconv.FormatBool(p.IncludeJunk) },
			func(p *Policy, value string) error { return setBool(&p.IncludeJunk, "include_junk", value) }},
		{settingLoginDelay,
			func(p *Policy) string { return p.LoginDelay.String() },
			func(p *Policy, value string) (err error) {
				if p.LoginDelay, err = time.ParseDuration(value); err != nil {
					err = fmt.Errorf("login_delay is %q: write whole seconds such as \"60s\"", value)
				}
				return err
			}},
		{settingPrefix + "mark_seen",
			func(p *Policy) string { return strconv.FormatBool(p.MarkSeen) },
			func(p *Policy, value string) error { return setBool(&p.MarkSeen, "mark_seen", value) }},
		{settingPrefix + "newest",
			func(p *Policy) string { return strconv.Itoa(p.Newest) },
			func(p *Policy, value string) (err error) {
				if p.Newest, err = strconv.Atoi(value); err != nil {
					err = fmt.Errorf("newest is %q: write a number, 0 for all messages", value)
				}
				return err
			}},
	}
}

func setBool(b *bool, name, value string) error {
	switch value {
	case "true", "false":
		*b = value == "true"
		return nil
	}
	return fmt.Errorf("%s is %q: write true or false", name, value)
}

// apply makes one setting count. Names that are not ours, and values that a
// check would have refused, change nothing; the latter are the error.
func (p *Policy) apply(name, value string) error {
	for _, s := range policySettings() {
		if s.name != name {
			continue
		}
		changed := *p
		err := s.set(&changed, value)
		if err == nil {
			err = changed.validate()
		}
		if err == nil {
			*p = changed
		}
		return err
	}
	return nil
}

// Settings are the names of what accounts and domains may set, sorted, with the
// values that count where neither does.
func (c Config) Settings() (names []string, defaults map[string]string) {
	defaults = map[string]string{}
	for _, s := range policySettings() {
		names = append(names, s.name)
		defaults[s.name] = s.get(&c.Policy)
	}
	return names, defaults
}

// CheckSetting says what is wrong with a value for one of Settings' names.
func (c Config) CheckSetting(name, value string) error { return c.Policy.apply(name, value) }

// policy is what counts for an account.
func (s *Server) policy(ctx context.Context, id storage.AccountID) (Policy, error) {
	own, domain, err := s.o.Store.AccountSettings(ctx, id)
	if err != nil {
		return Policy{}, err
	}
	p := s.cfg.Policy
	maps.Copy(domain, own)
	for name, value := range domain {
		if err := p.apply(name, value); err != nil {
			// What a newer posthorn has set, perhaps.
			s.log.Warn("a setting is not understood", "account", int64(id), "setting", name, "err", err)
		}
	}
	return p, nil
}

// promise is what CAPA can say to somebody who is not known yet.
type promise struct {
	expire       Expiry // the shortest
	expireVaries bool
	delay        time.Duration // the longest
	delayVaries  bool
}

// promise finds the least that all accounts may expect: RFC 2449 6.5 asks for
// the largest delay that an account has, 6.7 for the smallest expiry.
func (s *Server) promise(ctx context.Context) (promise, error) {
	p := promise{expire: s.cfg.Expire, delay: s.cfg.LoginDelay}
	err := s.each(ctx, settingExpire, func(set Policy) {
		p.expireVaries = p.expireVaries || set.Expire != s.cfg.Expire
		if p.expire < 0 || set.Expire >= 0 && set.Expire < p.expire {
			p.expire = set.Expire
		}
	})
	if err != nil {
		return p, err
	}
	err = s.each(ctx, settingLoginDelay, func(set Policy) {
		p.delayVaries = p.delayVaries || set.LoginDelay != s.cfg.LoginDelay
		p.delay = max(p.delay, set.LoginDelay)
	})
	return p, err
}

// each calls fn with a policy for each value that anybody has of a setting.
func (s *Server) each(ctx context.Context, name string, fn func(Policy)) error {
	values, err := s.o.Store.SettingValues(ctx, name)
	for _, value := range values {
		p := s.cfg.Policy
		if p.apply(name, value) == nil {
			fn(p)
		}
	}
	return err
}
