package integration_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

const popAccount = "pop@example.org"

// retriever delivers mail to a maildrop, and deletes some of it by POP3.
type retriever struct {
	random *rand.Rand
	next   int
	there  map[string]bool   // tokens; false: its delivery was not acknowledged
	gone   map[string]bool   // deleted, and QUIT was acknowledged
	doubt  []string          // deleted by a QUIT without an answer
	uidls  map[string]string // by token, for ever
	owners map[string]string // tokens by unique-id, for ever
}

func newRetriever(random *rand.Rand) *retriever {
	return &retriever{random: random, there: map[string]bool{}, gone: map[string]bool{},
		uidls: map[string]string{}, owners: map[string]string{}}
}

func (w *retriever) work(s *server, did func()) error {
	for {
		for range 1 + w.random.IntN(4) {
			w.next++
			token := fmt.Sprintf("dropped-%d", w.next)
			w.there[token] = false
			if err := s.deliver(popAccount, message(token, size(w.next))); err != nil {
				return err
			}
			w.there[token] = true
			did()
		}
		if err := w.deleteSome(s); err != nil {
			return err
		}
		did()
	}
}

// deleteSome is a session that deletes about half of the maildrop.
func (w *retriever) deleteSome(s *server) error {
	p, err := s.dialPOP(popAccount, crashSecret)
	if err != nil {
		return err
	}
	defer p.close()
	drop, err := w.list(p)
	if err != nil {
		return err
	}
	var chosen []string
	for n, token := range drop {
		if w.random.IntN(2) == 0 {
			continue
		}
		if _, err := p.command(fmt.Sprint("DELE ", n+1)); err != nil {
			return err
		}
		chosen = append(chosen, token)
	}
	w.doubt = chosen
	if _, err := p.command("QUIT"); err != nil {
		return err
	}
	w.doubt = nil
	for _, token := range chosen {
		delete(w.there, token)
		w.gone[token] = true
	}
	return nil
}

// list reads the tokens of the maildrop in its order.
func (w *retriever) list(p *popClient) ([]string, error) {
	lines, err := p.multi("LIST")
	tokens := make([]string, len(lines))
	for n := range tokens {
		if err != nil {
			break
		}
		var head []string
		head, err = p.multi(fmt.Sprint("TOP ", n+1, " 0"))
		tokens[n] = tokenOf([]byte(strings.Join(head, "\r\n") + "\r\n"))
	}
	return tokens, err
}

func (w *retriever) verify(t *testing.T, _ *folder, s *server) {
	t.Helper()
	p, err := s.dialPOP(popAccount, crashSecret)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	drop, err := w.list(p)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for n, token := range drop {
		text, err := p.retrieve(n + 1)
		if err != nil {
			t.Fatal(err)
		}
		w.check(t, token, text, found)
	}
	w.checkUIDLs(t, p, drop)
	w.settle(t, found)
	p.must(t, "QUIT")
}

func (w *retriever) check(t *testing.T, token string, text []byte, found map[string]bool) {
	t.Helper()
	var n int
	_, err := fmt.Sscanf(token, "dropped-%d", &n)
	_, attempted := w.there[token]
	switch {
	case w.gone[token]:
		t.Errorf("%s was deleted, QUIT was acknowledged, and it is back", token)
	case err != nil || !attempted:
		t.Errorf("the maildrop has %q, which nobody sent", token)
	case found[token]:
		t.Errorf("the maildrop has %s twice", token)
	case !bytes.HasSuffix(text, message(token, size(n))):
		t.Errorf("%s has other bytes than were sent", token)
	}
	found[token] = true
}

// checkUIDLs: a unique-id stays with its message and never serves another one.
func (w *retriever) checkUIDLs(t *testing.T, p *popClient, drop []string) {
	t.Helper()
	lines, err := p.multi("UIDL")
	if err != nil || len(lines) != len(drop) {
		t.Fatalf("UIDL has %d lines for %d messages, %v", len(lines), len(drop), err)
	}
	for n, token := range drop {
		_, id, _ := strings.Cut(lines[n], " ")
		if before, known := w.uidls[token]; known && before != id {
			t.Errorf("the unique-id of %s was %s and is %s", token, before, id)
		}
		if owner, known := w.owners[id]; known && owner != token {
			t.Errorf("the unique-id %s of %s now serves %s", id, owner, token)
		}
		w.uidls[token], w.owners[id] = id, token
	}
}

// settle takes what was under way as it was found.
func (w *retriever) settle(t *testing.T, found map[string]bool) {
	t.Helper()
	missing := 0
	for _, token := range w.doubt {
		if !found[token] {
			missing++
			delete(w.there, token)
			w.gone[token] = true
		}
	}
	if missing != 0 && missing != len(w.doubt) {
		t.Errorf("a QUIT that was under way has deleted %d of %d messages", missing, len(w.doubt))
	}
	w.doubt = nil
	for token, acked := range w.there {
		switch {
		case found[token]:
			w.there[token] = true
		case acked:
			t.Errorf("%s was acknowledged by SMTP and is lost", token)
		default:
			delete(w.there, token)
		}
	}
}
