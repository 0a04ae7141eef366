package outbound

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"posthorn/internal/address"
)

// What Route.TLS may say.
const (
	TLSOpportunistic = "opportunistic" // used where it works
	TLSRequired      = "required"      // STARTTLS, with a certificate that is valid for the server's name
	TLSImplicit      = "implicit"      // the same from the first octet, RFC 8314
	TLSDANE          = "dane"          // STARTTLS, with TLSA records that vouch for the server
	TLSNever         = "never"
)

// Config is the [outbound] section.
type Config struct {
	// Port is where other servers listen.
	Port int `toml:"port"`
	// AllowLoopback lets MX records lead to loopback addresses. Routes always may.
	AllowLoopback bool `toml:"allow_loopback"`
	// DANE honours the TLSA records of RFC 7672, where the DNS servers validate.
	DANE bool `toml:"dane"`
	// MTASTS honours the policies of RFC 8461.
	MTASTS bool `toml:"mta_sts"`
	// How long a connection, a reply, and the reply to a whole message may take.
	ConnectTimeout time.Duration `toml:"connect_timeout"`
	ReplyTimeout   time.Duration `toml:"reply_timeout"`
	FinalTimeout   time.Duration `toml:"final_timeout"`
}

// DefaultConfig is what holds where the file is silent; the timeouts are those of
// RFC 5321 4.5.3.2.
func DefaultConfig() Config {
	return Config{Port: 25, DANE: true, MTASTS: true,
		ConnectTimeout: 30 * time.Second, ReplyTimeout: 5 * time.Minute, FinalTimeout: 10 * time.Minute}
}

// Validate names the first value that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("port is %d: 1 to 65535", c.Port)
	case c.ConnectTimeout <= 0 || c.ReplyTimeout <= 0 || c.FinalTimeout <= 0:
		return errors.New(`connect_timeout, reply_timeout and final_timeout are durations such as "30s", "5m" and "10m"`)
	}
	return nil
}

// Route is a [[route]]: how mail for a domain, or for all that have no route of
// their own ("*"), leaves.
type Route struct {
	Domain string `toml:"domain"`
	// Host is where it is handed over, NAME or ADDRESS, with :PORT if that is not
	// 25 (465 with implicit TLS). Empty: to the domain's own servers, as the DNS
	// names them; then TLS is all that the route says.
	Host     string `toml:"host"`
	TLS      string `toml:"tls"` // "": opportunistic; required where there is a password
	Username string `toml:"username"`
	Password string `toml:"password"`
}

// Validate names the first value that cannot work.
func (r Route) Validate() error {
	if r.Domain != "*" {
		if _, err := address.ParseDomain(r.Domain); err != nil {
			return fmt.Errorf(`domain %q: write domain = "example.net", or "*" for all`, r.Domain)
		}
	}
	switch r.TLS {
	case "", TLSOpportunistic, TLSRequired, TLSDANE, TLSNever, TLSImplicit:
	default:
		return fmt.Errorf("tls is %q: write %q, %q, %q, %q or %q", r.TLS, TLSOpportunistic, TLSRequired, TLSDANE, TLSImplicit, TLSNever)
	}
	switch {
	case r.Host == "" && r.TLS != TLSRequired && r.TLS != TLSDANE:
		return errors.New(`host is missing: write host = "relay.example.org:587"; only tls = "required" and "dane" can stand without it`)
	case r.Host != "" && r.TLS == TLSDANE:
		return errors.New(`tls = "dane" is for servers that the DNS names: leave host out, or write tls = "required"`)
	case (r.Username == "") != (r.Password == ""):
		return errors.New("username and password belong together: give both or none")
	case r.Username != "" && r.Host == "":
		return errors.New("username and password need a host to log in to")
	}
	if r.Host != "" {
		if _, _, err := r.hostPort(); err != nil {
			return fmt.Errorf(`host %q: write it as relay.example.org, relay.example.org:587 or [::1]:2525`, r.Host)
		}
	}
	return nil
}

// mode is the route's TLS mode with its default.
func (r *Route) mode() string {
	switch {
	case r.TLS != "":
		return r.TLS
	case r.Password != "":
		return TLSRequired // a password does not travel in clear by oversight
	}
	return TLSOpportunistic
}

func (r *Route) hostPort() (host string, port int, err error) {
	host, port = r.Host, 25
	if r.TLS == TLSImplicit {
		port = 465
	}
	if h, p, err := net.SplitHostPort(r.Host); err == nil {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return "", 0, fmt.Errorf("bad port %q", p)
		}
		host, port = h, n
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || strings.ContainsAny(host, " /@") {
		return "", 0, errors.New("bad host")
	}
	return host, port, nil
}
