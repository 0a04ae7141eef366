package auth

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/secure/precis"

	"posthorn/storage"
)

// ErrPassword: a password that cannot be one: empty, longer than MaxPassword, or
// with characters that no two clients send alike (control characters, broken
// UTF-8). The text wrapped around it says which.
var ErrPassword = errors.New("unfit password")

const (
	// MaxPassword bounds a password, in octets of UTF-8.
	MaxPassword = 1024
	// MaxCredentials bounds the credentials of one account: each costs a SCRAM
	// exchange a few microseconds.
	MaxCredentials = 32

	saltSize = 16

	// iterations is the cost of new secrets: four times the least that RFC 7677 4
	// allows and near the 15,000 that it names as a rule. It took 3.0 ms of one
	// core of a small server in 2026, so that two cores verify 650 first logins a
	// second, and the cache spares the rest. A SCRAM client does the same work on
	// a telephone, where more would be felt. Unknown users show this number too:
	// accounts made before a change of it would stand out by theirs.
	iterations = 16384
)

// keys are what SCRAM keeps of a password (RFC 5802 3).
type keys struct {
	stored []byte
	server []byte
}

// deriveKeys hashes a prepared password.
func deriveKeys(password string, salt []byte, iterations int) (keys, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return keys{}, fmt.Errorf("derive keys: %w", err)
	}
	stored := sha256.Sum256(keyedHash(salted, "Client Key"))
	return keys{stored: stored[:], server: keyedHash(salted, "Server Key")}, nil
}

func keyedHash(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// prepare gives a password the one form that is hashed, however it came: SASLprep
// (RFC 4013), as RFC 5802 and RFC 4616 ask. What SASLprep cannot hold, such as
// emoji and scripts newer than Unicode 3.2, takes the form of its successor
// OpaqueString (RFC 8265 4.2) instead of being refused.
func prepare(password string) (string, error) {
	switch {
	case password == "":
		return "", fmt.Errorf("%w: it is empty", ErrPassword)
	case len(password) > MaxPassword:
		return "", fmt.Errorf("%w: it is longer than %d octets", ErrPassword, MaxPassword)
	case isPrintableASCII(password):
		return password, nil
	case !utf8.ValidString(password):
		return "", fmt.Errorf("%w: it is not UTF-8", ErrPassword)
	}
	if s, err := stringprep.SASLprep.Prepare(password); err == nil && s != "" {
		return s, nil
	}
	// The profile's own error could quote the password.
	s, err := precis.OpaqueString.String(password)
	if err != nil {
		return "", fmt.Errorf("%w: it has control or unassigned characters", ErrPassword)
	}
	return s, nil
}

func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// NewSecrets makes an account's secrets with this password as its only
// credential. ErrPassword.
func NewSecrets(password string) (storage.Secrets, error) {
	prepared, err := prepare(password)
	if err != nil {
		return storage.Secrets{}, err
	}
	s := storage.Secrets{Salt: make([]byte, saltSize), Iterations: iterations}
	rand.Read(s.Salt) // never fails
	c, err := newCredential("", prepared, s)
	if err != nil {
		return storage.Secrets{}, err
	}
	s.Credentials = []storage.Credential{c}
	return s, nil
}

// newCredential leaves the time of making to the store's clock.
func newCredential(name, prepared string, s storage.Secrets) (storage.Credential, error) {
	k, err := deriveKeys(prepared, s.Salt, s.Iterations)
	if err != nil {
		return storage.Credential{}, err
	}
	return storage.Credential{Name: name, StoredKey: k.stored, ServerKey: k.server}, nil
}

// SetPassword sets the account's credential of that name: "" is its password,
// others are app passwords, added where new. ErrPassword; storage.ErrNotFound;
// storage.ErrTooMany beyond MaxCredentials.
func (a *Authenticator) SetPassword(ctx context.Context, id storage.AccountID, name, password string) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	old, err := a.store.Secrets(ctx, id)
	if err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	secrets, err := withPassword(old, name, password)
	if err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	if err := a.store.SetSecrets(ctx, id, secrets); err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	return nil
}

// withPassword is old with one credential set. While there are others they keep
// their salt, and so must this one: the passwords behind them are not known here.
func withPassword(old storage.Secrets, name, password string) (storage.Secrets, error) {
	others := make([]storage.Credential, 0, len(old.Credentials)+1)
	for _, c := range old.Credentials {
		if c.Name != name {
			others = append(others, c)
		}
	}
	switch {
	case len(others) == 0:
		s, err := NewSecrets(password)
		if err != nil {
			return storage.Secrets{}, err
		}
		s.Credentials[0].Name = name
		return s, nil
	case len(others) >= MaxCredentials:
		return storage.Secrets{}, fmt.Errorf("%w: an account has at most %d passwords", storage.ErrTooMany, MaxCredentials)
	}
	prepared, err := prepare(password)
	if err != nil {
		return storage.Secrets{}, err
	}
	c, err := newCredential(name, prepared, old)
	if err != nil {
		return storage.Secrets{}, err
	}
	old.Credentials = append(others, c)
	return old, nil
}
