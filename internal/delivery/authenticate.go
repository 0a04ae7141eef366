package delivery

import (
	"context"
	"time"

	"posthorn/internal/mailauth"
)

// Authentication is Authenticate as the configuration wants it: no check at all
// where it is switched off.
func Authentication(c mailauth.Config, dns mailauth.Resolver, hostname string) []Check {
	if !c.Verify {
		return nil
	}
	return []Check{Authenticate(mailauth.NewVerifier(dns, c, time.Now), hostname)}
}

// Authenticate is the Check by SPF, DKIM and DMARC of what other servers bring.
// Our own users have logged in, and what an MTA in front of us or a trusted
// network brings was judged there, with the addresses that it came from.
func Authenticate(v *mailauth.Verifier, hostname string) Check {
	return func(ctx context.Context, m *Incoming) (Verdict, error) {
		if m.Client.Role != Exchanger || m.Client.Trusted || m.Client.Account != 0 {
			return Verdict{}, nil
		}
		r, err := v.Verify(ctx, mailauth.Message{
			Client: m.Client.Addr, Helo: m.Client.Helo, Sender: m.Sender.Path, Header: m.Header, Body: m.Body,
		})
		if err != nil {
			return Verdict{}, err
		}
		verdict := Verdict{Trace: r.AppendField(nil, hostname), ClientName: r.IPRev.Name, Notes: r.Summary()}
		switch advice := v.Advise(r); advice.Disposition {
		case mailauth.Junk:
			verdict.Action, verdict.Reason = Quarantine, advice.Reason
		case mailauth.Defer:
			verdict.Action, verdict.Refusal = Reject, refuse(451, 4, 4, 3, advice.Reason)
		case mailauth.Refuse:
			verdict.Action, verdict.Refusal = Reject, refuse(550, 5, 7, 1, advice.Reason)
		}
		return verdict, nil
	}
}
