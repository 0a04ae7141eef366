package tlsreport

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"posthorn/storage"
)

// Policy is what was demanded of a connection, RFC 8460 4.4.
type Policy struct {
	Type   string   `json:"policy-type"`
	Text   []string `json:"policy-string,omitempty"`
	Domain string   `json:"policy-domain"`
	MX     []string `json:"mx-host,omitempty"`
}

// Failure is how securing a connection went wrong, RFC 8460 4.3 and 4.4.
type Failure struct {
	Result    string `json:"result-type"`
	LocalAddr string `json:"sending-mta-ip,omitempty"`
	Host      string `json:"receiving-mx-hostname,omitempty"`
	Helo      string `json:"receiving-mx-helo,omitempty"`
	Addr      string `json:"receiving-ip,omitempty"`
	Sessions  int64  `json:"failed-session-count,omitempty"` // in the report; 0 in Count
	Reason    string `json:"failure-reason-code,omitempty"`
}

// document is the report of a domain's day.
type document struct {
	hostname string
	domain   string
	day      int64
	tallies  []storage.TLSTally
}

type summary struct {
	Successes int64 `json:"total-successful-session-count"`
	Failures  int64 `json:"total-failure-session-count"`
}

type policyReport struct {
	Policy   json.RawMessage `json:"policy"`
	Summary  summary         `json:"summary"`
	Failures []Failure       `json:"failure-details,omitempty"`
}

func (d *document) start() time.Time { return time.Unix(d.day*86400, 0).UTC() }
func (d *document) end() time.Time   { return time.Unix(d.day*86400+86399, 0).UTC() }

// id is the same whenever the report is sent.
func (d *document) id() string {
	return d.start().Format("20060102") + "." + d.domain + "@" + d.hostname
}

// filename is RFC 8460 5.1.
func (d *document) filename() string {
	return d.hostname + "!" + d.domain + "!" + strconv.FormatInt(d.start().Unix(), 10) + "!" + strconv.FormatInt(d.end().Unix(), 10) + ".json.gz"
}

// render gives the JSON of RFC 8460 4.4, compressed. The tallies of one policy
// stand together.
func (d *document) render() ([]byte, error) {
	var policies []policyReport
	last := ""
	for i := range d.tallies {
		a := &d.tallies[i]
		if len(policies) == 0 || a.Policy != last {
			if !json.Valid([]byte(a.Policy)) {
				return nil, fmt.Errorf("the counts of %s are damaged: %q", d.domain, a.Policy)
			}
			last = a.Policy
			policies = append(policies, policyReport{Policy: json.RawMessage(a.Policy)})
		}
		p := &policies[len(policies)-1]
		if a.Failure == "" {
			p.Summary.Successes += a.Sessions
			continue
		}
		var f Failure
		if err := json.Unmarshal([]byte(a.Failure), &f); err != nil {
			return nil, fmt.Errorf("the counts of %s are damaged: %w", d.domain, err)
		}
		f.Sessions = a.Sessions
		p.Summary.Failures += a.Sessions
		p.Failures = append(p.Failures, f)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	err := json.NewEncoder(z).Encode(map[string]any{
		"organization-name": d.hostname,
		"date-range":        map[string]string{"start-datetime": d.start().Format(time.RFC3339), "end-datetime": d.end().Format(time.RFC3339)},
		"contact-info":      "postmaster@" + d.hostname,
		"report-id":         d.id(),
		"policies":          policies,
	})
	if err == nil {
		err = z.Close()
	}
	return out.Bytes(), err
}
