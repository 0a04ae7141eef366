package tlsreport

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/delivery"
	"posthorn/internal/message"
	"posthorn/internal/resolver"
	"posthorn/storage"
)

// maxDestinations bounds where one domain wants its reports.
const maxDestinations = 5

// destinations are where the domain wants its reports, RFC 8460 3; none where it
// does not ask for any. An error is worth another try.
func (r *Reporter) destinations(ctx context.Context, domain string) ([]*url.URL, error) {
	answer, err := r.o.Resolver.LookupTXT(ctx, "_smtp._tls."+domain)
	if err != nil {
		if resolver.NotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	return parseRecords(answer.Records), nil
}

// parseRecords reads the TXT records: exactly one has to be a policy.
func parseRecords(records []string) []*url.URL {
	rua, found := "", 0
	for _, text := range records {
		version, rest, _ := strings.Cut(text, ";")
		if strings.TrimSpace(version) != "v=TLSRPTv1" {
			continue
		}
		found++
		for field := range strings.SplitSeq(rest, ";") {
			name, value, ok := strings.Cut(field, "=")
			if ok && strings.TrimSpace(name) == "rua" && rua == "" {
				rua = value
			}
		}
	}
	if found != 1 {
		return nil
	}
	var all []*url.URL
	for text := range strings.SplitSeq(rua, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || len(all) == maxDestinations {
			continue
		}
		switch u.Scheme = strings.ToLower(u.Scheme); {
		case u.Scheme == "https" && u.Hostname() != "" && u.User == nil, u.Scheme == "mailto" && u.Opaque != "":
			all = append(all, u)
		}
	}
	return all
}

// send brings the report to where it is wanted: what goes by mail is returned
// for the store, sent names all. The error is the last trouble.
func (r *Reporter) send(ctx context.Context, d *document, where []*url.URL) (mail []storage.Acceptance, sent []string, last error) {
	text, err := d.render()
	if err != nil {
		return nil, nil, err
	}
	for _, u := range where {
		if u.Scheme == "https" {
			err = r.post(ctx, u, text)
		} else {
			var m *storage.Acceptance
			if m, err = r.letter(ctx, d, u, text); err == nil {
				mail = append(mail, *m)
			}
		}
		if err != nil {
			last = fmt.Errorf("%s: %w", u, err)
			continue
		}
		sent = append(sent, u.String())
	}
	return mail, sent, last
}

// post is RFC 8460 5.4.
func (r *Reporter) post(ctx context.Context, u *url.URL, text []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/tlsrpt+gzip")
	request.Header.Set("User-Agent", "posthorn")
	response, err := r.o.Web.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()                                       //nolint:errcheck // nothing is expected in it
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the server sees it taken
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the server says %s", response.Status)
	}
	return nil
}

// letter prepares the report as a message of our own, RFC 8460 5.3.
func (r *Reporter) letter(ctx context.Context, d *document, u *url.URL, text []byte) (*storage.Acceptance, error) {
	name, _, _ := strings.Cut(u.Opaque, "?")
	name, err := url.PathUnescape(name)
	if err != nil {
		return nil, err
	}
	to, err := address.Parse(name)
	if err != nil {
		return nil, err
	}
	if to.NeedsUTF8() {
		return nil, errors.New("an address beyond ASCII")
	}
	tx, err := r.o.Agent.AdmitSender(ctx, delivery.Client{Role: delivery.Notice}, delivery.Sender{})
	if err == nil {
		err = tx.Admit(ctx, delivery.Recipient{Path: to, Notify: "NEVER"})
	}
	if err != nil {
		return nil, err
	}
	return tx.Prepare(ctx, bytes.NewReader(d.letter(r.now(), to, text)))
}

func (d *document) letter(now time.Time, to address.Address, text []byte) []byte {
	boundary := strings.ToLower(rand.Text())
	out := append(make([]byte, 0, 2<<10+2*len(text)), "From: TLS reports of "+d.hostname+" <postmaster@"+d.hostname+">\r\nTo: <"+to.ASCII()+">\r\n"...)
	out = append(out, "Subject: Report Domain: "+d.domain+"\r\n Submitter: "+d.hostname+"\r\n Report-ID: <"+d.id()+">\r\nDate: "...)
	out = message.AppendDate(out, now)
	out = append(out, "\r\nMessage-ID: "+message.NewMessageID(d.hostname)+"\r\n"+
		"TLS-Report-Domain: "+d.domain+"\r\nTLS-Report-Submitter: "+d.hostname+"\r\n"+
		"TLS-Required: No\r\n"+ // RFC 8460 3: it arrives though TLS be broken there; RFC 8689 4
		"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\""+boundary+"\"\r\n"+
		"\r\n--"+boundary+"\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"+
		"How "+d.hostname+" could secure its connections to the servers\r\nthat take mail for "+d.domain+", on "+d.start().Format("2 January 2006")+" (UTC).\r\n"+
		"The record _smtp._tls."+d.domain+" in the DNS asks for this report.\r\n"+
		"\r\n--"+boundary+"\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"+
		"Content-Disposition: attachment;\r\n filename=\""+d.filename()+"\"\r\n\r\n"...)
	const width = 57 // octets, 76 characters
	for ; len(text) > 0; text = text[min(width, len(text)):] {
		out = base64.StdEncoding.AppendEncode(out, text[:min(width, len(text))])
		out = append(out, "\r\n"...)
	}
	return append(out, "--"+boundary+"--\r\n"...)
}
