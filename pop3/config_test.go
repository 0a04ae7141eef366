package pop3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"posthorn/auth"
	"posthorn/storage"
)

func TestConfigNamesWhatCannotWork(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for key, spoil := range map[string]func(*Config){
		"max_connections ":            func(c *Config) { c.MaxConnections = 0 },
		"max_connections_per_address": func(c *Config) { c.MaxConnectionsPerAddress = 0 },
		"max_errors":                  func(c *Config) { c.MaxErrors = 0 },
		"login_timeout":               func(c *Config) { c.LoginTimeout = 0 },
		"idle_timeout":                func(c *Config) { c.IdleTimeout = 9 * time.Minute },
		"write_timeout":               func(c *Config) { c.WriteTimeout = 0 },
		"lock_wait":                   func(c *Config) { c.LockWait = time.Hour },
		"delete":                      func(c *Config) { c.Delete = "shred" },
		"newest":                      func(c *Config) { c.Newest = -1 },
		"login_delay":                 func(c *Config) { c.LoginDelay = 1500 * time.Millisecond },
	} {
		c := DefaultConfig()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestErrorsAreTranslated(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
		ours bool
	}{
		{refuse(codeInUse, "Busy"), "-ERR [IN-USE] Busy", false},
		{bad("No"), "-ERR No", false},
		{errLongLine, "-ERR The line is too long", false},
		{auth.ErrCredentials, "-ERR [AUTH] Authentication failed", false},
		{auth.ErrPlaintext, "-ERR Use STLS or the TLS port first", false},
		{auth.ErrMechanism, "-ERR That authentication mechanism is not available", false},
		{auth.ErrMalformed, "-ERR Malformed authentication message", false},
		{auth.ErrTemporary, "-ERR [SYS/TEMP] Authentication is not possible now, try again later", false},
		{storage.ErrNotFound, "-ERR The message is no longer there", false},
		{storage.ErrDiskFull, "-ERR [SYS/TEMP] The server's disk is full, try again later", true},
		{storage.ErrReadOnly, "-ERR [SYS/TEMP] The server cannot write now, try again later", true},
		{storage.ErrClosed, "-ERR [SYS/TEMP] The server is shutting down", false},
		{context.Canceled, "-ERR [SYS/TEMP] The server is shutting down", false},
		{errors.New("a bug"), "-ERR [SYS/TEMP] Internal error, it was logged; try again later", true},
	} {
		r, ours := translate(fmt.Errorf("operation: %w", tt.err))
		if got := string(r.append(nil)); got != tt.want+"\r\n" || ours != tt.ours {
			t.Errorf("%v: %q, ours %v", tt.err, got, ours)
		}
	}
}

func TestLoginDelayForgetsOldLogins(t *testing.T) {
	d := newDrops()
	start := time.Now()
	for n := range 5000 {
		now := start.Add(time.Duration(n) * time.Second)
		id := storage.AccountID(n)
		d.loggedIn(id, time.Minute, now)
		if !d.tooSoon(id, time.Minute, now.Add(59*time.Second)) || d.tooSoon(id, time.Minute, now.Add(time.Minute)) {
			t.Fatalf("login %d: the delay is not a minute", n)
		}
	}
	if len(d.last) > 1200 {
		t.Errorf("%d logins are remembered", len(d.last))
	}
}
