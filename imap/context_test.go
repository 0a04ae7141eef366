package imap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"posthorn/storage"
)

// keptResult is a result as a client keeps it, from ADDTO, REMOVEFROM and EXPUNGE.
type keptResult struct {
	search  string // the command without its tag
	again   string // a command that gives the result anew
	numbers []uint32
	sorted  bool
	byUID   bool
}

// watcher is a client that keeps results.
type watcher struct {
	*client
	tag     int
	results map[string]*keptResult
	log     []string
}

func (w *watcher) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.log[max(0, len(w.log)-40):], "\n"))
}

// do runs a command; all is what its own ESEARCH had as ALL.
func (w *watcher) do(command string) (tag string, all []uint32) {
	w.t.Helper()
	w.tag++
	tag = "w" + strconv.Itoa(w.tag)
	w.log = append(w.log, tag+" "+command)
	w.send("%s %s", tag, command)
	for {
		line := strings.TrimSuffix(w.expect(""), "\r\n")
		w.log = append(w.log, line)
		switch {
		case strings.HasPrefix(line, tag+" OK "):
			return tag, all
		case strings.HasPrefix(line, tag+" "):
			w.fail("refused")
		case strings.HasSuffix(line, " EXPUNGE"):
			w.expunged(strings.Fields(line)[1])
		case strings.HasPrefix(line, "* ESEARCH "):
			words := strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(line))
			if words[4] == strconv.Quote(tag) {
				if at := slices.Index(words, "ALL"); at > 0 {
					all = w.numbers(words[at+1])
				}
				continue
			}
			w.changed(w.results[strings.Trim(words[4], `"`)], words[6:])
		}
	}
}

func (w *watcher) numbers(set string) (numbers []uint32) {
	for part := range strings.SplitSeq(set, ",") {
		first, last, ranged := strings.Cut(part, ":")
		if !ranged {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || from > to {
			w.fail("bad set %q", set)
		}
		for n := from; n <= to; n++ {
			numbers = append(numbers, uint32(n))
		}
	}
	return numbers
}

// expunged moves the message numbers that the client keeps.
func (w *watcher) expunged(word string) {
	n := w.numbers(word)[0]
	for _, r := range w.results {
		if r.byUID {
			continue
		}
		for i, have := range r.numbers {
			if have == n {
				w.fail("%s still has %d", r.search, n)
			}
			if have > n {
				r.numbers[i]--
			}
		}
	}
}

// changed applies ADDTO and REMOVEFROM as RFC 5267 4.3.3 and 4.3.4 tell.
func (w *watcher) changed(r *keptResult, words []string) {
	if r == nil {
		w.fail("an update of nothing")
	}
	for i := 0; i < len(words); i++ {
		what := words[i]
		if what != "ADDTO" && what != "REMOVEFROM" {
			continue
		}
		for i += 2; words[i] != ")"; i += 2 {
			at, set := 0, w.numbers(words[i+1])
			if words[i] != "0" {
				at = int(w.numbers(words[i])[0])
			}
			if (at > 0) != r.sorted {
				w.fail("place %d in %s", at, r.search)
			}
			w.apply(r, what, at, set)
		}
	}
}

func (w *watcher) apply(r *keptResult, what string, at int, set []uint32) {
	switch {
	case what == "ADDTO" && at > 0:
		if at > len(r.numbers)+1 {
			w.fail("place %d of %d", at, len(r.numbers))
		}
		r.numbers = slices.Insert(r.numbers, at-1, set...)
	case what == "ADDTO":
		r.numbers = append(r.numbers, set...)
		slices.Sort(r.numbers)
	case at > 0:
		if at+len(set)-1 > len(r.numbers) || !slices.Equal(r.numbers[at-1:at-1+len(set)], set) {
			w.fail("not at %d of %v: %v", at, r.numbers, set)
		}
		r.numbers = slices.Delete(r.numbers, at-1, at-1+len(set))
	default:
		for _, n := range set {
			i := slices.Index(r.numbers, n)
			if i < 0 {
				w.fail("%d was not in %v", n, r.numbers)
			}
			r.numbers = slices.Delete(r.numbers, i, i+1)
		}
	}
}

// Whatever two sessions do, the results that a client keeps by the updates are
// those that a new search gives (RFC 5267 4.3).
func TestKeptResultsStayEqualToNewSearches(t *testing.T) {
	h := newHarness(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	deliver := func(n int) {
		for range n {
			if err := h.deliver("alice", "INBOX", string(rune('a'+rnd.IntN(8)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	deliver(40)
	w := &watcher{client: h.login(t, alice), results: map[string]*keptResult{}}
	other := &watcher{client: h.login(t, alice), results: map[string]*keptResult{}}
	w.do("SELECT INBOX")
	other.do("SELECT INBOX")
	for _, r := range []*keptResult{
		{search: "SEARCH RETURN (UPDATE ALL) SEEN"},
		{search: "UID SEARCH RETURN (ALL UPDATE) OR FLAGGED SUBJECT a", byUID: true},
		{search: "UID SEARCH RETURN (UPDATE ALL) KEYWORD Later NOT BODY absent", byUID: true},
		{search: "SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 UNFLAGGED", sorted: true},
		{search: "UID SORT RETURN (UPDATE ALL) (REVERSE SUBJECT ARRIVAL) UTF-8 ALL", sorted: true, byUID: true},
	} {
		r.again = strings.NewReplacer("UPDATE ", "", " UPDATE", "").Replace(r.search)
		r.sorted = strings.Contains(r.search, "SORT")
		var tag string
		tag, r.numbers = w.do(r.search)
		w.results[tag] = r
	}
	flags := []string{`\Seen`, `\Flagged`, "Later"}
	for step := range 120 {
		actor := w
		if rnd.IntN(2) == 0 {
			actor = other
		}
		low, op, flag := rnd.IntN(60)+1, "+-"[rnd.IntN(2)], flags[rnd.IntN(len(flags))]
		switch rnd.IntN(6) {
		case 0:
			deliver(1)
		case 1:
			deliver(rnd.IntN(20))
		case 2:
			actor.do(fmt.Sprintf(`UID STORE %d:%d +FLAGS.SILENT (\Deleted)`, low, low+rnd.IntN(4)))
			actor.do("EXPUNGE")
		default:
			actor.do(fmt.Sprintf("UID STORE %d:%d %cFLAGS.SILENT (%s)", low, low+rnd.IntN(20), op, flag))
		}
		if step%3 > 0 {
			w.do("FETCH 1 UID") // expunges wait, updates do not
			continue
		}
		w.do("NOOP")
		for _, r := range w.results {
			if _, now := w.do(r.again); !slices.Equal(now, r.numbers) {
				w.fail("%s\nkept %v\nis   %v", r.search, r.numbers, now)
			}
		}
	}
}

// A session keeps so many results and no more, and says so (RFC 5267 4.3.1).
func TestContextsAreBounded(t *testing.T) {
	h := newHarness(t)
	c := h.login(t, alice)
	c.send("a SELECT INBOX")
	c.until("a OK ")
	for i := range maxContexts {
		c.send("k%d SEARCH RETURN (UPDATE) SEEN", i)
		c.expect("* ESEARCH ")
		c.expect(fmt.Sprintf("k%d OK ", i))
	}
	c.send("b SEARCH RETURN (UPDATE COUNT) SEEN")
	c.expect(`* ESEARCH (TAG "b") COUNT 0`)
	c.expect(`* NO [NOUPDATE "b"] `)
	c.expect("b OK ")
	c.send(`c CANCELUPDATE "k0"`)
	c.expect("c OK ")
	c.send("d SEARCH RETURN (UPDATE) " + strings.Repeat("NOT BODY x ", maxBodyKeys-1) + "BODY y")
	c.expect("* ESEARCH ")
	c.expect("d OK ")
	c.send(`e CANCELUPDATE "k1"`)
	c.expect("e OK ")
	c.send("f SEARCH RETURN (UPDATE) BODY y") // bodies are read for 32 keys at most
	c.expect("* ESEARCH ")
	c.expect(`* NO [NOUPDATE "f"] `)
	c.expect("f OK ")
}

// A context that the store fails is ended with NOUPDATE: what the client keeps is
// no longer told changes of.
func TestFailedContextEnds(t *testing.T) {
	h := newHarness(t)
	if err := h.deliver("alice", "INBOX", "x"); err != nil {
		t.Fatal(err)
	}
	s := &session{srv: h.server, log: h.server.log, ctx: t.Context(), enabled: features{}}
	s.id.Account = h.ids["alice"]
	v := &view{uids: []storage.UID{1}, box: storage.Mailbox{ID: -1}}
	v.contexts = []*standing{{tag: "x", args: &searchArgs{program: flagKey(storage.Seen)}}}
	s.box = v
	if err := s.tellUpdates([]storage.Message{{UID: 1}}, 2); err != nil || len(v.contexts) != 0 {
		t.Errorf("%v, %d contexts", err, len(v.contexts))
	}
	if got, want := string(s.out), "* NO [NOUPDATE \"x\"] The search failed\r\n"; got != want {
		t.Errorf("%q", got)
	}
}

// Messages grow out of YOUNGER while nothing else happens to them (RFC 5032 2).
func TestContextsOfAgeAreLookedThroughAgain(t *testing.T) {
	h := newHarness(t)
	if err := h.deliver("alice", "INBOX", "x"); err != nil {
		t.Fatal(err)
	}
	s := &session{srv: h.server, log: h.server.log, ctx: t.Context()}
	s.id.Account = h.ids["alice"]
	box, err := h.store.Mailbox(t.Context(), s.id.Account, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	s.box = &view{uids: []storage.UID{1}, box: box}
	program := searchKey{kind: keyYounger, from: 1}
	x := &standing{tag: "x", args: &searchArgs{program: program}, uids: []storage.UID{1}, ages: program.ages(), checked: time.Now()}
	s.box.contexts = []*standing{x}
	if err := s.tellUpdates(nil, 2); err != nil || len(s.out) > 0 {
		t.Errorf("at once: %v, %q", err, s.out)
	}
	x.checked = x.checked.Add(-contextAge)
	if err := s.tellUpdates(nil, 2); err != nil || string(s.out) != "* ESEARCH (TAG \"x\") REMOVEFROM (0 1)\r\n" {
		t.Errorf("later: %v, %q", err, s.out)
	}
}
