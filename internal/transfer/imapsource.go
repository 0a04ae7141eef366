package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
)

const (
	dialPatience = 30 * time.Second
	readPatience = 5 * time.Minute // for the next octet
)

// IMAPSource is an account on another server.
type IMAPSource struct {
	Host     string
	Port     string
	User     string
	Password string
	TLS      bool // from the first octet; otherwise by STARTTLS
	// Insecure takes any certificate, and does without TLS where the server has
	// none.
	Insecure bool
	// Mailboxes are the ones to import, by their names there; none: all.
	Mailboxes []string
}

// ParseIMAPURL reads imaps://user@host[:port], or imap:// for STARTTLS. The user
// may have an @ in the name. A password is refused: others may see a command line.
func ParseIMAPURL(text string) (IMAPSource, error) {
	u, err := url.Parse(text)
	if err != nil {
		return IMAPSource{}, fmt.Errorf("%q is no address of an IMAP account: write imaps://user@host", text)
	}
	s := IMAPSource{Host: u.Hostname(), Port: u.Port(), TLS: u.Scheme == "imaps"}
	_, password := u.User.Password()
	switch {
	case u.Scheme != "imap" && u.Scheme != "imaps" || s.Host == "" || u.User.Username() == "" || len(u.Path) > 1 || u.RawQuery != "":
		return s, fmt.Errorf("%q is no address of an IMAP account: write imaps://user@host, or imap://user@host for STARTTLS", u.Redacted())
	case password:
		return s, errors.New("leave the password out of the address: it is asked for, or read with --password-stdin")
	}
	s.User = u.User.Username()
	if s.Port == "" {
		s.Port = map[bool]string{false: "143", true: "993"}[s.TLS]
	}
	return s, nil
}

func (s *IMAPSource) address() string { return net.JoinHostPort(s.Host, s.Port) }

// patientConn waits for each octet as long as it may take, rather than for each
// response as long as the client thinks: a message may be large and the line slow.
type patientConn struct{ net.Conn }

func (c patientConn) Read(p []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(readPatience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c patientConn) SetReadDeadline(time.Time) error { return nil }

// session is a connection with its client.
type session struct {
	*imapclient.Client
	conn net.Conn
}

// hangUp ends the session from any goroutine. The client's own Close waits for
// its reader, which waits for whoever reads a message.
func (s *session) hangUp() { s.conn.Close() }

// connect logs in.
func (s *IMAPSource) connect(ctx context.Context) (*session, error) {
	client, err := s.greet(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.address(), err)
	}
	defer context.AfterFunc(ctx, client.hangUp)()
	if client.Caps().Has(goimap.AuthCap(sasl.Plain)) {
		err = client.Authenticate(sasl.NewPlainClient("", s.User, s.Password))
	} else {
		err = client.Login(s.User, s.Password).Wait()
	}
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("%s: login as %s: %w", s.address(), s.User, err)
	}
	return client, nil
}

// greet connects, under TLS unless the server has none and s.Insecure.
func (s *IMAPSource) greet(ctx context.Context) (*session, error) {
	options := &imapclient.Options{TLSConfig: &tls.Config{ServerName: s.Host, InsecureSkipVerify: s.Insecure}}
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	if !s.TLS {
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		client, err := imapclient.NewStartTLS(conn, options)
		stop()
		if err == nil {
			return &session{client, conn}, nil
		}
		conn.Close()
		if _, refused := errors.AsType[*goimap.Error](err); !refused || !s.Insecure {
			return nil, fmt.Errorf("STARTTLS: %w", hint(err))
		}
		if conn, err = s.dial(ctx); err != nil {
			return nil, err
		}
	} else {
		secure := tls.Client(conn, options.TLSConfig)
		shake, done := context.WithTimeout(ctx, dialPatience)
		defer done()
		if err := secure.HandshakeContext(shake); err != nil {
			conn.Close()
			return nil, fmt.Errorf("TLS: %w", hint(err))
		}
		conn = secure
	}
	client := &session{imapclient.New(conn, nil), conn}
	defer context.AfterFunc(ctx, client.hangUp)()
	if err := client.WaitGreeting(); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

func (s *IMAPSource) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: dialPatience}
	conn, err := d.DialContext(ctx, "tcp", s.address())
	if err != nil {
		return nil, err
	}
	return patientConn{conn}, nil
}

// hint says what to do about a certificate.
func hint(err error) error {
	if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
		return fmt.Errorf("%w: use a name that the certificate has, or --insecure if you trust the line", err)
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		return fmt.Errorf("%w: imaps:// is for a port that begins with TLS, such as 993; write imap:// for STARTTLS", err)
	}
	return err
}
