package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"posthorn/storage"
)

// maxName bounds a login name, in octets: an address has at most 254.
const maxName = 512

// attempt is what is known of a login while it is judged.
type attempt struct {
	client    Client
	mechanism string
	user      string // as the client wrote it
}

// subject is whose password an attempt must know. An unknown name has one too,
// with keys that nothing matches, so that both take the same way.
type subject struct {
	known   bool
	account storage.AccountID
	address string // the normal form; for unknown names perhaps only the client's text
	secrets storage.Secrets
}

// verify judges a name and password in clear.
func (a *Authenticator) verify(ctx context.Context, t attempt, authzid, password string) (Identity, error) {
	if len(t.user) > maxName || len(password) > MaxPassword {
		return Identity{}, a.reject(ctx, t, "name or password too long")
	}
	if authzid != "" && !a.sameName(authzid, t.user) {
		return Identity{}, a.reject(ctx, t, "another authorization identity")
	}
	prepared, unfit := prepare(password)
	name, possible := a.name(t.user)
	if unfit == nil && possible {
		if id, ok := a.logins.find(name, prepared, a.store.SecretsEpoch()); ok {
			a.onResult(t.client, t.mechanism, Accepted)
			return id, nil
		}
	}
	if err := a.await(ctx, t.client); err != nil {
		return Identity{}, err
	}
	// The epoch is read before the secrets: a change between the two makes the
	// cache refuse what this attempt finds.
	epoch := a.store.SecretsEpoch()
	who, err := a.lookup(ctx, t.user)
	if err != nil {
		return Identity{}, a.fault(ctx, t, err)
	}
	if unfit != nil {
		prepared = password // costs the same, and is refused below
	}
	k, err := a.hash(ctx, prepared, who.secrets)
	if err != nil {
		return Identity{}, a.fault(ctx, t, err)
	}
	credential, match := k.find(who.secrets.Credentials)
	switch {
	case !who.known:
		return Identity{}, a.reject(ctx, t, "unknown user")
	case !match || unfit != nil:
		return Identity{}, a.reject(ctx, t, "wrong password")
	}
	id := Identity{Account: who.account, Address: who.address, Credential: credential}
	a.logins.add(name, prepared, epoch, a.store.SecretsEpoch(), id)
	a.onResult(t.client, t.mechanism, Accepted)
	return id, nil
}

// lookup finds whose password a login must know. The reads are the same for
// names that no account has.
func (a *Authenticator) lookup(ctx context.Context, user string) (subject, error) {
	secret, err := a.serverSecret(ctx)
	if err != nil {
		return subject{}, err
	}
	name, possible := a.name(user)
	account, err := a.store.AccountByAddress(ctx, name)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return subject{}, fmt.Errorf("account: %w", err)
	}
	known := err == nil && possible
	secrets, err := a.store.Secrets(ctx, account.ID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return subject{}, fmt.Errorf("secrets: %w", err)
	}
	madeUp := madeUpSecrets(secret, name)
	if !known || err != nil || len(secrets.Credentials) == 0 {
		return subject{address: name, secrets: madeUp}, nil
	}
	return subject{known: true, account: account.ID, address: account.Address, secrets: secrets}, nil
}

// madeUpSecrets are those of a name that no account has: the same each time it
// is asked for, so that the salt a SCRAM client is shown does not tell.
func madeUpSecrets(secret []byte, name string) storage.Secrets {
	draw := func(purpose string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(purpose))
		mac.Write([]byte{0})
		mac.Write([]byte(name))
		return mac.Sum(nil)
	}
	return storage.Secrets{
		Salt:       draw("salt")[:saltSize],
		Iterations: iterations,
		Credentials: []storage.Credential{{
			StoredKey: draw("stored key"),
			ServerKey: draw("server key"),
		}},
	}
}

// serverSecret reads the key of made-up salts once. Where a first one cannot be
// kept, since the disk is full, one for this process has to do: mail that filled
// the disk must not keep its owners from reading it.
func (a *Authenticator) serverSecret(ctx context.Context) ([]byte, error) {
	a.secretLock.Lock()
	defer a.secretLock.Unlock()
	if a.secret == nil {
		secret, err := a.store.ServerSecret(ctx, "made-up salts")
		switch {
		case errors.Is(err, storage.ErrDiskFull), errors.Is(err, storage.ErrReadOnly):
			secret = make([]byte, 32)
			_, _ = rand.Read(secret) // never fails
		case err != nil:
			return nil, fmt.Errorf("server secret: %w", err)
		}
		a.secret = secret
	}
	return a.secret, nil
}

// hash derives the keys of a password when its turn comes.
func (a *Authenticator) hash(ctx context.Context, password string, s storage.Secrets) (keys, error) {
	select {
	case a.hashing <- struct{}{}:
	case <-ctx.Done():
		return keys{}, ctx.Err()
	}
	defer func() { <-a.hashing }()
	return a.derive(password, s.Salt, s.Iterations)
}

// find tells which credential has these keys. It looks at all of them, so that
// the time does not tell which.
func (k keys) find(credentials []storage.Credential) (name string, ok bool) {
	for _, c := range credentials {
		if subtle.ConstantTimeCompare(k.stored, c.StoredKey) == 1 {
			name, ok = c.Name, true
		}
	}
	return name, ok
}

// name is a login name's normal form. For text that no account can be named by it
// is that text, cut to a bound, and possible is false.
func (a *Authenticator) name(user string) (name string, possible bool) {
	if len(user) > maxName {
		return user[:maxName], false
	}
	name, err := a.normalize(user)
	if err != nil {
		return user, false
	}
	return name, true
}

// Account finds the account that a login name means, without a password.
// storage.ErrNotFound.
func (a *Authenticator) Account(ctx context.Context, user string) (storage.Account, error) {
	name, possible := a.name(user)
	if !possible {
		return storage.Account{}, fmt.Errorf("account %q: %w", name, storage.ErrNotFound)
	}
	return a.store.AccountByAddress(ctx, name)
}

// sameName reports whether an authorization identity is the user's own: nobody
// may act as somebody else here.
func (a *Authenticator) sameName(authzid, user string) bool {
	left, possible := a.name(authzid)
	if !possible {
		return false
	}
	right, possible := a.name(user)
	return possible && left == right
}

// await holds an attempt back while a wrong answer to the same address is held:
// without it a guesser would not wait for its answers but take silence for no.
func (a *Authenticator) await(ctx context.Context, c Client) error {
	if c.Trusted {
		return ctx.Err()
	}
	if d := a.addresses.held(network(c.Addr), a.now()); d > 0 {
		a.sleep(ctx, d)
	}
	return ctx.Err()
}

// reject logs and counts a wrong answer, and holds it back as long as the
// throttles say. It holds no lock or hashing token meanwhile.
func (a *Authenticator) reject(ctx context.Context, t attempt, reason string) error {
	a.onResult(t.client, t.mechanism, Rejected)
	var delay time.Duration
	if !t.client.Trusted {
		now := a.now()
		name, _ := a.name(t.user) // whether or not it exists
		delay = a.addresses.failed(network(t.client.Addr), now)
		delay = max(delay, a.accounts.failed(name, now))
	}
	a.logFailure(ctx, slog.LevelInfo, t, slog.String("reason", reason), slog.Duration("held", delay))
	if delay > 0 {
		a.sleep(ctx, delay)
	}
	return ErrCredentials
}

// malformed logs and counts a message that the mechanism cannot read.
func (a *Authenticator) malformed(ctx context.Context, t attempt, reason string) error {
	a.onResult(t.client, t.mechanism, Malformed)
	a.logFailure(ctx, slog.LevelInfo, t, slog.String("reason", reason))
	return ErrMalformed
}

// fault logs and counts a failure of ours; a client that left is none.
func (a *Authenticator) fault(ctx context.Context, t attempt, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.onResult(t.client, t.mechanism, Failed)
	a.logFailure(ctx, slog.LevelError, t, slog.Any("error", cause))
	return ErrTemporary
}

func (a *Authenticator) logFailure(ctx context.Context, level slog.Level, t attempt, more ...slog.Attr) {
	attrs := append([]slog.Attr{
		slog.String("service", t.client.Service),
		slog.String("client", t.client.Addr.String()),
		slog.String("user", printable(t.user)),
		slog.String("mechanism", t.mechanism),
	}, more...)
	a.log.LogAttrs(ctx, level, "login failed", attrs...)
}

// printable makes a client's text fit for one line of a log.
func printable(s string) string {
	const most = 128
	cut := len(s) > most
	if cut {
		s = s[:most]
	}
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if cut {
		s += "..."
	}
	return s
}
