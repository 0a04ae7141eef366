package pop3

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"posthorn/internal/message"
	"posthorn/storage"
)

// measureBatch is how many headers are read at a time.
const measureBatch = 100

// measure makes the sizes those of what RETR sends (RFC 1939 11): it ends a last
// line without end, and without UTF8 sends a surrogate of a foreign header. The
// store has marked the few messages that this is about.
func (d *maildrop) measure(ctx context.Context, store *storage.Store, utf8 bool) error {
	for box, id := range d.boxes {
		var headers []*entry
		for i := range d.entries {
			switch e := &d.entries[i]; {
			case int(e.box) != box:
			case e.marks&foreign != 0 && !utf8:
				headers = append(headers, e)
			case e.marks&unended != 0:
				e.size += 2
			}
		}
		for batch := range slices.Chunk(headers, measureBatch) {
			if err := measureHeaders(ctx, store, d.account, id, batch); err != nil {
				return fmt.Errorf("measure mailbox %d: %w", id, err)
			}
		}
	}
	return nil
}

// measureHeaders makes surrogates of the headers, for their lengths.
func measureHeaders(ctx context.Context, store *storage.Store, a storage.AccountID, id storage.MailboxID, batch []*entry) error {
	uids := make([]storage.UID, len(batch))
	for i, e := range batch {
		uids[i] = e.uid
	}
	var header []byte
	var long []*entry
	rest := batch
	err := store.Contents(ctx, a, id, uids, storage.WantHeader, func(c *storage.Content) error {
		for rest[0].uid != c.UID { // that one is gone
			rest = rest[1:]
		}
		header = append(append(header[:0], c.CopyPrefix...), c.Header...)
		// What the parser kept of a header is cut where it is longer than MaxHeader,
		// and has an empty line that a message of nothing else may lack.
		if c.Size > message.MaxHeader || int64(len(header)) >= c.Size {
			long = append(long, rest[0])
			return nil
		}
		rest[0].replace(len(header), len(surrogate(header)))
		return nil
	})
	for i := 0; err == nil && i < len(long); i++ {
		err = long[i].measureLong(ctx, store, a, id)
		if errors.Is(err, storage.ErrNotFound) {
			err = nil // RETR will say so
		}
	}
	return err
}

// measureLong reads the header out of the message itself.
func (e *entry) measureLong(ctx context.Context, store *storage.Store, a storage.AccountID, id storage.MailboxID) error {
	r, err := store.OpenMessage(ctx, a, id, e.uid)
	if err != nil {
		return err
	}
	defer r.Close()
	header, err := foreignHeader(r)
	if err != nil {
		return err
	}
	if header == nil {
		e.replace(0, 0)
		return nil
	}
	e.replace(len(header), len(surrogate(header)))
	return nil
}

// replace counts what replaces the message's first octets. A surrogate ends its
// last line.
func (e *entry) replace(octets, by int) {
	if e.marks&unended != 0 && int64(octets) < e.size {
		e.size += 2
	}
	e.size += int64(by) - int64(octets)
}
