// Package config reads the TOML file: strictly, so that a misspelt key stops the
// start and is named, and with every value checked before anything is opened.
//
// Each section's keys belong to the package that they configure; this package
// owns what concerns the whole process and how mistakes are told, in one line:
// WHAT: WHERE: HOW TO MEND.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"posthorn/imap"
	"posthorn/internal/address"
	"posthorn/internal/admin"
	"posthorn/internal/certs"
	"posthorn/internal/delivery"
	"posthorn/internal/mailauth"
	"posthorn/internal/outbound"
	"posthorn/internal/queue"
	"posthorn/internal/resolver"
	"posthorn/internal/tlsreport"
	"posthorn/pop3"
	"posthorn/smtp"
)

// Config is the whole file.
type Config struct {
	Hostname        string         `toml:"hostname"`
	DataDir         string         `toml:"data_dir"` // relative to the working directory
	TrustedNetworks []netip.Prefix `toml:"trusted_networks"`

	SMTP       smtp.Config     `toml:"smtp"`
	Submission smtp.Config     `toml:"submission"`
	LMTP       smtp.Config     `toml:"lmtp"`
	IMAP       imap.Config     `toml:"imap"`
	POP3       pop3.Config     `toml:"pop3"`
	Delivery   delivery.Config `toml:"delivery"`
	MailAuth   mailauth.Config `toml:"mailauth"`
	TLS        certs.Config    `toml:"tls"`
	Auth       Auth            `toml:"auth"`
	Limits     Limits          `toml:"limits"`
	Storage    Storage         `toml:"storage"`
	Shutdown   Shutdown        `toml:"shutdown"`

	Metrics admin.MetricsConfig `toml:"metrics"`

	Domains  []Domain       `toml:"domain"`
	Accounts []admin.Listed `toml:"account"`

	DNS resolver.Config `toml:"dns"`

	Outbound outbound.Config  `toml:"outbound"`
	Queue    queue.Config     `toml:"queue"`
	Routes   []outbound.Route `toml:"route"`

	TLSRPT tlsreport.Config `toml:"tlsrpt"`
}

// Auth is the [auth] section.
type Auth struct {
	// AllowPlaintextOnLoopback lets clients of loopback listeners log in without TLS.
	AllowPlaintextOnLoopback bool `toml:"allow_plaintext_on_loopback"`
	// ChannelBinding offers SCRAM-SHA-256-PLUS: true.
	ChannelBinding bool `toml:"channel_binding"`
}

// Limits is the [limits] section: bounds that several front ends share.
type Limits struct {
	ConnectionsPerAccount int `toml:"connections_per_account"` // 100
}

// Storage is the [storage] section.
type Storage struct {
	// Retention is how long expunged mail can be had back: 336h (14 days).
	Retention time.Duration `toml:"retention"`
	// TraceRetention is how long `trace` remembers: 720h (30 days).
	TraceRetention time.Duration `toml:"trace_retention"`
	// Compress: stored bodies are compressed when nothing else is to do, once
	// they are CompressAfter (5m) old.
	Compress      bool          `toml:"compress"` // true
	CompressAfter time.Duration `toml:"compress_after"`
}

// CompressionAge is the age at which mail is compressed; below 0: never.
func (s Storage) CompressionAge() time.Duration {
	if !s.Compress {
		return -1
	}
	return max(s.CompressAfter, 1)
}

// Shutdown is the [shutdown] section.
type Shutdown struct {
	// Patience is how long SIGTERM waits for commands and messages under way: 10s.
	Patience time.Duration `toml:"patience"`
}

// Domain is a [[domain]]: created if it is absent.
type Domain struct {
	Name string `toml:"name"`
}

// Default is what holds where the file is silent.
func Default() Config {
	hour := time.Hour
	return Config{
		DataDir:    "./data",
		SMTP:       smtp.DefaultConfig(),
		Submission: smtp.DefaultConfig(),
		LMTP:       smtp.DefaultConfig(),
		IMAP:       imap.DefaultConfig(),
		POP3:       pop3.DefaultConfig(),
		Delivery:   delivery.DefaultConfig(),
		Auth:       Auth{ChannelBinding: true},
		Limits:     Limits{ConnectionsPerAccount: 100},
		Storage:    Storage{Retention: 14 * 24 * hour, TraceRetention: 30 * 24 * hour, Compress: true, CompressAfter: 5 * time.Minute},
		Shutdown:   Shutdown{Patience: 10 * time.Second},
		MailAuth:   mailauth.DefaultConfig(),
		DNS:        resolver.Config{Timeout: 5 * time.Second},
		Outbound:   outbound.DefaultConfig(),
		Queue:      queue.DefaultConfig(),
		TLSRPT:     tlsreport.DefaultConfig(),
	}
}

// Load reads and checks the file. Its error is one line for the operator.
func Load(path string) (*Config, error) {
	c := Default()
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if err := misshapen(path, string(text), &c); err != nil {
		return nil, err
	}
	md, err := toml.Decode(string(text), &c)
	if err != nil {
		return nil, malformed(path, err)
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("unknown key %q: %s: remove it or mend its spelling; config.toml.example shows all keys",
			unknown[0].String(), where(path, string(text), unknown[0]))
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("bad value: %s: %w", path, err)
	}
	return &c, nil
}

func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no configuration file: %s: start from config.toml.example, or name yours with -config FILE", path)
	}
	cause := err
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		cause = e.Err
	}
	return fmt.Errorf("unreadable configuration: %s: %w: make it readable for the user that runs posthorn", path, cause)
}

func malformed(path string, err error) error {
	what, mend := err.Error(), ""
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		path, what = fmt.Sprintf("%s line %d", path, e.Position.Line), e.Message
	}
	what = strings.TrimPrefix(what, "toml: ")
	switch {
	case strings.HasPrefix(what, "netip."):
		mend = ": write a network as 192.0.2.0/24, one address as 192.0.2.7/32"
	case strings.HasPrefix(what, "invalid duration"):
		mend = `: write it as "90s", "5m" or "336h"`
	}
	return fmt.Errorf("broken configuration: %s: %s%s", path, what, mend)
}

// where finds the line of a key, as the decoder does not tell it; of several
// tables of one name it takes the first that has the key.
func where(path, text string, key toml.Key) string {
	table, last := key[:len(key)-1].String(), key[len(key)-1]
	current := ""
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimLeft(line, " \t")
		found := false
		if strings.HasPrefix(line, "[") {
			current, _, _ = strings.Cut(strings.TrimLeft(line, "["), "]")
			found = current == key.String()
		} else if rest, ok := strings.CutPrefix(line, last); ok && current == table {
			found = strings.HasPrefix(strings.TrimLeft(rest, " \t"), "=")
		}
		if found {
			return path + " line " + strconv.Itoa(n+1)
		}
	}
	return path
}

// check finds what cannot work, before anything is opened.
func (c *Config) check() error {
	if c.Hostname == "" {
		return errors.New(`hostname is missing: add hostname = "mail.example.org", the name that DNS gives this server`)
	}
	name, err := address.ParseDomain(c.Hostname)
	if err != nil {
		return fmt.Errorf("hostname %q: %w", c.Hostname, err)
	}
	c.Hostname = name
	if c.DataDir == "" {
		return errors.New(`data_dir is empty: name the folder that keeps the mail`)
	}
	taken := map[string]Endpoint{}
	for _, l := range c.Endpoints() {
		if err := checkListen(l.Section, l.Address); err != nil {
			return fmt.Errorf("[%s] %w", l.Section, err)
		}
		if other, ok := taken[l.Address]; ok && !strings.HasSuffix(l.Address, ":0") {
			return fmt.Errorf("[%s] listen address %q: [%s] has it too (for %s): give each a port of its own", l.Section, l.Address, other.Section, other.Service)
		}
		taken[l.Address] = l
	}
	for _, section := range []struct {
		name string
		err  error
	}{
		{"smtp", c.SMTP.Validate()}, {"submission", c.Submission.Validate()}, {"lmtp", c.LMTP.Validate()},
		{"imap", c.IMAP.Validate()}, {"pop3", c.POP3.Validate()},
		{"delivery", c.Delivery.Validate()}, {"mailauth", c.MailAuth.Validate()}, {"tls", c.TLS.Validate()},
		{"outbound", c.Outbound.Validate()}, {"queue", c.Queue.Validate()},
	} {
		if section.err != nil {
			return fmt.Errorf("[%s] %w", section.name, section.err)
		}
	}
	if c.Limits.ConnectionsPerAccount < 1 {
		return fmt.Errorf("[limits] connections_per_account is %d: at least 1", c.Limits.ConnectionsPerAccount)
	}
	if c.Storage.Retention < 0 || c.Storage.TraceRetention <= 0 || c.Storage.CompressAfter < 0 || c.Shutdown.Patience <= 0 {
		return errors.New("[storage] retention, trace_retention and compress_after and [shutdown] patience are durations such as \"336h\" and \"10s\"")
	}
	if err := c.checkAccounts(); err != nil {
		return err
	}
	return c.checkSending()
}

func (c *Config) checkAccounts() error {
	for _, d := range c.Domains {
		if _, err := address.ParseDomain(d.Name); err != nil {
			return fmt.Errorf("[[domain]] name %q: %w", d.Name, err)
		}
	}
	listed := make(map[string]bool, len(c.Accounts))
	for _, a := range c.Accounts {
		parsed, err := address.Parse(a.Address)
		if err != nil {
			return fmt.Errorf("[[account]] address %q: %w: write it as name@example.org", a.Address, err)
		}
		if listed[parsed.Key()] {
			return fmt.Errorf("[[account]] %s is there twice: remove one of them, only one password can count", a.Address)
		}
		listed[parsed.Key()] = true
		if a.Password == "" {
			return fmt.Errorf("[[account]] %s: password is empty: give one, or make the account with `posthorn account add`", a.Address)
		}
	}
	return nil
}

func (c *Config) checkSending() error {
	for _, s := range c.DNS.Servers {
		_, err := netip.ParseAddrPort(s)
		if _, plain := netip.ParseAddr(s); err != nil && plain != nil {
			return fmt.Errorf("[dns] servers has %q: write it as 127.0.0.1:53", s)
		}
	}
	if c.DNS.Timeout <= 0 {
		return errors.New(`[dns] timeout must be more than 0, such as "5s"`)
	}
	for i, r := range c.Routes {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("[[route]] number %d: %w", i+1, err)
		}
	}
	return nil
}

// Endpoint is an address to listen on.
type Endpoint struct {
	Service string // as the log names it
	Section string // of the file
	Address string // host:port, or a unix socket
	TLS     bool   // implicit
}

// Endpoints are all addresses of the file, in the order they are bound.
func (c *Config) Endpoints() []Endpoint {
	var all []Endpoint
	add := func(service, section string, addrs []string, implicit bool) {
		for _, a := range addrs {
			all = append(all, Endpoint{service, section, a, implicit})
		}
	}
	add("smtp", "smtp", c.SMTP.Listen, false)
	add("submission", "submission", c.Submission.Listen, false)
	add("submissions", "submission", c.Submission.ListenTLS, true)
	add("lmtp", "lmtp", c.LMTP.Listen, false)
	add("imap", "imap", c.IMAP.Listen, false)
	add("imaps", "imap", c.IMAP.ListenTLS, true)
	add("pop3", "pop3", c.POP3.Listen, false)
	add("pop3s", "pop3", c.POP3.ListenTLS, true)
	add("metrics", "metrics", c.Metrics.Listen, false)
	return all
}

func checkListen(section, addr string) error {
	if path, ok := socketPath(addr); ok {
		return checkSocket(section, addr, path)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: write it as 127.0.0.1:2525, [::1]:2525 or :25", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("listen address %q: the port is a number up to 65535", addr)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			return fmt.Errorf("listen address %q: give an IP address of this machine", addr)
		}
	}
	return nil
}

// Trusted says whether a client's address is in trusted_networks.
func (c *Config) Trusted(a netip.Addr) bool {
	for _, p := range c.TrustedNetworks {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// DomainNames are the [[domain]] names.
func (c *Config) DomainNames() []string {
	names := make([]string, len(c.Domains))
	for i, d := range c.Domains {
		names[i] = d.Name
	}
	return names
}

// DataPath is the data folder as an absolute path, for messages.
func (c *Config) DataPath() string {
	if abs, err := filepath.Abs(c.DataDir); err == nil {
		return abs
	}
	return c.DataDir
}
