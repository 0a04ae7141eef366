package auth

import (
	"errors"

	"posthorn/storage"
)

// ErrPassword: a password that cannot be one: empty, longer than MaxPassword, or
// with characters that no client could send alike.
var ErrPassword = errors.New("unfit password")

const (
	// MaxPassword bounds a password, in octets of UTF-8.
	MaxPassword = 1024
	// MaxCredentials bounds the credentials of one account.
	MaxCredentials = 32
)

// NewSecrets makes an account's secrets with this password as its only
// credential. ErrPassword.
func NewSecrets(password string) (storage.Secrets, error) { panic("auth") }
