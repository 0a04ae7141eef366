package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const example = "../../config.toml.example"

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheExampleIsValid(t *testing.T) {
	c, err := Load(example)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Accounts) != 2 || len(c.Domains) != 1 || !c.Auth.AllowPlaintextOnLoopback {
		t.Errorf("accounts %v, domains %v, auth %v", c.Accounts, c.Domains, c.Auth)
	}
	var services []string
	for _, l := range c.Endpoints() {
		services = append(services, l.Service)
		if !strings.HasPrefix(l.Address, "127.0.0.1:") {
			t.Errorf("the example listens on %s", l.Address)
		}
	}
	if got, want := strings.Join(services, " "), "smtp submission submissions imap imaps pop3 pop3s"; got != want {
		t.Errorf("services %q, want %q", got, want)
	}
}

// The commented keys are documentation: they must exist and be the defaults.
func TestTheExamplesCommentedKeysExist(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	commented := regexp.MustCompile(`(?m)^# (\[\[?[a-z]+\]\]?|[a-z_]+ = )`)
	live := commented.ReplaceAllString(string(text), "$1")
	live = strings.Replace(live, "self_signed = true", "self_signed = false", 1)
	if _, err := Load(write(t, live)); err != nil {
		t.Error(err)
	}
	if n := len(commented.FindAllString(string(text), -1)); n < 30 {
		t.Errorf("only %d commented keys found", n)
	}
}

func TestDefaultsAreValidAlone(t *testing.T) {
	c, err := Load(write(t, `hostname = "mail.example.org"`))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Endpoints()) != 0 || c.Storage.Retention != 14*24*time.Hour || len(c.TrustedNetworks) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestMistakesAreNamedWithPlaceAndRemedy(t *testing.T) {
	const ok = "hostname = \"mail.example.org\"\n"
	tests := []struct{ name, text, want string }{
		{"misspelt key", ok + "[imap]\nlisten_tsl = [\"127.0.0.1:1\"]\n", `unknown key "imap.listen_tsl": FILE line 3:`},
		{"misspelt key in a later section", ok + "[pop3]\nlisten = []\n[tls]\nlisten = []\n", `unknown key "tls.listen": FILE line 5:`},
		{"unknown section", ok + "[impa]\n", `unknown key "impa": FILE line 2:`},
		{"syntax", ok + "[imap]\nlisten = = 1\n", "broken configuration: FILE line 3:"},
		{"wrong type", ok + "[smtp]\nlisten = 25\n[imap]\nlisten = []", "bad value: FILE line 3: smtp.listen"},
		{"no hostname", "", "hostname is missing"},
		{"bad hostname", `hostname = "mail example"`, `hostname "mail example"`},
		{"bad listen", ok + "[smtp]\nlisten = [\"25\"]\n", `[smtp] listen address "25": write it as`},
		{"listen on a name", ok + "[smtp]\nlisten = [\"mail.example.org:25\"]\n", "give an IP address"},
		{"bad port", ok + "[smtp]\nlisten = [\":99999\"]\n", "the port is a number"},
		{"socket for another service", ok + "[smtp]\nlisten = [\"/run/s\"]\n", "only [lmtp] listens on unix sockets"},
		{"socket without a path", ok + "[lmtp]\nlisten = [\"unix:s\"]\n", "whole path"},
		{"bad mode", ok + "[lmtp]\nsocket_mode = \"rw\"\n", "write it in octal"},
		{"bad network", ok + "trusted_networks = [\"127.0.0.1/99\"]\n", "broken configuration: FILE line"},
		{"bad duration", ok + "[imap]\nkeepalive = \"2\"\n", "broken configuration: FILE"},
		{"half a certificate", ok + "[tls]\ncert_file = \"x\"\n", "key_file"},
		{"bad account", ok + "[[account]]\naddress = \"alice\"\npassword = \"x\"\n", `[[account]] address "alice"`},
		{"account twice", ok + "[[account]]\naddress = \"a@example.org\"\npassword = \"x\"\n[[account]]\naddress = \"A@example.org\"\npassword = \"y\"\n", "is there twice"},
		{"no password", ok + "[[account]]\naddress = \"alice@example.org\"\n", "password is empty"},
		{"bad domain", ok + "[[domain]]\nname = \"-\"\n", "[[domain]] name"},
		{"route without host", ok + "[[route]]\ndomain = \"*\"\n", "[[route]] number 1: host is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.text)
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
}

func TestAbsentFileSaysWhereToStart(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if err == nil || !strings.Contains(err.Error(), "config.toml.example") {
		t.Error(err)
	}
}

func TestBindBindsAllOrNone(t *testing.T) {
	c := Default()
	c.IMAP.Listen = []string{"127.0.0.1:0"}
	first, err := c.Bind(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer first[0].Close()
	taken := first[0].Addr().String()
	c.SMTP.Listen = []string{"127.0.0.1:0"}
	c.POP3.Listen = []string{taken}
	if _, err = c.Bind(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "[pop3] "+taken) {
		t.Errorf("bound twice: %v", err)
	}
}
