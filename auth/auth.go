package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"posthorn/storage"
)

// What a login can fail with, apart from the context's error. The texts are fit
// for clients.
var (
	// ErrCredentials: unknown user, wrong password, an authorization identity
	// that is not the user's own, or a channel binding that does not hold.
	ErrCredentials = errors.New("authentication failed")
	// ErrMalformed: the message is not what the mechanism asks for.
	ErrMalformed = errors.New("malformed authentication message")
	// ErrMechanism: unknown, or not offered on this connection.
	ErrMechanism = errors.New("authentication mechanism not available")
	// ErrPlaintext: the connection must be encrypted first.
	ErrPlaintext = errors.New("authentication needs TLS")
	// ErrTemporary: a fault of ours, worth a retry.
	ErrTemporary = errors.New("temporary authentication failure")
)

// MaxResponse bounds a decoded message from the client, in octets: what the
// 12288 octets of base64 of RFC 4954 4 hold.
const MaxResponse = 12288 / 4 * 3

// Client is the connection that wants to log in.
type Client struct {
	Service     string // the listener's name, for logs: "imap", "submissions"
	Addr        netip.Addr
	Trusted     bool                 // in a trusted network: never throttled
	TLS         *tls.ConnectionState // after the handshake; nil: in clear
	PlaintextOK bool                 // a loopback listener whose setting allows passwords in clear
}

// Identity is who logged in.
type Identity struct {
	Account    storage.AccountID
	Address    string // the account's, in normal form
	Credential string // which one was used: "" is the account's password
}

// Result names how an attempt ended, for counters.
type Result string

// The results that OnResult reports.
const (
	Accepted  Result = "accepted"
	Rejected  Result = "rejected"
	Malformed Result = "malformed"
	Refused   Result = "refused" // mechanism not available, or no TLS
	Failed    Result = "failed"  // a fault of ours
)

// Options are New's settings.
type Options struct {
	// Normalize gives a login name the form that accounts' addresses have in the
	// store; an error means that no account can have that name.
	Normalize func(login string) (string, error)
	Logger    *slog.Logger     // nil: slog.Default()
	Now       func() time.Time // nil: time.Now
	// OnResult, if set, is told of each attempt's end; it must not block.
	OnResult func(c Client, mechanism string, r Result)
}

// Authenticator verifies logins for all front ends. Safe for concurrent use.
type Authenticator struct{}

// New makes the one Authenticator of a store.
func New(store *storage.Store, o Options) *Authenticator { panic("auth") }

// Mechanisms lists the SASL mechanisms for this client, the best first; none
// where only TLS is missing.
func (a *Authenticator) Mechanisms(c Client) []string { panic("auth") }

// Login verifies a name and password as IMAP's LOGIN and POP3's USER and PASS
// bring them. ErrCredentials, ErrPlaintext, ErrTemporary, or ctx's error. It
// may take seconds when the password is wrong; cancel ctx when the client goes.
func (a *Authenticator) Login(ctx context.Context, c Client, user, password string) (Identity, error) {
	panic("auth")
}

// Start begins a SASL exchange; the mechanism's name may have any case. ctx is
// kept for the exchange's life. ErrMechanism, ErrPlaintext.
func (a *Authenticator) Start(ctx context.Context, c Client, mechanism string) (*Exchange, error) {
	panic("auth")
}

// SetPassword sets the account's credential of that name: "" is its password,
// others are app passwords, added where new. ErrPassword; storage.ErrNotFound;
// storage.ErrTooMany beyond MaxCredentials.
func (a *Authenticator) SetPassword(ctx context.Context, id storage.AccountID, name, password string) error {
	panic("auth")
}

// Exchange is one SASL exchange: a go-sasl Server for one goroutine.
type Exchange struct{}

// Next takes the client's decoded message; nil at first if the client sent no
// initial response, empty if it sent an empty one. done comes with a nil error
// and no challenge: then Identity is set. After an error the exchange is over.
// ErrCredentials, ErrMalformed, ErrTemporary, or ctx's error.
func (x *Exchange) Next(response []byte) (challenge []byte, done bool, err error) { panic("auth") }

// Identity is who logged in, once Next said done.
func (x *Exchange) Identity() Identity { panic("auth") }
