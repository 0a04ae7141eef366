package tlsreport

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthorn/internal/delivery"
	"posthorn/internal/resolver"
	"posthorn/internal/resolver/zonetest"
	"posthorn/storage"
)

// bureau is a Reporter over a real store, a zone, and a web server for reports.
type bureau struct {
	t     *testing.T
	store *storage.Store
	zone  *zonetest.Zone
	web   *httptest.Server
	r     *Reporter
	log   *bytes.Buffer

	mu     sync.Mutex
	now    time.Time
	status int      // that the web server answers
	posted [][]byte // what it took
	fault  string   // the step of the store that fails
}

const noon = 1_700_000_000 / 86400 * 86400 // 2023-11-14, and 12 hours

func newBureau(t *testing.T, records ...string) *bureau {
	t.Helper()
	b := &bureau{t: t, zone: zonetest.Start(t, records...), now: time.Unix(noon+12*3600, 0), status: http.StatusOK, log: &bytes.Buffer{}}
	var err error
	b.store, err = storage.Open(t.TempDir(), storage.Options{Logger: slog.New(slog.DiscardHandler), Fault: func(step string) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.fault == step {
			return errors.New("an injected fault")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.web = httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		text, err := io.ReadAll(in.Body)
		b.mu.Lock()
		defer b.mu.Unlock()
		if err == nil && in.Method == http.MethodPost && in.Header.Get("Content-Type") == "application/tlsrpt+gzip" {
			b.posted = append(b.posted, text)
		}
		out.WriteHeader(b.status)
	}))
	dns, err := resolver.New(resolver.Config{Servers: []string{b.zone.Addr()}, Timeout: time.Second}, b.clock)
	if err != nil {
		t.Fatal(err)
	}
	agent := delivery.New(b.store, delivery.Options{Hostname: "mail.us.example", Config: delivery.DefaultConfig()})
	t.Cleanup(func() {
		b.web.Close()
		agent.Close()
		if err := b.store.Close(); err != nil {
			t.Error(err)
		}
	})
	b.r = New(Options{Hostname: "mail.us.example", Store: b.store, Agent: agent, Resolver: dns, Web: b.web.Client(), Now: b.clock,
		Logger: slog.New(slog.NewTextHandler(b.log, nil))})
	return b
}

func (b *bureau) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bureau) pass(d time.Duration) {
	b.t.Helper()
	b.mu.Lock()
	b.now = b.now.Add(d)
	b.mu.Unlock()
	for _, step := range []func(context.Context) error{b.r.Flush, b.r.pass} {
		if err := step(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
	}
}

// left is how many rows of counts there are for a domain's first day.
func (b *bureau) left(domain string) int {
	b.t.Helper()
	list, err := b.store.TLSTallies(b.t.Context(), noon/86400, domain)
	if err != nil {
		b.t.Fatal(err)
	}
	return len(list)
}

// queued are the reports that leave by mail.
func (b *bureau) queued(domain string) (text string, m *storage.Lease) {
	b.t.Helper()
	ctx := b.t.Context()
	m, err := b.store.Lease(ctx, storage.LeaseRequest{Domain: domain, Now: time.Now(), Max: 10})
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := b.store.OpenQueued(ctx, m)
	if err != nil {
		b.t.Fatal(err)
	}
	all, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(all), m
}

func inflate(t *testing.T, text []byte) map[string]any {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.NewDecoder(z).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

var sts = Policy{Type: "sts", Domain: "d.example", Text: []string{"version: STSv1", "mode: testing", "mx: mx.d.example", "max_age: 86400"}, MX: []string{"mx.d.example"}}

func (b *bureau) count(domain string, good, bad int) {
	for range good {
		b.r.Count(Session{Domain: domain, Policy: sts})
	}
	for range bad {
		b.r.Count(Session{Domain: domain, Policy: sts, Failure: &Failure{Result: "certificate-expired", Host: "mx.d.example", Helo: "mx", Addr: "192.0.2.1", LocalAddr: "192.0.2.9"}})
	}
}

func TestAReportGoesByMail(t *testing.T) {
	b := newBureau(t, `_smtp._tls.d.example. TXT "v=TLSRPTv1; rua=mailto:tls%2Breports@else.example?x"`)
	b.count("d.example", 3, 2)
	b.r.Count(Session{Domain: "d.example", Policy: Policy{Type: "no-policy-found", Domain: "d.example"}})
	b.pass(0)
	b.count("d.example", 1, 0)
	b.pass(11 * time.Hour)
	if _, m := b.queued("else.example"); m != nil || b.left("d.example") == 0 {
		t.Fatal("the report comes before the day is over")
	}
	b.pass(6 * time.Hour)
	text, m := b.queued("else.example")
	if m == nil || m.ReversePath != "" || m.Submitter != storage.Ourselves || m.Hops[0].Recipient != "tls+reports@else.example" || m.Hops[0].Notify != "NEVER" {
		t.Fatalf("%+v", m)
	}
	if b.left("d.example") != 0 {
		t.Error("the counts stay")
	}
	letter, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"From": "TLS reports of mail.us.example <postmaster@mail.us.example>", "To": "<tls+reports@else.example>",
		"Subject":           "Report Domain: d.example Submitter: mail.us.example Report-ID: <20231114.d.example@mail.us.example>",
		"TLS-Report-Domain": "d.example", "TLS-Report-Submitter": "mail.us.example", "TLS-Required": "No", "Mime-Version": "1.0",
	} {
		if got := letter.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	kind, params, err := mime.ParseMediaType(letter.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Fatalf("%s %v %v", kind, params, err)
	}
	parts := multipart.NewReader(letter.Body, params["boundary"])
	if p, err := parts.NextPart(); err != nil || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%v, %v", p, err)
	}
	p, err := parts.NextPart()
	if err != nil || p.Header.Get("Content-Type") != "application/tlsrpt+gzip" || p.FileName() != "mail.us.example!d.example!1699920000!1700006399.json.gz" {
		t.Fatalf("%+v, %v", p, err)
	}
	gz, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	got, err := json.Marshal(inflate(t, gz))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"contact-info":"postmaster@mail.us.example","date-range":{"end-datetime":"2023-11-14T23:59:59Z","start-datetime":"2023-11-14T00:00:00Z"},` +
		`"organization-name":"mail.us.example","policies":[` +
		`{"policy":{"policy-domain":"d.example","policy-type":"no-policy-found"},"summary":{"total-failure-session-count":0,"total-successful-session-count":1}},` +
		`{"failure-details":[{"failed-session-count":2,"receiving-ip":"192.0.2.1","receiving-mx-helo":"mx","receiving-mx-hostname":"mx.d.example","result-type":"certificate-expired","sending-mta-ip":"192.0.2.9"}],` +
		`"policy":{"mx-host":["mx.d.example"],"policy-domain":"d.example","policy-string":["version: STSv1","mode: testing","mx: mx.d.example","max_age: 86400"],"policy-type":"sts"},` +
		`"summary":{"total-failure-session-count":2,"total-successful-session-count":4}}],"report-id":"20231114.d.example@mail.us.example"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAReportGoesOverHTTPSAndIsTriedAgain(t *testing.T) {
	b := newBureau(t)
	b.zone.Add(t, `_smtp._tls.d.example. TXT "v=TLSRPTv1;rua=`+b.web.URL+`/reports"`)
	b.status = http.StatusServiceUnavailable
	b.count("d.example", 1, 1)
	b.pass(17 * time.Hour)
	if len(b.posted) != 1 || b.left("d.example") != 2 {
		t.Fatalf("%d posted, %d rows are left", len(b.posted), b.left("d.example"))
	}
	b.status = http.StatusCreated
	b.pass(time.Hour)
	if len(b.posted) != 2 || b.left("d.example") != 0 {
		t.Fatalf("%d posted, %d rows are left", len(b.posted), b.left("d.example"))
	}
	first, second := inflate(t, b.posted[0]), inflate(t, b.posted[1])
	if first["report-id"] != second["report-id"] || len(first["policies"].([]any)) != 1 {
		t.Errorf("%v\n%v", first, second)
	}
	b.pass(24 * time.Hour)
	if len(b.posted) != 2 {
		t.Error("it is sent again")
	}
}

func TestReportsThatCannotBeSentEnd(t *testing.T) {
	b := newBureau(t, `_smtp._tls.none.example. TXT "v=spf1 -all"`)
	b.zone.Add(t, `_smtp._tls.d.example. TXT "v=TLSRPTv1;rua=https://nowhere.invalid/"`)
	b.zone.Fail("_smtp._tls.broken.example", dns.RcodeServerFailure)
	for _, domain := range []string{"d.example", "none.example", "broken.example", "nothing.example"} {
		b.count(domain, 1, 0)
	}
	b.pass(17 * time.Hour)
	for domain, want := range map[string]int{"d.example": 1, "none.example": 0, "broken.example": 1, "nothing.example": 0} {
		if n := b.left(domain); n != want {
			t.Errorf("%s: %d rows", domain, n)
		}
	}
	b.pass(48 * time.Hour)
	for _, domain := range []string{"d.example", "broken.example"} {
		if b.left(domain) != 0 || !strings.Contains(b.log.String(), "is given up\" domain="+domain) {
			t.Errorf("%s: %d rows\n%s", domain, b.left(domain), b.log)
		}
	}
}

func TestWhereReportsAreWanted(t *testing.T) {
	for record, want := range map[string]string{
		"v=TLSRPTv1; rua=mailto:a@b.example,https://r.example/x": "[mailto:a@b.example https://r.example/x]",
		"v=TLSRPTv1;rua=http://r.example/":                       "[]",
		"v=TLSRPTv1;rua=https://user@r.example/":                 "[]",
		"v=TLSRPTv1;rua=https:///x":                              "[]",
		"v=TLSRPTv1;rua=mailto:":                                 "[]",
		"v=TLSRPTv1":                                             "[]",
		"v=TLSRPTv2;rua=mailto:a@b.example":                      "[]",
		"":                                                       "[]",
		"v=TLSRPTv1;rua=" + strings.Repeat("mailto:a@b,", 50):    "[mailto:a@b mailto:a@b mailto:a@b mailto:a@b mailto:a@b]",
		"v=TLSRPTv1; x=y; rua = MAILTO:a@b ; rua=mailto:c@d":     "[mailto:a@b]",
	} {
		if got := fmt.Sprint(parseRecords([]string{record})); got != want {
			t.Errorf("%q: %s, want %s", record, got, want)
		}
	}
	if got := parseRecords([]string{"v=TLSRPTv1;rua=mailto:a@b", "v=TLSRPTv1;rua=mailto:a@b"}); len(got) != 0 {
		t.Errorf("two records: %v", got)
	}
}

// A recipient that the mail cannot go to is no reason to lose the other.
func TestOneDestinationOfTwoIsEnough(t *testing.T) {
	b := newBureau(t)
	b.zone.Add(t, `_smtp._tls.d.example. TXT "v=TLSRPTv1;rua=mailto:no-address,`+b.web.URL+`"`)
	b.count("d.example", 1, 0)
	b.pass(17 * time.Hour)
	if len(b.posted) != 1 || b.left("d.example") != 0 {
		t.Errorf("%d posted, %d rows are left", len(b.posted), b.left("d.example"))
	}
}

func TestCountsAreBoundedAndSurviveFaults(t *testing.T) {
	b := newBureau(t)
	for i := range maxOutcomes + 50 {
		b.r.Count(Session{Domain: fmt.Sprintf("d%d.example", i), Policy: sts})
	}
	if len(b.r.counts) != maxOutcomes || b.r.lost != 50 {
		t.Errorf("%d outcomes, %d lost", len(b.r.counts), b.r.lost)
	}
	b.r.counts = map[key]int64{}
	b.count("d.example", 2, 0)
	b.mu.Lock()
	b.fault = "commit"
	b.mu.Unlock()
	if err := b.r.Flush(t.Context()); err == nil {
		t.Error("a fault of the store is not told")
	}
	b.count("d.example", 1, 0)
	b.mu.Lock()
	b.fault = ""
	b.mu.Unlock()
	if err := b.r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := b.store.TLSTallies(t.Context(), noon/86400, "d.example")
	if err != nil || len(list) != 1 || list[0].Sessions != 3 {
		t.Errorf("%+v, %v", list, err)
	}
}

func FuzzParseRecords(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:a@b.example,https://r.example/x")
	f.Fuzz(func(t *testing.T, record string) {
		for _, u := range parseRecords([]string{record}) {
			if u.Scheme != "https" && u.Scheme != "mailto" || u.Scheme == "https" && u.Hostname() == "" {
				t.Errorf("%v", u)
			}
		}
	})
}
