package integration_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// imaptest is Dovecot's tester of IMAP servers. IMAPTEST_TESTS is the folder of
// its scripted tests.
func newImaptest(t *testing.T) (d *desk, scripts string) {
	t.Helper()
	d = newDesk(t, "imaptest")
	if scripts = os.Getenv("IMAPTEST_TESTS"); scripts == "" {
		scripts = "/opt/imaptest/tests"
	}
	return d, scripts
}

func (d *desk) imaptest(login, password string, args ...string) (output string, exit int) {
	d.t.Helper()
	host, port, _ := strings.Cut(d.addrs["imap"], ":")
	args = append([]string{"host=" + host, "port=" + port, "user=" + login, "pass=" + password}, args...)
	r := runProgram(d.t, d.home, "", d.program, args...)
	return r.out + r.errOut, r.exit
}

func TestImaptestScripts(t *testing.T) {
	t.Parallel()
	d, scripts := newImaptest(t)
	if _, err := os.Stat(scripts); err != nil {
		t.Skipf("skip: no scripted tests: %v", err)
	}
	output, exit := d.imaptest(bob, bobSecret, "test="+scripts)
	result := regexp.MustCompile(`(\d+) test groups: (\d+) failed, (\d+) skipped`).FindStringSubmatch(output)
	if exit != 0 || result == nil || result[2] != "0" {
		t.Fatalf("exit %d\n%s", exit, tail(output, 200))
	}
	t.Log(result[0])
	groups, _ := strconv.Atoi(result[1])
	if skipped, _ := strconv.Atoi(result[3]); groups == 0 || skipped*2 > groups {
		t.Errorf("too few groups ran: %s", result[0])
	}
}

// mbox makes what imaptest appends: plain and multipart messages of many sizes.
func mbox() string {
	var b strings.Builder
	for n := range 100 {
		token := fmt.Sprint("stress-", n)
		text := strings.ReplaceAll(string(message(token, 300*(n%20))), "\r\nFrom here", "\r\n")
		if n%3 == 0 {
			header, content, _ := strings.Cut(text, "\r\n\r\n")
			part := "--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + content + "\r\n"
			text = header + "\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" + part + part + "--x--\r\n"
		}
		b.WriteString("From sender@elsewhere.example Thu Oct  1 12:00:00 2026\r\n" + text + "\r\n")
	}
	return b.String()
}

func TestImaptestStress(t *testing.T) {
	t.Parallel()
	d, _ := newImaptest(t)
	mail := "mbox=" + d.file("mbox", mbox())
	for _, mode := range [][]string{nil, {"qresync"}} {
		output, exit := d.imaptest(bob, bobSecret, append([]string{"clients=10", "secs=10", mail}, mode...)...)
		var wrong []string
		for line := range strings.Lines(output) {
			if strings.HasPrefix(line, "Error") || strings.HasPrefix(line, "Warning") || strings.HasPrefix(line, "Panic") || strings.Contains(line, "stalled") {
				wrong = append(wrong, line)
			}
		}
		if exit != 0 || len(wrong) > 0 || !strings.Contains(output, "Totals") {
			t.Errorf("%v: exit %d, %d complaints\n%s%s", mode, exit, len(wrong),
				strings.Join(wrong[:min(len(wrong), 30)], ""), tail(output, 20))
		}
	}
}
