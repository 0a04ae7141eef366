package delivery

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"
	"time"

	"posthorn/internal/address"
)

// Mail that an alias sends on leaves from here, and the SPF record of its sender's
// domain does not name us. The Sender Rewriting Scheme gives it a reverse-path in
// the alias's domain, from which a bounce can be sent on to the sender:
//
//	user@far.example          SRS0=HASH=TT=far.example=user@our.example
//	SRS0=H=T=d=u@fwd.example  SRS1=HASH=fwd.example==H=T=d=u@our.example
//
// HASH keeps others from making such addresses, which would be a relay; TT is the
// day, so that an address that leaked ends with its time. Neither minds the case of
// letters, since others on the way may change it.

const (
	srsHashLetters = 6 // 30 bits: nobody guesses one within a connection's errors
	srsDays        = 21
	srsCalendar    = 1 << 10 // days that two letters tell apart
)

// base32 has no letter beyond a local part's and does not mind case.
var srsLetters = base32.StdEncoding.WithPadding(base32.NoPadding)

// srs makes and reads the addresses with the store's secret.
type srs struct {
	secret []byte
	now    time.Time
}

func (a *Agent) srs(ctx context.Context) (srs, error) {
	secret, err := a.store.ServerSecret(ctx, "srs")
	return srs{secret, a.now()}, err
}

func (s srs) hash(text string) string {
	h := hmac.New(sha256.New, s.secret)
	h.Write([]byte(strings.ToLower(text)))
	return srsLetters.EncodeToString(h.Sum(nil))[:srsHashLetters]
}

func (s srs) authentic(hash, text string) bool {
	return subtle.ConstantTimeCompare([]byte(strings.ToUpper(hash)), []byte(s.hash(text))) == 1
}

func (s srs) today() int { return int(s.now.Unix() / (24 * 60 * 60) % srsCalendar) }

// isSRS tells such an address by its start; generation is '0' or '1'.
func isSRS(local string) (generation byte, rest string, ok bool) {
	if len(local) < 5 || !strings.EqualFold(local[:3], "SRS") || local[3] != '0' && local[3] != '1' ||
		strings.IndexByte("=+-", local[4]) < 0 {
		return 0, "", false
	}
	return local[3], local[4:], true
}

func isSRSAddress(a address.Address) bool {
	_, _, ok := isSRS(a.Local)
	return ok
}

// forward is the sender's address as one of the domain's; false where it cannot
// be, as it would be longer than a local part may be (RFC 5321 4.5.3.1.1).
func (s srs) forward(sender address.Address, domain string) (address.Address, bool) {
	local := ""
	switch generation, rest, ok := isSRS(sender.Local); {
	case sender.IsLiteral():
		return sender, false
	case ok && generation == '0':
		text := sender.ASCIIDomain() + "=" + rest
		local = "SRS1=" + s.hash(text) + "=" + text
	case ok:
		// Only the first forwarder and the last one stay in it.
		_, text, found := strings.Cut(rest[1:], "=")
		if !found {
			return sender, false
		}
		local = "SRS1=" + s.hash(text) + "=" + text
	default:
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
		day := s.today()
		text := string([]byte{letters[day>>5], letters[day&31]}) + "=" + sender.ASCIIDomain() + "=" + sender.Local
		local = "SRS0=" + s.hash(text) + "=" + text
	}
	rewritten := address.Address{Local: local, Domain: domain}
	if _, err := address.Parse(rewritten.ASCII()); err != nil {
		return sender, false
	}
	return rewritten, true
}

// reverse is the address that a bounce to such an address is sent on to; false
// for one that was not made here, or too long ago.
func (s srs) reverse(local string) (address.Address, bool) {
	generation, rest, ok := isSRS(local)
	if !ok {
		return address.Address{}, false
	}
	hash, text, ok := strings.Cut(rest[1:], "=")
	if !ok || !s.authentic(hash, text) {
		return address.Address{}, false
	}
	first, second, ok := strings.Cut(text, "=")
	if !ok {
		return address.Address{}, false
	}
	to := address.Address{Local: "SRS0" + second, Domain: first}
	if generation == '1' && !isSRSAddress(to) {
		return address.Address{}, false
	}
	if generation == '0' {
		day, err := srsLetters.DecodeString(strings.ToUpper(first) + "AAAAAA")
		if len(first) != 2 || err != nil {
			return address.Address{}, false
		}
		made := int(day[0])<<2 | int(day[1])>>6
		if (s.today()-made+srsCalendar)%srsCalendar > srsDays {
			return address.Address{}, false
		}
		domain, user, found := strings.Cut(second, "=")
		if !found {
			return address.Address{}, false
		}
		to = address.Address{Local: user, Domain: domain}
	}
	to, err := address.Parse(to.String())
	return to, err == nil && !to.IsLiteral()
}

// reversePath is the sender of the message's hops: with SRS where an alias sends
// it on for somebody whose domain is not ours.
func (t *Transaction) reversePath(ctx context.Context) (string, error) {
	sender := t.sender.Path
	if t.forwarder == "" || sender.IsZero() || !t.agent.config.SRS {
		return sender.ASCII(), nil
	}
	local, err := t.agent.isLocal(ctx, sender)
	if err != nil || local {
		return sender.ASCII(), err
	}
	s, err := t.agent.srs(ctx)
	if err != nil {
		return "", err
	}
	rewritten, ok := s.forward(sender, t.forwarder)
	if ok {
		t.notes = append(t.notes, "srs="+rewritten.ASCII())
	} else {
		t.notes = append(t.notes, "srs=none (the sender's address is too long for it)")
	}
	return rewritten.ASCII(), nil
}

// bounce follows an address that SRS made back to the sender it stands for.
func (e *expansion) bounce(ctx context.Context, to address.Address) error {
	s, err := e.agent.srs(ctx)
	if err != nil {
		return err
	}
	sender, ok := s.reverse(to.Local)
	if !ok {
		return refuse(550, 5, 1, 1, "This forwarder's address is not valid, or not any more")
	}
	local, err := e.agent.isLocal(ctx, sender)
	if err != nil {
		return err
	}
	if local {
		return e.local(ctx, sender, 0)
	}
	e.remote(sender)
	return nil
}
