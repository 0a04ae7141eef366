package mailauth

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"posthorn/internal/address"
	"posthorn/internal/message"
	"posthorn/internal/resolver"
)

// DMARC is the check of the author's domain, RFC 7489.
type DMARC struct {
	Result Result // none: the domain publishes no policy; "" without an author's domain
	Domain string // of the From field; of several, the one with the gravest outcome
	Reason string // in words; "" where the result says it all

	// Policy is what the domain asks for mail that fails, and Request what it
	// asks for this message, by its pct= sampling: Fail's alone differ from
	// PolicyNone.
	Policy  DomainPolicy
	Request DomainPolicy
}

// DomainPolicy is a domain's wish, by gravity.
type DomainPolicy uint8

// The policies of RFC 7489 6.3.
const (
	PolicyNone DomainPolicy = iota
	PolicyQuarantine
	PolicyReject
)

func (p DomainPolicy) String() string {
	return [...]string{"none", "quarantine", "reject"}[min(p, PolicyReject)]
}

func parsePolicy(s string) (DomainPolicy, bool) {
	switch strings.ToLower(s) {
	case "none":
		return PolicyNone, true
	case "quarantine":
		return PolicyQuarantine, true
	case "reject":
		return PolicyReject, true
	}
	return 0, false
}

// dmarcRecord is a domain's policy.
type dmarcRecord struct {
	policy, subPolicy       DomainPolicy
	strictDKIM, strictSPF   bool
	percent                 int
	hasReports, policyKnown bool
}

// parseDMARC reads a record, or says that the text is none. Values that make no
// sense count as absent, RFC 7489 6.3, so that a slip in a record does not undo
// the protection that its owner wanted.
func parseDMARC(text string) (dmarcRecord, bool) {
	r := dmarcRecord{percent: 100}
	sub, subOK := "", true
	for i, spec := range strings.SplitN(text, ";", maxTags) {
		name, value, _ := strings.Cut(spec, "=")
		name, value = strings.ToLower(trimSpace(name)), trimSpace(value)
		if i == 0 {
			if name != "v" || value != "DMARC1" {
				return r, false
			}
			continue
		}
		switch name {
		case "p":
			r.policy, r.policyKnown = parsePolicy(value)
		case "sp":
			sub = value
		case "adkim":
			r.strictDKIM = strings.EqualFold(value, "s")
		case "aspf":
			r.strictSPF = strings.EqualFold(value, "s")
		case "pct":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 && n <= 100 {
				r.percent = n
			}
		case "rua":
			r.hasReports = strings.Contains(strings.ToLower(value), "mailto:")
		}
	}
	r.subPolicy = r.policy
	if sub != "" {
		r.subPolicy, subOK = parsePolicy(sub)
	}
	r.policyKnown = r.policyKnown && subOK
	if !r.policyKnown && r.hasReports {
		// RFC 7489 6.6.3: such a domain wants to watch.
		r.policy, r.subPolicy, r.policyKnown = PolicyNone, PolicyNone, true
	}
	return r, true
}

var (
	errNoPolicy  = errors.New("no policy")
	errBadPolicy = errors.New("a policy that cannot be read")
)

// discover finds the policy for a domain: its own or its organisation's,
// RFC 7489 6.6.3. The error is errNoPolicy, errBadPolicy or wraps
// resolver.ErrTemporary.
func discover(ctx context.Context, dns Resolver, domain string) (dmarcRecord, DomainPolicy, error) {
	r, err := fetchPolicy(ctx, dns, domain)
	if !errors.Is(err, errNoPolicy) {
		return r, r.policy, err
	}
	org := organisation(domain)
	if org == domain {
		return r, 0, err
	}
	r, err = fetchPolicy(ctx, dns, org)
	return r, r.subPolicy, err
}

func fetchPolicy(ctx context.Context, dns Resolver, domain string) (dmarcRecord, error) {
	answer, err := dns.LookupTXT(ctx, "_dmarc."+domain)
	if err != nil && !resolver.NotFound(err) {
		return dmarcRecord{}, err
	}
	var found []dmarcRecord
	for _, text := range answer.Records {
		if r, ok := parseDMARC(text); ok {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 0:
		return dmarcRecord{}, errNoPolicy
	case len(found) > 1 || !found[0].policyKnown:
		return dmarcRecord{}, errBadPolicy
	}
	return found[0], nil
}

// aligned compares a domain that passed with the author's, RFC 7489 3.1.
func aligned(domain, author string, strict bool) bool {
	if domain == "" || strict || domain == author {
		return domain == author && domain != ""
	}
	return organisation(domain) == organisation(author)
}

// authors are the domains of the From field. broken says why nobody can tell
// whom the message is from; "" when that is clear.
type authors struct {
	domains []string
	broken  string
}

// maxAuthors are the domains that a From field may name; more is no letter.
const maxAuthors = 5

func findAuthors(header []byte) authors {
	info := message.Inspect(header)
	var a authors
	sloppy := info.FromBroken
	for i := range info.From {
		m := &info.From[i]
		from, err := m.Address()
		switch {
		case m.IsGroupStart() || m.IsGroupEnd():
		case err != nil || m.Broken():
			sloppy = true
		default:
			a.add(from.ASCIIDomain())
		}
	}
	if sloppy {
		a.scan(header)
	}
	switch {
	case info.FromFields > 1:
		a.broken = "more than one From field"
	case len(a.domains) > maxAuthors:
		a.broken = "too many authors"
		a.domains = a.domains[:maxAuthors]
	}
	return a
}

func (a *authors) add(domain string) {
	if isDomain(domain) && !slices.Contains(a.domains, domain) && len(a.domains) <= maxAuthors {
		a.domains = append(a.domains, domain)
	}
}

// scan adds whatever in a From field looks like an address's domain. Where a
// field is no proper list, some programs show one of them and some another, so
// all have to pass.
func (a *authors) scan(header []byte) {
	for f := message.NewFields(header); f.Next(); {
		if !f.Is("from") {
			continue
		}
		for rest := f.Value(); len(a.domains) <= maxAuthors; {
			at := bytes.IndexByte(rest, '@')
			if at < 0 {
				break
			}
			rest = rest[at+1:]
			end := bytes.IndexFunc(rest, func(c rune) bool {
				return c < utf8.RuneSelf && c != '.' && c != '-' && c != '_' && !('a' <= c|0x20 && c|0x20 <= 'z') && !('0' <= c && c <= '9')
			})
			if end < 0 {
				end = len(rest)
			}
			if end <= address.MaxDomain {
				if name, err := address.ParseDomain(strings.Trim(string(rest[:end]), ".")); err == nil && strings.Contains(name, ".") {
					a.add(name)
				}
			}
		}
	}
}

// checkDMARC judges each author's domain by what passed; the gravest outcome
// counts. policies has what discover found for each domain.
func (a authors) checkDMARC(policies []discovered, spf SPF, signatures []Signature, sample func() int) DMARC {
	var worst DMARC
	for i, domain := range a.domains {
		d := policies[i].judge(domain, a.broken, spf, signatures, sample)
		if i == 0 || graver(d, worst) {
			worst = d
		}
	}
	if a.broken != "" && worst.Request < PolicyQuarantine {
		// Whom it is from cannot be told, so no policy lets it pass as
		// someone's: RFC 7489 6.6.1.
		worst.Result, worst.Reason = Fail, a.broken
		worst.Request = PolicyQuarantine
	}
	return worst
}

func graver(a, b DMARC) bool {
	if a.Request != b.Request {
		return a.Request > b.Request
	}
	order := []Result{Pass, None, PermError, TempError, Fail}
	return slices.Index(order, a.Result) > slices.Index(order, b.Result)
}

type discovered struct {
	record dmarcRecord
	policy DomainPolicy
	err    error
}

func (p *discovered) judge(domain, broken string, spf SPF, signatures []Signature, sample func() int) DMARC {
	d := DMARC{Domain: domain, Policy: p.policy}
	switch {
	case errors.Is(p.err, errNoPolicy):
		d.Result = None
		return d
	case errors.Is(p.err, errBadPolicy):
		d.Result, d.Reason = PermError, "the policy cannot be read"
		return d
	case p.err != nil:
		d.Result, d.Reason = TempError, "the DNS gave no policy"
		return d
	}
	temporary := false
	if broken == "" {
		if aligned(spf.Domain, domain, p.record.strictSPF) {
			if spf.Result == Pass {
				d.Result = Pass
			}
			temporary = spf.Result == TempError
		}
		for i := range signatures {
			s := &signatures[i]
			if aligned(s.Domain, domain, p.record.strictDKIM) {
				if s.Result == Pass {
					d.Result = Pass
				}
				temporary = temporary || s.Result == TempError
			}
		}
	}
	switch {
	case d.Result == Pass:
		return d
	case temporary:
		d.Result, d.Reason = TempError, "the DNS gave no answer about the sender"
		return d
	}
	d.Result, d.Reason, d.Request = Fail, broken, p.policy
	if d.Request > PolicyNone && sample() >= p.record.percent {
		d.Request-- // RFC 7489 6.6.4: the next milder policy
	}
	return d
}
