package admin

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"posthorn/pop3"
	"posthorn/storage"
)

func TestSettingsOfAccountsAndDomains(t *testing.T) {
	s := shell{t: t, dir: t.TempDir(), site: Site{Settings: pop3.DefaultConfig()}}
	s.ok("", "domain", "add", "example.org")
	s.ok("secret\n", "account", "add", "--password-stdin", "alice@example.org")
	shown := func(noun, name string) (d accountDetails) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.ok("", noun, "show", name, "--json")), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	check := func(d accountDetails, want map[string]settingLine, quota ...int64) {
		t.Helper()
		for name, line := range want {
			if d.Settings[name] != line {
				t.Errorf("%s is %v, want %v", name, d.Settings[name], line)
			}
		}
		if got := []int64{d.QuotaBytes, d.QuotaMessages}; !slices.Equal(got, quota) {
			t.Errorf("quota %v, want %v", got, quota)
		}
	}
	check(shown("account", "alice@example.org"), map[string]settingLine{"pop3.delete": {"expunge", "config"}, "pop3.expire": {"never", "config"}}, 0, 0)
	s.ok("", "domain", "set", "example.org", "pop3.delete=trash", "pop3.expire=30d", "quota=10GB")
	s.ok("", "account", "set", "alice@example.org", "pop3.expire=never", "quota_messages=1000")
	alice := map[string]settingLine{"pop3.delete": {"trash", "domain"}, "pop3.expire": {"never", "account"}, "pop3.newest": {"0", "config"}}
	check(shown("account", "alice@example.org"), alice, 10<<30, 1000)
	check(shown("domain", "example.org"), map[string]settingLine{"pop3.delete": {"trash", "domain"}, "pop3.expire": {"30d", "domain"}}, 10<<30, 0)
	out := s.ok("", "account", "show", "alice@example.org")
	for _, want := range []string{"0 of 1000\n", "0 of 10737418240\n", "pop3.delete            trash      (domain)\n", "never      (account)\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q lacks %q", out, want)
		}
	}
	if out := s.ok("", "domain", "show", "example.org"); !strings.Contains(out, "messages per account   unlimited\n") {
		t.Errorf("%q", out)
	}
	s.ok("", "account", "set", "alice@example.org", "pop3.expire=", "quota_messages=", "quota=1K")
	check(shown("account", "alice@example.org"), map[string]settingLine{"pop3.expire": {"30d", "domain"}}, 1<<10, 0)

	// One that is wrong, and none of the line counts.
	const set = "alice@example.org"
	s.fails(ExitUsage, `delete is "shred": write "expunge"`, "", "account", "set", set, "quota=1", "pop3.delete=shred")
	s.fails(ExitUsage, "there are quota, quota_messages, pop3.delete", "", "account", "set", set, "quota=1", "pop3.color=red")
	s.fails(ExitUsage, "write KEY=VALUE", "", "domain", "set", "example.org", "pop3.delete")
	s.fails(ExitUsage, "usage:", "", "account", "set", set)
	for _, size := range []string{"-1", "many", "9999999999TB", "1.5GB", "B", "10GBB"} {
		s.fails(ExitUsage, "is no size", "", "account", "set", set, "quota="+size)
	}
	s.fails(ExitUsage, "is no number of messages", "", "account", "set", set, "quota_messages=10k")
	s.fails(ExitFailed, "no such account", "", "account", "set", "bob@example.org", "quota=1")
	s.fails(ExitFailed, "no such account", "", "account", "show", "bob@example.org")
	s.fails(ExitFailed, "no such domain", "", "domain", "set", "example.net", "quota=1")
	s.fails(ExitFailed, "no such domain", "", "domain", "show", "example.net")
	check(shown("account", "alice@example.org"), map[string]settingLine{"pop3.delete": {"trash", "domain"}}, 1<<10, 0)
}

func TestSettingThatIsNotUnderstoodIsNotShown(t *testing.T) {
	s := shell{t: t, dir: t.TempDir(), site: Site{Settings: pop3.DefaultConfig()}}
	s.ok("", "domain", "add", "example.org")
	store, err := storage.Open(s.dir, storage.Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	err = store.SetDomainSettings(context.Background(), "example.org", storage.Settings{"pop3.delete": "frame", "pop3.newer": "1"})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	if out := s.ok("", "domain", "show", "example.org"); !strings.Contains(out, "expunge    (config)") || strings.Contains(out, "newer") {
		t.Errorf("%q", out)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "0": 0, "7": 7, "7B": 7, "1k": 1 << 10, "5MB": 5 << 20, "10gb": 10 << 30, "2T": 2 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}
