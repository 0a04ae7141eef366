package imap

import (
	"sync"
	"sync/atomic"

	"posthorn/storage"
)

// keyResets remembers the last RESETKEYs, so that sessions can tell their clients of
// those that they need to know (RFC 4467 7). A session that looks after more of them
// than are remembered takes them for its own: to tell too often is harmless.
type keyResets struct {
	count atomic.Uint64
	mu    sync.Mutex
	last  [64]keyReset // the n-th at n%64
}

type keyReset struct {
	account storage.AccountID
	mailbox storage.MailboxID // 0: all of the account
}

// note counts a reset and returns its number.
func (k *keyResets) note(account storage.AccountID, mailbox storage.MailboxID) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.count.Load() + 1
	k.last[n%uint64(len(k.last))] = keyReset{account, mailbox}
	k.count.Store(n)
	return n
}

// since tells whether a mailbox's key was reset after the n-th reset, by another
// than the one with the number own, and how many resets there are now.
func (k *keyResets) since(n, own uint64, account storage.AccountID, mailbox storage.MailboxID) (now uint64, reset bool) {
	if now = k.count.Load(); now == n {
		return now, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now = k.count.Load()
	if now-n > uint64(len(k.last)) {
		return now, true
	}
	for i := n + 1; i <= now; i++ {
		r := k.last[i%uint64(len(k.last))]
		if i != own && r.account == account && (r.mailbox == mailbox || r.mailbox == 0) {
			reset = true
		}
	}
	return now, reset
}

// tellKeyReset tells that others have reset the selected mailbox's access key.
func (s *session) tellKeyReset() {
	v := s.box
	now, reset := s.srv.resets.since(v.resets, v.ownReset, s.id.Account, v.box.ID)
	v.resets = now
	if reset {
		s.tellURLMech()
	}
}

// tellURLMech tells how URLs can be authorized, unless others may listen (RFC 4467 10).
func (s *session) tellURLMech() {
	if s.plaintextAllowed() {
		s.untagged("OK [URLMECH INTERNAL] URLs can be authorized")
	}
}
