package mailauth

import (
	"context"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"posthorn/internal/address"
)

// Message is what Verify looks at.
type Message struct {
	Client netip.Addr      // who brings it; the zero Addr: nobody to ask the DNS about
	Helo   string          // as the client said it
	Sender address.Address // the reverse-path
	Header []byte          // with the empty line
	Body   func() io.Reader
}

// Results is what all checks found.
type Results struct {
	SPF   SPF
	DKIM  []Signature // none: the message has no signature
	DMARC DMARC
	IPRev IPRev

	authors authors
}

// Verifier checks messages. Safe for concurrent use.
type Verifier struct {
	dns    Resolver
	config Config
	now    func() time.Time
	sample func() int // 0 to 99, for pct=
}

// NewVerifier checks by the DNS and judges by the configuration.
func NewVerifier(dns Resolver, config Config, now func() time.Time) *Verifier {
	return &Verifier{dns: dns, config: config, now: now, sample: func() int { return rand.IntN(100) }}
}

// Verify makes all checks, at once, within the configured time: what the DNS has
// not told by then is a temporary error. m.Body gives the whole message, header
// included; the only errors are its.
func (v *Verifier) Verify(ctx context.Context, m Message) (*Results, error) {
	ctx, cancel := context.WithTimeout(ctx, v.config.Timeout)
	defer cancel()
	r := &Results{authors: findAuthors(m.Header)}
	var checks sync.WaitGroup
	if client := m.Client.Unmap().WithZone(""); client.IsValid() {
		checks.Go(func() { r.SPF = checkSPF(ctx, v.dns, client, m.Helo, m.Sender) })
		checks.Go(func() { r.IPRev = checkIPRev(ctx, v.dns, client, m.Helo) })
	}
	policies := make([]discovered, len(r.authors.domains))
	for i, domain := range r.authors.domains {
		checks.Go(func() {
			p := &policies[i]
			p.record, p.policy, p.err = discover(ctx, v.dns, domain)
		})
	}
	var err error
	r.DKIM, err = v.checkDKIM(ctx, m, r.authors.domains)
	checks.Wait()
	if err != nil {
		return nil, err
	}
	r.DMARC = r.authors.checkDMARC(policies, r.SPF, r.DKIM, v.sample)
	return r, nil
}

func (v *Verifier) checkDKIM(ctx context.Context, m Message, authors []string) ([]Signature, error) {
	whole := m.Body()
	if _, err := io.CopyN(io.Discard, whole, int64(len(m.Header))); err != nil {
		return nil, err
	}
	prefer := func(domain string) bool {
		return slices.ContainsFunc(authors, func(a string) bool { return aligned(domain, a, false) })
	}
	return verifySignatures(ctx, v.dns, m.Header, whole, prefer, v.config.MaxSignatures, v.now())
}

// Disposition is what the checks advise.
type Disposition uint8

// The dispositions, by gravity.
const (
	Accept Disposition = iota
	Junk
	Defer  // the DNS could not say what a strict policy wants to know
	Refuse // for good
)

// Advice is a disposition with the words for it.
type Advice struct {
	Disposition Disposition
	Reason      string // ASCII, on one line; "" with Accept
}

// Advise applies the configured policies to what Verify found.
func (v *Verifier) Advise(r *Results) Advice {
	if advice := v.adviseDMARC(r); advice.Disposition != Accept {
		return advice
	}
	if advice := v.adviseSPF(r); advice.Disposition != Accept {
		return advice
	}
	return v.adviseNames(r)
}

// adviseNames is for clients that no name in the DNS leads to. What the DNS could
// not say counts for the client.
func (v *Verifier) adviseNames(r *Results) Advice {
	nameless := r.IPRev.Result == Fail && (r.IPRev.HeloResult == Fail || r.IPRev.HeloResult == None)
	vouched := r.SPF.Result == Pass || slices.ContainsFunc(r.DKIM, func(s Signature) bool { return s.Result == Pass })
	if v.config.ClientNames == PolicyReport || !nameless || vouched || v.forwarded(r) {
		return Advice{}
	}
	why := "No name in the DNS leads to " + r.IPRev.Client.String()
	if v.config.ClientNames == PolicyEnforce {
		return Advice{Refuse, why}
	}
	return Advice{Junk, why}
}

func (v *Verifier) adviseDMARC(r *Results) Advice {
	d := &r.DMARC
	if v.config.DMARC == PolicyReport || v.forwarded(r) {
		return Advice{}
	}
	why := "DMARC of " + d.Domain + " fails: neither SPF nor DKIM shows that the message is theirs"
	if d.Reason != "" {
		why = "DMARC fails: " + d.Reason
	}
	switch {
	case d.Result == TempError && d.Policy > PolicyNone:
		return Advice{Defer, "The DNS gives no answer about " + d.Domain + " just now"}
	case d.Request == PolicyReject && v.config.DMARC == PolicyEnforce:
		return Advice{Refuse, why}
	case d.Request > PolicyNone:
		return Advice{Junk, why}
	}
	return Advice{}
}

// adviseSPF is for domains without a DMARC policy, which says better than SPF
// alone what their mail looks like (RFC 7489 10.1).
func (v *Verifier) adviseSPF(r *Results) Advice {
	if r.SPF.Result != Fail || r.DMARC.Result != None && r.DMARC.Result != "" || v.config.SPF == PolicyReport || v.forwarded(r) {
		return Advice{}
	}
	vouched := slices.ContainsFunc(r.DKIM, func(s Signature) bool {
		return s.Result == Pass && (aligned(s.Domain, r.SPF.Domain, false) ||
			slices.ContainsFunc(r.authors.domains, func(a string) bool { return aligned(s.Domain, a, false) }))
	})
	if vouched {
		return Advice{}
	}
	why := "SPF of " + r.SPF.Domain + " says that " + r.IPRev.Client.String() + " may not send its mail"
	if v.config.SPF == PolicyEnforce {
		return Advice{Refuse, why}
	}
	return Advice{Junk, why}
}

// forwarded says whether a host that the operator trusts to forward vouches for
// the message.
func (v *Verifier) forwarded(r *Results) bool {
	for _, f := range v.config.TrustedForwarders {
		if r.SPF.Result == Pass && within(r.SPF.Domain, f) || r.IPRev.Result == Pass && within(r.IPRev.Name, f) ||
			slices.ContainsFunc(r.DKIM, func(s Signature) bool { return s.Result == Pass && within(s.Domain, f) }) {
			return true
		}
	}
	return false
}
