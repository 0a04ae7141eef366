package auth

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	"posthorn/internal/metrics"
	"posthorn/storage"
)

// What a login can fail with, apart from the context's error. The texts are fit
// for clients, and the cause is in the log already.
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
	Rejected  Result = "rejected" // ErrCredentials
	Malformed Result = "malformed"
	Refused   Result = "refused" // no such mechanism here, or no TLS
	Failed    Result = "failed"  // ErrTemporary
)

// Options are New's settings.
type Options struct {
	// Normalize gives a login name the form that accounts' addresses have in the
	// store; an error means that no account can have that name.
	Normalize func(login string) (string, error)
	Logger    *slog.Logger     // nil: slog.Default()
	Now       func() time.Time // nil: time.Now
	// NoChannelBinding leaves SCRAM-SHA-256-PLUS out, for clients that choose it
	// and then cannot bind, such as mutt with libgsasl when it sends.
	NoChannelBinding bool
	Metrics          *metrics.Registry // nil: counted and not shown
	// OnResult, if set, is told of each attempt's end; it must not block.
	OnResult func(c Client, mechanism string, r Result)
}

// Authenticator verifies logins for all front ends. Safe for concurrent use.
type Authenticator struct {
	store     *storage.Store
	normalize func(string) (string, error)
	log       *slog.Logger
	now       func() time.Time
	onResult  func(Client, string, Result)
	unbound   bool // no channel binding

	// Tests watch the work and the waiting through these, and play the RFC's
	// example with its nonce.
	derive func(password string, salt []byte, iterations int) (keys, error)
	sleep  func(context.Context, time.Duration)
	nonce  func() string

	hashing   chan struct{} // one token for each hash under way
	logins    *loginCache
	addresses *throttle[netip.Prefix]
	accounts  *throttle[string]

	secretLock sync.Mutex
	secret     []byte // salts of unknown users; nil until first asked for

	changing sync.Mutex // SetPassword reads, then writes
}

// New makes the one Authenticator of a store.
func New(store *storage.Store, o Options) *Authenticator {
	a := &Authenticator{
		store:     store,
		normalize: o.Normalize,
		log:       o.Logger,
		now:       o.Now,
		unbound:   o.NoChannelBinding,
		derive:    deriveKeys,
		sleep:     sleep,
		nonce:     rand.Text,
		// As many as can run: a flood of logins waits here, not in the scheduler
		// before everybody else's work.
		hashing:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		addresses: newThrottle[netip.Prefix](),
		accounts:  newThrottle[string](),
	}
	if a.normalize == nil {
		a.normalize = func(login string) (string, error) { return login, nil }
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.onResult = counted(o.Metrics, o.OnResult)
	a.logins = newLoginCache(a.now)
	return a
}

// counted counts each attempt's end by service, and then tells next.
func counted(r *metrics.Registry, next func(Client, string, Result)) func(Client, string, Result) {
	services := map[string]*metrics.Counters{}
	for _, service := range []string{"submission", "submissions", "imap", "imaps", "pop3", "pop3s", metrics.Other} {
		services[service] = r.Counters("posthorn_auth_attempts_total", "Logins, by how they ended.", "result",
			[]string{string(Accepted), string(Rejected), string(Malformed), string(Refused), string(Failed)}, metrics.Label{Name: "service", Value: service})
	}
	return func(c Client, mechanism string, result Result) {
		results := services[c.Service]
		if results == nil {
			results = services[metrics.Other]
		}
		results.With(string(result)).Inc()
		if next != nil {
			next(c, mechanism, result)
		}
	}
}

// Mechanisms lists the SASL mechanisms for this client, the best first; none
// where only TLS is missing.
func (a *Authenticator) Mechanisms(c Client) []string {
	if !c.mayAuthenticate() {
		return nil
	}
	list := []string{scramPlus, scramPlain, plain, login}
	if _, bound := a.binding(c); !bound {
		list = list[1:]
	}
	return list
}

func (c Client) mayAuthenticate() bool { return c.TLS != nil || c.PlaintextOK }

// Login verifies a name and password as IMAP's LOGIN and POP3's USER and PASS
// bring them. ErrCredentials, ErrPlaintext, ErrTemporary, or ctx's error. It
// may take seconds when the password is wrong; cancel ctx when the client goes.
func (a *Authenticator) Login(ctx context.Context, c Client, user, password string) (Identity, error) {
	const mechanism = "password"
	if !c.mayAuthenticate() {
		a.onResult(c, mechanism, Refused)
		return Identity{}, ErrPlaintext
	}
	return a.verify(ctx, attempt{client: c, mechanism: mechanism, user: user}, "", password)
}

// Start begins a SASL exchange; the mechanism's name may have any case. ctx is
// kept for the exchange's life. ErrMechanism, ErrPlaintext.
func (a *Authenticator) Start(ctx context.Context, c Client, mechanism string) (*Exchange, error) {
	x := &Exchange{ctx: ctx, auth: a, attempt: attempt{client: c, mechanism: strings.ToUpper(mechanism)}}
	binding, bound := a.binding(c)
	switch x.attempt.mechanism {
	case plain:
		x.mechanism = &plainServer{}
	case login:
		x.mechanism = &loginServer{}
	case scramPlain:
		x.mechanism = &scramServer{binding: binding}
	case scramPlus:
		x.mechanism = &scramServer{binding: binding, plus: true}
	}
	switch {
	case x.mechanism == nil:
		a.onResult(c, "unknown", Refused)
		return nil, ErrMechanism
	case !c.mayAuthenticate():
		a.onResult(c, x.attempt.mechanism, Refused)
		return nil, ErrPlaintext
	case x.attempt.mechanism == scramPlus && !bound:
		a.onResult(c, scramPlus, Refused)
		return nil, ErrMechanism
	}
	return x, nil
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
