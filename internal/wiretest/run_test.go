package wiretest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// toy is a server of a line protocol with just enough verbs for the language.
type toy struct {
	release chan string
	tls     *tls.Config
}

func newEnv(t *testing.T) Env {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	server := &toy{release: make(chan string, 1), tls: toyTLS(t)}
	services := make(chan string, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go server.serve(c, <-services)
		}
	}()
	return Env{
		Dial: func(service string) (net.Conn, error) {
			services <- service
			return net.Dial("tcp", ln.Addr().String())
		},
		Vars: map[string]string{"greeting": "hello from the test", "empty": ""},
		Calls: map[string]func([]string) error{
			"release": func(args []string) error {
				server.release <- strings.Join(args, " ")
				return nil
			},
			"fail": func([]string) error { return io.ErrNoProgress },
		},
		Timeout: 10 * time.Second,
	}
}

func toyTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func (s *toy) serve(c net.Conn, service string) {
	defer func() { _ = c.Close() }()
	if service == "" {
		service = "world"
	}
	fmt.Fprintf(c, "* hello %s\r\n", service)
	reader := bufio.NewReader(c)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), " ")
		n, _ := strconv.Atoi(rest)
		switch word {
		case "echo":
			fmt.Fprintf(c, "%s\r\n", rest)
		case "lines":
			for i := range n {
				fmt.Fprintf(c, "line %d\r\n", i+1)
			}
		case "octets":
			fmt.Fprintf(c, "{%d}\r\n", n)
			_, _ = io.CopyN(c, reader, int64(n))
			fmt.Fprint(c, ")\r\n")
		case "bare":
			fmt.Fprint(c, "bare\n")
		case "wait":
			fmt.Fprintf(c, "released %s\r\n", <-s.release)
		case "starttls":
			fmt.Fprintf(c, "ready\r\n%s", rest)
			c = tls.Server(c, s.tls)
			reader = bufio.NewReader(c)
		case "quit":
			return
		}
	}
}

func TestTranscriptsPlay(t *testing.T) {
	RunDir(t, "testdata/*.txt", newEnv)
}

// A runner that lets a wrong server pass is worse than none, so each way to
// fail has its row.
func TestDeparturesFailWithPlaceAndReason(t *testing.T) {
	const greeted = "connect 1\nS: <any>\n"
	for _, tt := range []struct {
		name, script string
		want         []string
	}{
		{"other line", greeted + "C: echo a\nS: b", []string{"t.txt:4:", "expected: b", "got:      a", "C echo a"}},
		{"prefix is not enough", greeted + "C: echo abc\nS: ab", []string{"got:      abc"}},
		{"dot is a dot", greeted + "C: echo abc\nS: a.c", []string{"got:      abc"}},
		{"capture keeps its type", greeted + "C: echo abc\nS: <id=\\d+>", []string{"got:      abc"}},
		{"captured value differs", greeted + "C: echo 1\nS: <id=\\d+>\nC: echo 2\nS: ${id}", []string{"expected: 1", "got:      2"}},
		{"silence", greeted + "C: nothing\nS: a", []string{"nothing more within"}},
		{"closed", greeted + "C: quit\nS: a", []string{"the server closed"}},
		{"bare LF", greeted + "C: bare\nS: bare", []string{"bare LF"}},
		{"group lacks one", greeted + "C: lines 2\nS*: line 1\nS*: line 3", []string{"in any order", "in no place: line 2"}},
		{"group needs each once", greeted + "C: lines 2\nS*: line 1\nS*: line 1", []string{"in no place: line 2"}},
		{"skip ends", greeted + "C: lines 10001\nS...: never", []string{"10000 other lines"}},
		{"octets", greeted + "C: echo abc\nS~: abd", []string{`got:      "abc"`}},
		{"still open", greeted + "expect-close 1", []string{"still open"}},
		{"more than a close", greeted + "C~: echo a\\r\\nquit\\r\\n\nexpect-close 1", []string{`got:      "a`}},
		{"not quiet", greeted + "C: echo a\nquiet 1 5s", []string{"expected: nothing", `"a\r\n"`}},
		{"plain text before TLS", greeted + "C: starttls injected\nS: ready\nsleep 20ms\ntls 1", []string{"in the clear"}},
		{"hook fails", "call fail", []string{"call fail: ", io.ErrNoProgress.Error()}},
		{"no hook", "call nobody", []string{`no call "nobody"`}},
		{"unknown variable", greeted + "C: ${nobody}", []string{`no variable "nobody"`}},
		{"connection not open", "C2: a", []string{"connection 2 is not open"}},
		{"connection twice", "connect 1\nconnect 1", []string{"already open"}},
		{"not a step", "# fine\n\nhello", []string{"t.txt:3: not a step"}},
		{"not a client step", "C*: a", []string{"not a step"}},
		{"bad duration", "sleep soon", []string{"soon"}},
		{"bad escape", greeted + `C~: \q`, []string{"not an escape"}},
		{"bad expression", greeted + "C: echo a\nS: <re:(>", []string{"missing closing"}},
		{"open block", "C<<END\nhello", []string{"no line that says END"}},
		{"open quote", `call fail "a`, []string{"quote is open"}},
		{"no such file", "let a @missing.eml", []string{"missing.eml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := newEnv(t)
			if waits := tt.name == "silence" || tt.name == "still open"; waits {
				env.Timeout = 300 * time.Millisecond
			}
			err := play("t.txt", tt.script+"\n", env)
			if err == nil {
				t.Fatal("the transcript passed")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("message lacks %q:\n%v", want, err)
				}
			}
		})
	}
}
