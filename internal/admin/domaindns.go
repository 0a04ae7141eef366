package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"posthorn/internal/delivery"
	"posthorn/internal/mailauth"
	"posthorn/internal/resolver"
	"posthorn/storage"
)

// Site is what commands have to know of the configuration.
type Site struct {
	Hostname string
	Services []Service // for mail programs
	Settings Settings  // that accounts and domains may have; nil: none
	Delivery delivery.Config
	// Relays are the smarthosts by which mail leaves.
	Relays []string
	// PublicKeyHash gives the data of a TLSA 3 1 1 record; "" where the
	// certificate is one that nobody should rely on. Nil is "".
	PublicKeyHash func() string
	DNS           *resolver.Resolver // for --check; nil: it cannot be done
}

// Service is one that mail programs look up, RFC 6186 and RFC 8314 5.
type Service struct {
	Name string // "imaps"
	Port int
}

// dnsRecord is a record to publish, and a line of `domain dns --json`.
type dnsRecord struct {
	Name  string   `json:"name"` // without the final dot
	Type  string   `json:"type"`
	Value string   `json:"value"` // a TXT record's text, else as in a zone file
	Note  string   `json:"note"`
	State string   `json:"state,omitempty"` // with --check: ok, missing, other, unknown
	Found []string `json:"found,omitempty"` // where state is other
}

// States of a record in the live DNS.
const (
	stateOK      = "ok"
	stateMissing = "missing"
	stateOther   = "other"
	stateUnknown = "unknown"
)

func domainDNS(ctx context.Context, e *env) error {
	name, err := e.localDomain(ctx)
	if err != nil {
		return err
	}
	records, err := e.site.records(ctx, e.store, name)
	if err != nil {
		return err
	}
	return e.printRecords(ctx, records, e.flags.check)
}

// mtaSTSPolicy is the file that a web server shows, RFC 8461 3.2. A week is the
// least that its clients should remember it for.
func (s *Site) mtaSTSPolicy() string {
	return "version: STSv1\r\nmode: enforce\r\nmx: " + s.Hostname + "\r\nmax_age: 604800\r\n"
}

func domainMTASTS(ctx context.Context, e *env) error {
	if _, err := e.localDomain(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprint(e.out, e.site.mtaSTSPolicy())
	return err
}

func domainRotateKey(ctx context.Context, e *env) error {
	name, err := e.localDomain(ctx)
	if err != nil {
		return err
	}
	from := time.Now()
	if !e.flags.now {
		from = from.Add(mailauth.PublishTime)
	}
	keys, err := mailauth.NewKeyring(e.store, time.Now).Rotate(ctx, name, from)
	if err != nil {
		return err
	}
	return e.printRecords(ctx, keyRecords(name, keys, time.Now()), false)
}

func (e *env) localDomain(ctx context.Context) (string, error) {
	name, err := parseDomain(e.args[0])
	if err != nil {
		return "", err
	}
	known, err := e.store.HasDomain(ctx, name)
	if err == nil && !known {
		err = fmt.Errorf("%s: no such domain: `posthorn domain list` names them", name)
	}
	return name, err
}

// records are all that a domain should publish.
func (s *Site) records(ctx context.Context, store *storage.Store, domain string) ([]dnsRecord, error) {
	keys, err := mailauth.NewKeyring(store, time.Now).Keys(ctx, domain)
	if err != nil {
		return nil, err
	}
	spfNote := "only the hosts of the MX record send mail of this domain"
	if len(s.Relays) > 0 {
		spfNote = "mail leaves by " + strings.Join(s.Relays, ", ") + ": add the include: that its operator names before -all"
	}
	sum := sha256.Sum256([]byte(s.mtaSTSPolicy()))
	list := []dnsRecord{
		{Name: domain, Type: "MX", Value: "10 " + s.Hostname + ".", Note: "mail for the domain comes here"},
		{Name: domain, Type: "TXT", Value: "v=spf1 mx -all", Note: "SPF: " + spfNote},
	}
	list = append(list, keyRecords(domain, keys, time.Now())...)
	list = append(list,
		dnsRecord{Name: "_dmarc." + domain, Type: "TXT", Value: "v=DMARC1; p=quarantine; rua=mailto:postmaster@" + domain,
			Note: "DMARC: mail that fails SPF and DKIM is not ours; p=none to begin with, p=reject when the reports are clean"},
		dnsRecord{Name: "_smtp._tls." + domain, Type: "TXT", Value: "v=TLSRPTv1; rua=mailto:postmaster@" + domain,
			Note: "TLSRPT: others report trouble with TLS"},
		dnsRecord{Name: "_mta-sts." + domain, Type: "TXT", Value: "v=STSv1; id=" + hex.EncodeToString(sum[:8]),
			Note: "MTA-STS: publish it when https://mta-sts." + domain + "/.well-known/mta-sts.txt has what `posthorn domain mta-sts " + domain + "` prints"})
	for i, service := range s.Services {
		list = append(list, dnsRecord{Name: "_" + service.Name + "._tcp." + domain, Type: "SRV",
			Value: fmt.Sprintf("%d 1 %d %s.", i, service.Port, s.Hostname), Note: "mail programs set themselves up"})
	}
	if s.PublicKeyHash == nil {
		return list, nil
	}
	if hash := s.PublicKeyHash(); hash != "" {
		list = append(list, dnsRecord{Name: "_25._tcp." + s.Hostname, Type: "TLSA", Value: "3 1 1 " + hash,
			Note: "DANE: only in a zone with DNSSEC; publish the next key's record before the key changes, or mail is lost"})
	}
	return list, nil
}

func keyRecords(domain string, keys []mailauth.Key, now time.Time) []dnsRecord {
	var list []dnsRecord
	for i := range keys {
		k := &keys[i]
		note := "DKIM: signs now"
		switch {
		case k.From.After(now):
			note = "DKIM: signs from " + k.From.UTC().Format(time.RFC3339)
		case !k.Until.IsZero() && k.Until.Before(now):
			note = "DKIM: signed until " + k.Until.UTC().Format(time.RFC3339) + "; leave it for mail on its way"
		}
		list = append(list, dnsRecord{Name: k.Name(domain), Type: "TXT", Value: k.Record(), Note: note})
	}
	return list
}

func (e *env) printRecords(ctx context.Context, records []dnsRecord, check bool) error {
	if check && e.site.DNS == nil {
		return errors.New("--check: there is no DNS to ask: set [dns] servers")
	}
	wrong := 0
	for _, r := range records {
		if check {
			r.State, r.Found = e.site.compare(ctx, r)
			if r.State != stateOK {
				wrong++
			}
		}
		var err error
		if e.json {
			err = e.printJSON(r)
		} else {
			_, err = fmt.Fprint(e.out, r.zoneLines())
		}
		if err != nil {
			return err
		}
	}
	if check && !e.json {
		_, err := fmt.Fprintf(e.out, "; %d of %d records are as they should be\n", len(records)-wrong, len(records))
		return err
	}
	return nil
}

// zoneLines is the record as in a zone file, with comments.
func (r *dnsRecord) zoneLines() string {
	lines := "; " + r.Note + "\n"
	switch r.State {
	case stateOther:
		lines += "; in the DNS there is instead: " + strings.Join(r.Found, " | ") + "\n"
	case "":
	default:
		lines += "; in the DNS: " + r.State + "\n"
	}
	if r.Type == "TXT" {
		return lines + mailauth.ZoneTXT(r.Name, r.Value) + "\n"
	}
	return lines + r.Name + ". IN " + r.Type + " " + r.Value + "\n"
}

// compare looks the record up. Of records that share their name with others'
// (TXT of SPF, MX, TLSA) others may stand beside it.
func (s *Site) compare(ctx context.Context, r dnsRecord) (state string, found []string) {
	found, err := s.lookup(ctx, r)
	switch {
	case resolver.NotFound(err):
		return stateMissing, nil
	case err != nil:
		return stateUnknown, nil
	case slices.ContainsFunc(found, func(f string) bool { return sameRecord(f, r.Value) }):
		return stateOK, nil
	}
	// Another record of the same kind, such as an SPF of the owner's making.
	version, _, _ := strings.Cut(r.Value, " ")
	if r.Type == "TXT" {
		version = strings.TrimRight(version, ";")
		found = slices.DeleteFunc(found, func(f string) bool { return !strings.HasPrefix(f, version) })
	}
	if len(found) == 0 {
		return stateMissing, nil
	}
	return stateOther, found
}

// sameRecord compares but for white space and the case of host names.
func sameRecord(a, b string) bool {
	fold := func(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), "")) }
	return fold(a) == fold(b)
}

func (s *Site) lookup(ctx context.Context, r dnsRecord) ([]string, error) {
	var found []string
	switch r.Type {
	case "TXT":
		answer, err := s.DNS.LookupTXT(ctx, r.Name)
		return answer.Records, err
	case "MX":
		answer, err := s.DNS.LookupMX(ctx, r.Name)
		for _, mx := range answer.Records {
			found = append(found, fmt.Sprintf("%d %s.", mx.Preference, mx.Host))
		}
		return found, err
	case "SRV":
		answer, err := s.DNS.LookupSRV(ctx, r.Name)
		for _, srv := range answer.Records {
			found = append(found, fmt.Sprintf("%d %d %d %s.", srv.Priority, srv.Weight, srv.Port, srv.Host))
		}
		return found, err
	}
	answer, err := s.DNS.LookupTLSA(ctx, 25, s.Hostname)
	for _, t := range answer.Records {
		found = append(found, fmt.Sprintf("%d %d %d %x", t.Usage, t.Selector, t.Matching, t.Data))
	}
	return found, err
}
