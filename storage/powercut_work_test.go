//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// simNote is what the workload says of an operation: once before it, and once
// when it is acknowledged. An operation puts values under keys, all or none;
// a nil value is the key's absence.
type simNote struct {
	Op   int
	Done bool
	Puts map[string]*simValue
}

// simValue is a message's; of an account ("account/N") or a queued message
// ("queue/TOKEN") only the key counts. Messages have the key "N/TOKEN".
type simValue struct {
	Box      string `json:",omitempty"`
	UID      UID    `json:",omitempty"` // 0: not known
	Validity uint32 `json:",omitempty"` // 0: not known
	Flags    Flags  `json:",omitempty"`
	Seed     uint64 `json:",omitempty"`
	Size     int    `json:",omitempty"`
	Copy     bool   `json:",omitempty"` // came by Accept, and has prefixes
}

const (
	simAccounts = 3
	simWorkers  = 6
	simReceived = "Received: from somewhere\r\n"
)

func simAddress(account int) string { return fmt.Sprintf("a%d@example.org", account) }

func messageKey(account int, token string) string { return fmt.Sprintf("%d/%s", account, token) }

func simHeader(token string) string { return "X-Token: " + token + "\r\n\r\n" }

func simPrefix(token string) []byte { return []byte("Delivered-To: " + token + "\r\n") }

// body is the message as it was handed over.
func (v *simValue) body(token string) []byte {
	return append([]byte(simHeader(token)), testBody(v.Seed, v.Size)...)
}

// whole is the message as it is read.
func (v *simValue) whole(token string) []byte {
	if !v.Copy {
		return v.body(token)
	}
	return append(append(simPrefix(token), simReceived...), v.body(token)...)
}

// TestCrashWorkload is not a test by itself: the recording runs it in a process
// of its own.
func TestCrashWorkload(t *testing.T) {
	dir := os.Getenv("POSTHORN_CRASH_DIR")
	if dir == "" {
		t.Skip("the power-cut test runs this under strace")
	}
	seed, _ := strconv.ParseUint(os.Getenv("POSTHORN_CRASH_SEED"), 10, 64)
	rounds, _ := strconv.Atoi(os.Getenv("POSTHORN_CRASH_OPS"))
	notes, err := os.OpenFile(os.Getenv("POSTHORN_CRASH_NOTES"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer notes.Close()
	w := &simWork{t: t, notes: notes}
	o := quiet()
	o.Retention, o.CompressAfter = time.Second, time.Nanosecond // the sweeper works too
	o.unsynced = os.Getenv("POSTHORN_CRASH_UNSYNCED") != ""
	for life := range 2 { // the second one finds what the first one closed
		if w.s, err = Open(dir, o); err != nil {
			t.Fatal(err)
		}
		if life == 0 {
			w.makeAccounts()
		} else {
			w.findAccounts()
			rounds = max(1, rounds/4)
		}
		var wg sync.WaitGroup
		for n := range simWorkers {
			u := &simUser{simWork: w, account: n % simAccounts, name: fmt.Sprintf("life%d-user%d", life, n),
				r: rand.New(rand.NewPCG(seed, uint64(life*100+n)))}
			wg.Go(func() {
				for range rounds {
					u.act()
				}
			})
		}
		stop := w.sweepMeanwhile()
		wg.Wait()
		stop()
		if err := w.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// sweepMeanwhile frees and compresses while there is other work, for which the
// sweeper by itself would wait longer.
func (w *simWork) sweepMeanwhile() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if _, err := w.s.sweeper.step(context.Background()); err != nil {
				w.t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-ended }
}

// simWork is the workload in its process.
type simWork struct {
	t        *testing.T
	s        *Store
	accounts [simAccounts]AccountID
	boxes    [simAccounts]map[string]MailboxID

	mu    sync.Mutex
	notes *os.File
	ops   int
}

// note writes a line at once, so that its place in the recording is when it
// was said.
func (w *simWork) note(n simNote) {
	line, err := json.Marshal(n)
	if err == nil {
		_, err = w.notes.Write(line)
	}
	if err != nil {
		w.t.Error(err)
	}
}

// do runs an operation between its two notes; it returns what became of the
// puts, when more is known then.
func (w *simWork) do(puts map[string]*simValue, run func() error) {
	w.mu.Lock()
	w.ops++
	op := w.ops
	w.mu.Unlock()
	w.note(simNote{Op: op, Puts: puts})
	if err := run(); err != nil {
		w.t.Error(err)
		return
	}
	w.note(simNote{Op: op, Done: true, Puts: puts})
}

func (w *simWork) makeAccounts() {
	ctx := context.Background()
	if err := w.s.CreateDomain(ctx, "example.org"); err != nil {
		w.t.Fatal(err)
	}
	for i := range simAccounts {
		w.do(map[string]*simValue{fmt.Sprintf("account/%d", i): {}}, func() error {
			a, err := w.s.CreateAccount(ctx, simAddress(i), Secrets{}, DefaultMailboxes())
			w.accounts[i] = a.ID
			return err
		})
	}
	w.findAccounts()
}

func (w *simWork) findAccounts() {
	for i := range simAccounts {
		a, err := w.s.AccountByAddress(context.Background(), simAddress(i))
		if err != nil {
			w.t.Fatal(err)
		}
		boxes, err := w.s.Mailboxes(context.Background(), a.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		w.accounts[i], w.boxes[i] = a.ID, map[string]MailboxID{}
		for _, b := range boxes {
			w.boxes[i][b.Name] = b.ID
		}
	}
}

// simUser works alone on its messages, one operation after the other.
type simUser struct {
	*simWork
	account int
	name    string
	r       *rand.Rand
	serial  int
	mine    []string // tokens
	values  []*simValue
}

func (u *simUser) act() {
	switch n := u.r.IntN(20); {
	case n < 6:
		u.accept(false)
	case n < 7:
		u.accept(true)
	case n < 10:
		u.append(1 + u.r.IntN(3))
	case n < 11:
		g := testStage(u.t, u.s, testBody(u.r.Uint64(), 2*chunkSize+100))
		g.Discard() // a sender that went away
	case n < 15:
		u.store()
	case n < 18:
		u.move()
	default:
		u.expunge()
	}
}

// fresh is a message that there was not before.
func (u *simUser) fresh() (token string, v *simValue) {
	u.serial++
	v = &simValue{Seed: u.r.Uint64(), Size: 100 + u.r.IntN(6000)}
	if u.r.IntN(10) == 0 {
		v.Size = chunkSize/2 + u.r.IntN(3*chunkSize/2)
	}
	return fmt.Sprintf("%s-%d", u.name, u.serial), v
}

// accept delivers to this account, or to all and to somebody elsewhere.
func (u *simUser) accept(wide bool) {
	token, v := u.fresh()
	v.Box, v.Copy = "INBOX", true
	puts := map[string]*simValue{messageKey(u.account, token): v}
	m := Acceptance{QueueID: token, Prefix: []byte(simReceived), Parsed: parsedOf(simReceived + simHeader(token)),
		Copies: []Copy{{Account: u.accounts[u.account], Prefix: simPrefix(token)}}}
	if wide {
		m.Hops = []Hop{{Recipient: "x@elsewhere.example"}}
		puts["queue/"+token] = &simValue{}
		for i := range simAccounts {
			if i != u.account {
				m.Copies = append(m.Copies, Copy{Account: u.accounts[i], Prefix: simPrefix(token)})
				puts[messageKey(i, token)] = v
			}
		}
	}
	m.Stage = testStage(u.t, u.s, v.body(token))
	defer m.Stage.Discard()
	u.do(puts, func() error { return u.s.Accept(context.Background(), m) })
	// A client would find its UID by listing the mailbox.
	known := *v
	u.do(map[string]*simValue{messageKey(u.account, token): &known}, func() error {
		return u.s.read(context.Background(), "test", func(r *reader) error {
			return r.queryRow("SELECT m.uid, b.uidvalidity FROM messages m JOIN mailboxes b ON b.id = m.mailbox WHERE mailbox = ? AND prefix = ?",
				u.boxes[u.account]["INBOX"], simPrefix(token)).scan(&known.UID, &known.Validity)
		})
	})
	u.mine, u.values = append(u.mine, token), append(u.values, &known)
}

func (u *simUser) append(n int) {
	puts := map[string]*simValue{}
	var msgs []NewMessage
	var fresh []*simValue
	for range n {
		token, v := u.fresh()
		v.Box, v.Flags = "Archive", Seen
		g := testStage(u.t, u.s, v.body(token))
		defer g.Discard()
		msgs = append(msgs, NewMessage{Stage: g, Parsed: parsedOf(simHeader(token)), Flags: v.Flags})
		puts[messageKey(u.account, token)] = v
		u.mine, fresh = append(u.mine, token), append(fresh, v)
	}
	u.values = append(u.values, fresh...)
	u.do(puts, func() error {
		done, err := u.s.Append(context.Background(), u.accounts[u.account], u.boxes[u.account]["Archive"], msgs)
		for i, uid := range done.UIDs {
			fresh[i].UID, fresh[i].Validity = uid, done.UIDValidity
		}
		return err
	})
}

// pick takes up to n of this user's messages that are in one mailbox,
// ascending by UID; after is what is to become of each.
func (u *simUser) pick(n int, change func(v *simValue) *simValue) (box string, uids []UID, puts map[string]*simValue, at []int) {
	puts = map[string]*simValue{}
	var offsets []int
	if len(u.mine) > 0 {
		offsets = u.r.Perm(len(u.mine))
	}
	for _, i := range offsets {
		v := u.values[i]
		if v == nil || box != "" && v.Box != box || len(uids) == n || len(uids) > 0 && v.UID < uids[len(uids)-1] {
			continue
		}
		box = v.Box
		uids, at = append(uids, v.UID), append(at, i)
		after := change(v)
		u.values[i] = after
		puts[messageKey(u.account, u.mine[i])] = after
	}
	return box, uids, puts, at
}

func (u *simUser) store() {
	c := FlagChange{Op: FlagOp(u.r.IntN(3)), Flags: Flags(u.r.Uint32()) & SystemFlags}
	edit := editOf(&c, 0)
	box, uids, puts, _ := u.pick(1+u.r.IntN(5), func(v *simValue) *simValue {
		after := *v
		after.Flags = v.Flags&^edit.clear | edit.set
		return &after
	})
	if len(uids) == 0 {
		return
	}
	u.do(puts, func() error {
		_, err := u.s.ChangeFlags(context.Background(), u.accounts[u.account], u.boxes[u.account][box], uids, c)
		return err
	})
}

func (u *simUser) move() {
	var to string
	box, uids, puts, at := u.pick(1+u.r.IntN(3), func(v *simValue) *simValue {
		after := *v
		to = map[string]string{"INBOX": "Archive", "Archive": "INBOX"}[v.Box]
		after.Box, after.UID, after.Validity = to, 0, 0
		return &after
	})
	if len(uids) == 0 {
		return
	}
	u.do(puts, func() error {
		done, err := u.s.MoveMessages(context.Background(), u.accounts[u.account], u.boxes[u.account][box], uids, u.boxes[u.account][to])
		if err == nil && len(done.To) != len(uids) {
			err = errors.New("a message to move was not there")
		}
		for i, uid := range done.To {
			u.values[at[i]].UID, u.values[at[i]].Validity = uid, done.UIDValidity
		}
		return err
	})
}

func (u *simUser) expunge() {
	box, uids, puts, _ := u.pick(1+u.r.IntN(3), func(*simValue) *simValue { return nil })
	if len(uids) == 0 {
		return
	}
	u.do(puts, func() error {
		gone, err := u.s.Expunge(context.Background(), u.accounts[u.account], u.boxes[u.account][box], uids, false)
		if err == nil && len(gone) != len(uids) {
			err = errors.New("a message to expunge was not there")
		}
		return err
	})
}

// tokenOf finds the token in a message's bytes.
func tokenOf(b []byte) string {
	_, rest, _ := strings.Cut(string(b[:min(len(b), 300)]), "X-Token: ")
	token, _, _ := strings.Cut(rest, "\r\n")
	return token
}
