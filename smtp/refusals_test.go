package smtp

import (
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"posthorn/internal/delivery"
	"posthorn/internal/metrics"
)

// What a client hears that it did not want to hear is in the log, with the service
// and the client's address, and in /metrics: one line and one count for each.
func TestEveryRefusalIsLoggedAndCounted(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const begun = "EHLO a.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\n"
	login := "EHLO a.example\r\nAUTH PLAIN " + b64("\x00alice@example.org\x00alice-secret") + "\r\n"
	for _, test := range []struct {
		role  delivery.Role
		input string
		codes string // of the refusals
	}{
		{delivery.Exchanger, "NOOP\nRCPT TO:<x>\r\nXYZZY\r\nEXPN x\r\nVRFY\r\n" + strings.Repeat("x", 3000) + "\r\n", "500 503 500 502 501 500"},
		{delivery.Exchanger, "MAIL FROM:<a@b.example>\r\nEHLO\r\nEHLO x\r\nMAIL FROM:<\r\nMAIL FROM:<a@b.example> X=y\r\nMAIL FROM:<a@b.example> REQUIRETLS\r\n", "503 501 501 555 530"},
		{delivery.Exchanger, begun + "RCPT TO:<x@elsewhere.example>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<>\r\nMAIL FROM:<x@y.example>\r\nDATA now\r\n", "550 550 501 503 501"},
		{delivery.Exchanger, begun + "DATA\r\nx\ny\r\n.\r\n", "550 421"},
		{delivery.Exchanger, begun + "DATA\r\nx\x00y\r\n.\r\n", "550"},
		{delivery.Exchanger, begun + "BDAT 2\r\nabDATA\r\nBDAT x\r\n", "503 501"},
		{delivery.Exchanger, begun + "BDAT 99999999999\r\n", "552"},
		{delivery.Exchanger, "EHLO x\r\nDATA\r\nBDAT 2 LAST\r\nabSTARTTLS now\r\nAUTH PLAIN\r\n", "503 503 501 502"},
		{delivery.Exchanger, "EHLO x\r\nMAIL FROM:<a@b.example>\r\nDATA\r\nRSET\r\nPOST / HTTP/1.1\r\n", "554 421"},
		{delivery.Exchanger, strings.Repeat("XYZZY\r\n", 30), strings.Repeat("500 ", 20) + "421"},
		{delivery.Submission, "EHLO x\r\nMAIL FROM:<alice@example.org>\r\nAUTH X\r\nAUTH PLAIN !\r\nAUTH PLAIN =\r\nAUTH LOGIN\r\n*\r\n", "530 504 501 501 501"},
		{delivery.Submission, "EHLO x\r\nAUTH PLAIN " + b64("\x00alice@example.org\x00no") + "\r\n", "535"},
		{delivery.Submission, login + "AUTH PLAIN\r\nMAIL FROM:<bob@example.org>\r\n", "503 553"},
		{delivery.Submission, login + "MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nFrom: bob@example.org\r\n\r\n.\r\n", "550"},
		{delivery.LMTP, "EHLO x\r\nLHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@elsewhere.example>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nx\x00\r\n.\r\n", "500 550 550 550"},
	} {
		w := newWorld(t)
		o := w.server(test.role).o
		o.Metrics = new(metrics.Registry)
		got := dialogue(t, w.listen(New(o), false), test.input+"QUIT\r\n")
		var codes []string
		for _, line := range strings.Split(got, "\r\n") {
			if len(line) > 3 && (line[0] == '4' || line[0] == '5') && line[3] == ' ' {
				codes = append(codes, line[:3])
			}
		}
		if strings.Join(codes, " ") != test.codes {
			t.Errorf("%q: %q, want %s", test.input, got, test.codes)
		}
		lines := 0
		for _, line := range strings.Split(w.log.String(), "\n") {
			if refusal.MatchString(line) {
				lines++
			}
		}
		if test.role == delivery.LMTP {
			lines++ // one line for a message that both recipients hear of
		}
		if lines != len(codes) {
			t.Errorf("%q: %d lines in the log for %d refusals:\n%s", test.input, lines, len(codes), w.log.String())
		}
		var page strings.Builder
		if _, err := o.Metrics.WriteTo(&page); err != nil {
			t.Fatal(err)
		}
		counted := 0
		for _, m := range regexp.MustCompile(`posthorn_smtp_refused_total\{[^}]*\} (\d+)`).FindAllStringSubmatch(page.String(), -1) {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			counted += n
		}
		if counted != len(codes) {
			t.Errorf("%q: %d refusals counted, %d sent", test.input, counted, len(codes))
		}
	}
}

var refusal = regexp.MustCompile(`level=INFO msg=(refused|"connection ended"|"login failed") .*service=(smtp|submission|lmtp) client=127\.0\.0\.1|msg="login failed" service=submission client=127\.0\.0\.1`)
