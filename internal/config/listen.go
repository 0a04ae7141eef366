package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"syscall"

	"posthorn/internal/address"
	"posthorn/internal/proxyproto"
)

// Bound is a listener that is bound to its port.
type Bound struct {
	Endpoint
	net.Listener
}

// Bind binds every address of the file, or none. Its error is one line for the
// operator. What proxies get wrong later goes to log.
func (c *Config) Bind(log *slog.Logger) ([]Bound, error) {
	var all []Bound
	for _, l := range c.Endpoints() {
		ln, err := c.listen(l, log)
		if err != nil {
			for _, b := range all {
				b.Close()
			}
			return nil, bindError(l, err)
		}
		all = append(all, Bound{l, ln})
	}
	return all, nil
}

func (c *Config) listen(l Endpoint, log *slog.Logger) (net.Listener, error) {
	if path, ok := socketPath(l.Address); ok {
		return listenSocket(path, fs.FileMode(c.LMTP.SocketMode))
	}
	ln, err := net.Listen("tcp", l.Address)
	if proxies := c.proxies(l.Section); err == nil && len(proxies) > 0 {
		ln = proxyproto.Listen(ln, proxies, log.With("service", l.Service))
	}
	return ln, err
}

// proxies are the networks that name the clients of a section's listeners.
func (c *Config) proxies(section string) []netip.Prefix {
	switch section {
	case "smtp":
		return c.SMTP.ProxyProtocolFrom
	case "submission":
		return c.Submission.ProxyProtocolFrom
	case "lmtp":
		return c.LMTP.ProxyProtocolFrom
	case "imap":
		return c.IMAP.ProxyProtocolFrom
	case "pop3":
		return c.POP3.ProxyProtocolFrom
	}
	return nil
}

func bindError(l Endpoint, err error) error {
	_, socket := socketPath(l.Address)
	cause, mend := err, "check the address"
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		cause = e
		switch {
		case socket && e == syscall.EADDRINUSE:
			mend = "another program answers there, or the file is no socket; give another path"
		case socket:
			mend = "make the folder, and let the user that runs posthorn write to it"
		case e == syscall.EADDRINUSE:
			mend = "stop the program that listens there, or give another port"
		case e == syscall.EACCES:
			mend = "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; give the binary that, or a higher port"
		case e == syscall.EADDRNOTAVAIL:
			mend = "this machine has no such address: give one that it has"
		}
	}
	return fmt.Errorf("cannot listen (%w): [%s] %s: %s", cause, l.Section, l.Address, mend)
}

// LoginKey is the normal form of a login name, as accounts are keyed.
func LoginKey(login string) (string, error) {
	a, err := address.Parse(login)
	if err != nil {
		return "", err
	}
	return a.Key(), nil
}
