package admin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"posthorn/storage"
)

// Settings are what accounts and domains may have in another way than the
// configuration file says.
type Settings interface {
	// Settings are the names, sorted, and the file's values.
	Settings() (names []string, defaults map[string]string)
	// CheckSetting says what is wrong with a value of one of the names.
	CheckSetting(name, value string) error
}

// Settings that the store itself understands.
const (
	quotaBytes    = "quota"
	quotaMessages = "quota_messages"
)

// change is what `set` asks for, checked. A quota below 0 stays as it is.
type change struct {
	bytes, messages int64
	settings        storage.Settings
}

// changes reads the KEY=VALUE arguments. All are checked before any counts.
func (e *env) changes(args []string) (change, error) {
	c := change{bytes: -1, messages: -1, settings: storage.Settings{}}
	var known []string
	if e.site.Settings != nil {
		known, _ = e.site.Settings.Settings()
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return c, usageError{fmt.Sprintf("%q: write KEY=VALUE, or KEY= to take a setting away", arg)}
		}
		var err error
		switch {
		case name == quotaBytes:
			c.bytes, err = parseSize(value)
		case name == quotaMessages:
			c.messages, err = parseCount(value)
		case !slices.Contains(known, name):
			err = fmt.Errorf("there is no such setting: there are %s", strings.Join(append([]string{quotaBytes, quotaMessages}, known...), ", "))
		default:
			c.settings[name] = value
			if value != "" {
				err = e.site.Settings.CheckSetting(name, value)
			}
		}
		if err != nil {
			return c, usageError{fmt.Sprintf("%s: %v", name, err)}
		}
	}
	return c, nil
}

func accountSet(ctx context.Context, e *env) error {
	account, err := e.account(ctx, e.args[0])
	if err != nil {
		return err
	}
	c, err := e.changes(e.args[1:])
	if err != nil {
		return err
	}
	if err := e.store.SetAccountSettings(ctx, account.ID, c.settings); err != nil {
		return err
	}
	return e.store.SetQuota(ctx, account.ID, c.bytes, c.messages)
}

func domainSet(ctx context.Context, e *env) error {
	name, err := parseDomain(e.args[0])
	if err != nil {
		return err
	}
	c, err := e.changes(e.args[1:])
	if err != nil {
		return err
	}
	err = e.store.SetDomainSettings(ctx, name, c.settings)
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%s: no such domain: `posthorn domain list` names them", name)
	}
	if err != nil {
		return err
	}
	return e.store.SetDomainQuota(ctx, name, c.bytes, c.messages)
}

// settingLine is a setting of `show --json`.
type settingLine struct {
	Value string `json:"value"`
	From  string `json:"from"` // "account", "domain" or "config"
}

// accountDetails are `account show --json`.
type accountDetails struct {
	Address       string                 `json:"address"`
	Created       time.Time              `json:"created"`
	Messages      int64                  `json:"messages"`
	QuotaMessages int64                  `json:"quota_messages"`
	Bytes         int64                  `json:"bytes"`
	QuotaBytes    int64                  `json:"quota_bytes"`
	Settings      map[string]settingLine `json:"settings"`
}

func accountShow(ctx context.Context, e *env) error {
	account, err := e.account(ctx, e.args[0])
	if err != nil {
		return err
	}
	own, domain, err := e.store.AccountSettings(ctx, account.ID)
	if err != nil {
		return err
	}
	names, effective := e.effective(own, domain)
	if e.json {
		return e.printJSON(accountDetails{account.Address, account.Created.UTC(), account.UsedMessages, account.QuotaMessages,
			account.UsedBytes, account.QuotaBytes, effective})
	}
	_, err = fmt.Fprintf(e.out, "%-22s %s\n%-22s %s\n%-22s %d of %s\n%-22s %d of %s\n", "address", account.Address,
		"created", account.Created.UTC().Format(time.RFC3339), "messages", account.UsedMessages, bound(account.QuotaMessages),
		"bytes", account.UsedBytes, bound(account.QuotaBytes))
	return errors.Join(err, e.printSettings(names, effective))
}

// domainDetails are `domain show --json`.
type domainDetails struct {
	Domain        string                 `json:"domain"`
	Created       time.Time              `json:"created"`
	QuotaMessages int64                  `json:"quota_messages"`
	QuotaBytes    int64                  `json:"quota_bytes"`
	Settings      map[string]settingLine `json:"settings"`
}

func domainShow(ctx context.Context, e *env) error {
	name, err := parseDomain(e.args[0])
	if err != nil {
		return err
	}
	all, err := e.store.Domains(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(d storage.Domain) bool { return d.Name == name })
	if at < 0 {
		return fmt.Errorf("%s: no such domain: `posthorn domain list` names them", name)
	}
	d := &all[at]
	settings, err := e.store.DomainSettings(ctx, name)
	if err != nil {
		return err
	}
	names, effective := e.effective(nil, settings)
	if e.json {
		return e.printJSON(domainDetails{name, d.Created.UTC(), d.QuotaMessages, d.QuotaBytes, effective})
	}
	_, err = fmt.Fprintf(e.out, "%-22s %s\n%-22s %s\n%-22s %s\n%-22s %s\n", "domain", name, "created", d.Created.UTC().Format(time.RFC3339),
		"messages per account", bound(d.QuotaMessages), "bytes per account", bound(d.QuotaBytes))
	return errors.Join(err, e.printSettings(names, effective))
}

// effective is what counts of all settings, and who says so: the account before
// its domain, the domain before the file.
func (e *env) effective(own, domain storage.Settings) (names []string, all map[string]settingLine) {
	all = map[string]settingLine{}
	if e.site.Settings == nil {
		return nil, all
	}
	names, defaults := e.site.Settings.Settings()
	for _, name := range names {
		line := settingLine{defaults[name], "config"}
		for _, of := range []struct {
			settings storage.Settings
			from     string
		}{{domain, "domain"}, {own, "account"}} {
			value, set := of.settings[name]
			// One that is not understood does not count.
			if set && e.site.Settings.CheckSetting(name, value) == nil {
				line = settingLine{value, of.from}
			}
		}
		all[name] = line
	}
	return names, all
}

func (e *env) printSettings(names []string, all map[string]settingLine) error {
	for _, name := range names {
		if _, err := fmt.Fprintf(e.out, "%-22s %-10s (%s)\n", name, all[name].Value, all[name].From); err != nil {
			return err
		}
	}
	return nil
}

// bound is a quota for people.
func bound(n int64) string {
	if n == 0 {
		return "unlimited"
	}
	return strconv.FormatInt(n, 10)
}

// parseSize reads octets such as 10GB, 500MB or 1048576; "" and 0 are no bound.
func parseSize(text string) (int64, error) {
	number, shift := strings.TrimSuffix(strings.ToUpper(text), "B"), 0
	if last := len(number) - 1; last >= 0 {
		if unit := strings.IndexByte("KMGT", number[last]); unit >= 0 {
			number, shift = number[:last], 10*(unit+1)
		}
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is no size: write one such as 10GB or 500MB, or 0 for no bound", text)
	}
	return n << shift, nil
}

func parseCount(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number of messages: write one such as 100000, or 0 for no bound", text)
	}
	return n, nil
}
