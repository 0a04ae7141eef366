package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"posthorn/auth"
	"posthorn/internal/address"
	"posthorn/internal/delivery"
	"posthorn/storage"
)

func TestEveryErrorHasItsReply(t *testing.T) {
	_, syntax := address.Parse("a@b@c\r\n\xff")
	refusal := &delivery.Refusal{Code: 450, Status: [3]int{4, 7, 1}, Text: "later"}
	secret := &delivery.Refusal{Code: 450, Status: [3]int{4, 7, 1}, Text: "later", Cause: errors.New("secret")}
	for _, test := range []struct {
		err  error
		want string
		ours bool
	}{
		{replyTooBig(), "552 5.3.4 ", false},
		{refusal, "450 4.7.1 later", false},
		{secret, "450 4.7.1 later", true},
		{syntax, "501 5.1.3 ", false},
		{auth.ErrCredentials, "535 5.7.8 ", false},
		{auth.ErrMalformed, "501 5.5.2 ", false},
		{auth.ErrMechanism, "504 5.5.4 ", false},
		{auth.ErrPlaintext, "538 5.7.11 ", false},
		{auth.ErrTemporary, "454 4.7.0 ", true},
		{storage.ErrDiskFull, "452 4.3.1 ", true},
		{storage.ErrReadOnly, "452 4.3.1 ", true},
		{storage.ErrOverQuota, "452 4.2.2 ", true},
		{storage.ErrClosed, "421 4.3.2 ", true},
		{context.Canceled, "421 4.3.2 ", true},
		{storage.ErrNotFound, "451 4.3.0 ", true},
		{errors.New("secret"), "451 4.3.0 ", true},
	} {
		for _, err := range []error{test.err, fmt.Errorf("secret: %w", test.err)} {
			r := translate(err)
			line := string(appendReply(nil, r.Code, r.EnhancedCode, r.Message, false))
			text, ok := strings.CutSuffix(line, "\r\n")
			if !ok || !strings.HasPrefix(text, test.want) || oneLine(text) != text || test.ours && strings.Contains(text, "secret") {
				t.Errorf("%v: %q, want %q", err, line, test.want)
			}
			if r.EnhancedCode[0] != r.Code/100 {
				t.Errorf("%v: %q contradicts itself", err, line)
			}
			if isOurs(err) != test.ours {
				t.Errorf("%v: ours is %v", err, !test.ours)
			}
		}
	}
}
