package auth

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
	"unicode/utf8"

	"posthorn/storage"
)

// Whatever comes, an exchange ends in one of its errors, or in success as the
// user whose password was told.
func fuzzMechanism(f *testing.F, mechanism string) {
	h := newHouse(f)
	// One iteration, no log and no waiting: the parsers are what is tried.
	salt := []byte("0123456789abcdef")
	k, err := deriveKeys(secret, salt, 1)
	if err != nil {
		f.Fatal(err)
	}
	err = h.store.SetSecrets(f.Context(), h.alice, storage.Secrets{Salt: salt, Iterations: 1,
		Credentials: []storage.Credential{{StoredKey: k.stored, ServerKey: k.server}}})
	if err != nil {
		f.Fatal(err)
	}
	h.derive = func(password string, salt []byte, _ int) (keys, error) { return deriveKeys(password, salt, 1) }
	h.Authenticator.log = slog.New(slog.DiscardHandler)
	h.sleep = func(context.Context, time.Duration) {}
	h.onResult = func(Client, string, Result) {}
	f.Fuzz(func(t *testing.T, one, two, three []byte, asked bool) {
		x, err := h.Start(t.Context(), from("192.0.2.1"), mechanism)
		if err != nil {
			t.Fatal(err)
		}
		messages := [][]byte{one, two, three}
		if asked {
			messages = append([][]byte{nil}, messages...)
		}
		for _, m := range messages {
			_, done, err := x.Next(m)
			switch {
			case done && x.Identity().Account != h.alice:
				t.Fatalf("done as %+v", x.Identity())
			case done:
				return
			case err != nil && !errors.Is(err, ErrCredentials) && !errors.Is(err, ErrMalformed):
				t.Fatalf("error %v", err)
			case x.Identity() != (Identity{}):
				t.Fatalf("identity %+v before the end", x.Identity())
			case err != nil:
				return
			}
		}
	})
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("\x00"+alice+"\x00"+secret), []byte(nil), []byte(nil), false)
	f.Add([]byte(alice+"\x00"+alice+"\x00"+secret), []byte("\x00"), []byte{}, true)
	fuzzMechanism(f, "PLAIN")
}

func FuzzLogin(f *testing.F) {
	f.Add([]byte(alice), []byte(secret), []byte(nil), true)
	f.Add([]byte(alice), []byte(secret), []byte(nil), false)
	fuzzMechanism(f, "LOGIN")
}

func FuzzSCRAM(f *testing.F) {
	f.Add([]byte("n,,n=alice@example.org,r=abc"), []byte("c=biws,r=abc,p=AAAA"), []byte{}, false)
	f.Add([]byte("y,a=x,n==2C=3D,r=abc"), []byte("c=biws,r=abc,x=y,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), []byte{}, true)
	f.Add([]byte("p=tls-exporter,,n=a,r=b"), []byte(""), []byte("x"), false)
	fuzzMechanism(f, "SCRAM-SHA-256")
}

func FuzzPrepare(f *testing.F) {
	for _, s := range []string{"pencil", "I\u00adX", "key \U0001f511", "\u0627a1", "\xff", "\u2168", "a\u0301"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		one, err := prepare(s)
		if err != nil {
			if !errors.Is(err, ErrPassword) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if one == "" || !utf8.ValidString(one) {
			t.Fatalf("prepare(%+q) = %+q", s, one)
		}
	})
}
