package config

import (
	"log/slog"
	"strings"
	"testing"

	"posthorn/internal/certs"
)

// The decoder would read a duration without a unit as nanoseconds: expunged
// mail would be gone at once, and the queue would never rest.
func TestValuesOfAnotherKindAreNamed(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"duration without unit", "[storage]\nretention = 336\n", `FILE line 3: storage.retention is 336 without a unit: write it as`},
		{"duration in a list", "[queue]\nretry = [\"5m\", 15]\n", `FILE line 3: queue.retry has a value that is 15 without a unit`},
		{"duration as truth", "[smtp]\ncommand_timeout = true\n", "smtp.command_timeout is no duration"},
		{"text for truth", "[auth]\nallow_plaintext_on_loopback = \"yes\"\n", "FILE line 3: auth.allow_plaintext_on_loopback is neither true nor false"},
		{"text for a list", "[smtp]\nlisten = \"127.0.0.1:25\"\n", "FILE line 3: smtp.listen is no list"},
		{"number for text", "data_dir = 5\n", "FILE line 2: data_dir is no text"},
		{"number in a list of texts", "[smtp]\nlisten = [25]\n", "smtp.listen has a value that is no text"},
		{"text for a number", "[smtp]\nmax_errors = \"20\"\n", "smtp.max_errors is no whole number"},
		{"fraction for a number", "[smtp]\nmax_errors = 2.5\n", "smtp.max_errors is no whole number"},
		{"in what a section has of another package", "[pop3]\nlogin_delay = 5\n", "FILE line 3: pop3.login_delay is 5 without a unit"},
		{"value for a section", "smtp = 25\n", "smtp is no section"},
		{"section for a repeated one", "[domain]\nname = \"example.org\"\n", "domain is no repeated section: write it in double brackets"},
		{"in a repeated section", "[[domain]]\nname = 1\n", "domain.name is no text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, "hostname = \"mail.example.org\"\n"+tt.text)
			_, err := Load(path)
			if err == nil {
				t.Fatal("loaded")
			}
			got := strings.ReplaceAll(err.Error(), path, "FILE")
			if !strings.Contains(got, tt.want) || strings.Contains(got, "\n") {
				t.Errorf("error %q, want one line with %q", got, tt.want)
			}
		})
	}
	if _, err := Load(write(t, "hostname = \"mail.example.org\"\n[imap]\nkeepalive = 0\n")); err != nil {
		t.Errorf("zero needs no unit: %v", err)
	}
}

func TestMistakesOfAddressesAndDurationsSayTheForm(t *testing.T) {
	const ok = "hostname = \"mail.example.org\"\n"
	tests := []struct{ name, text, want string }{
		{"address for a network", "trusted_networks = [\"10.0.0.1\"]\n", "one address as 192.0.2.7/32"},
		{"duration in words", "[storage]\nretention = \"3 days\"\n", `write it as "90s"`},
		{"hostname is an address", "[[domain]]\nname = \"127.0.0.1\"\n", "an IP address is not a domain name"},
		{"one port twice", "[smtp]\nlisten = [\":25\", \":25\"]\n", `[smtp] listen address ":25": [smtp] has it too`},
		{"one port for two", "[smtp]\nlisten = [\":25\"]\n[imap]\nlisten = [\":25\"]\n", `[imap] listen address ":25": [smtp] has it too (for smtp)`},
	}
	for _, tt := range tests {
		if _, err := Load(write(t, ok+tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	any := ok + "[smtp]\nlisten = [\"127.0.0.1:0\"]\n[imap]\nlisten = [\"127.0.0.1:0\"]\n"
	if _, err := Load(write(t, any)); err != nil {
		t.Errorf("port 0 may stand twice: %v", err)
	}
}

func TestAServerThatListensNowhereSaysSo(t *testing.T) {
	c := Default()
	for _, listen := range []string{"", "127.0.0.1:0"} {
		if listen != "" {
			c.IMAP.Listen = []string{listen}
		}
		var log strings.Builder
		c.SayHow(certs.Info{}, nil, slog.New(slog.NewTextHandler(&log, nil)))
		if warned := strings.Contains(log.String(), "level=WARN"); warned != (listen == "") {
			t.Errorf("listen %q: log %q", listen, log.String())
		}
	}
}
