package transfer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"time"

	"posthorn/storage"
)

// digest tells messages apart.
type digest [16]byte

// known are the messages that a mailbox had before an import: each of them
// stands for one message of the source that is the same.
type known struct {
	store   *storage.Store
	account storage.AccountID
	mailbox storage.MailboxID
	entries []entry // by date, then by UID
}

type entry struct {
	received int64 // seconds since 1970
	size     int64
	uid      storage.UID
	taken    bool
	summed   bool
	sum      digest
	skip     int32 // of the first entry of a date: so many at its start are taken
}

func loadKnown(ctx context.Context, store *storage.Store, a storage.AccountID, id storage.MailboxID) (*known, error) {
	k := &known{store: store, account: a, mailbox: id}
	snap, err := store.Select(ctx, a, id, true)
	if err != nil {
		return nil, err
	}
	k.entries = make([]entry, 0, len(snap.UIDs))
	var page []storage.Message
	for uids := range slices.Chunk(snap.UIDs, 4096) {
		if page, err = store.Messages(ctx, a, id, uids, page[:0]); err != nil {
			return nil, err
		}
		for _, m := range page {
			if !m.Expunged {
				k.entries = append(k.entries, entry{received: m.Received, size: m.Size, uid: m.UID})
			}
		}
	}
	slices.SortFunc(k.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.received, b.received), cmp.Compare(a.uid, b.uid))
	})
	return k, nil
}

// dated are the entries of a date that may not be taken.
func (k *known) dated(received time.Time) []entry {
	at, found := slices.BinarySearchFunc(k.entries, received.Unix(), func(e entry, t int64) int { return cmp.Compare(e.received, t) })
	if !found {
		return nil
	}
	end := at
	for end < len(k.entries) && k.entries[end].received == k.entries[at].received {
		end++
	}
	first := &k.entries[at]
	for at+int(first.skip) < end && k.entries[at+int(first.skip)].taken {
		first.skip++
	}
	return k.entries[at+int(first.skip) : end]
}

// take finds a message that is the same and not taken yet, and takes it.
func (k *known) take(ctx context.Context, received time.Time, size int64, sum digest) (bool, error) {
	same := k.dated(received)
	for i := range same {
		e := &same[i]
		if e.taken || e.size != size {
			continue
		}
		if err := k.sum(ctx, e); err != nil {
			return false, err
		}
		if e.summed && e.sum == sum {
			e.taken = true
			return true, nil
		}
	}
	return false, nil
}

// sum reads the entry's message; one that is gone or damaged is like no other.
func (k *known) sum(ctx context.Context, e *entry) error {
	if e.summed {
		return nil
	}
	m, err := k.store.OpenMessage(ctx, k.account, k.mailbox, e.uid)
	if err == nil {
		sum := summing{w: io.Discard, hash: sha256.New()}
		err = eachChunk(m, func(b []byte) error {
			_, err := sum.Write(b)
			return err
		})
		m.Close()
		e.sum, e.summed = sum.digest(), err == nil
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrDamaged) {
		e.taken = true
		return nil
	}
	return err
}

// eachChunk gives fn all octets of a message in turn.
func eachChunk(m *storage.MessageReader, fn func([]byte) error) error {
	for off := int64(0); ; {
		b, err := m.Chunk(off)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(b); err != nil {
			return err
		}
		off += int64(len(b))
	}
}
