package storage

import (
	"context"
	"maps"
	"sync"
)

// maxRecents bounds the claims that wait to be written.
const maxRecents = 4096

// recents holds first-recent UIDs that sessions claimed and that are not in the
// mailbox's row yet: a SELECT shall not cost a write. Its zero value is ready.
type recents struct {
	mu      sync.Mutex
	claimed map[MailboxID]UID
}

func (rs *recents) note(id MailboxID, next UID) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.claimed == nil || len(rs.claimed) >= maxRecents {
		// Forgetting is allowed: a message may be \Recent once more
		// (RFC 3501 2.3.2).
		rs.claimed = map[MailboxID]UID{}
	}
	rs.claimed[id] = max(rs.claimed[id], next)
}

// of returns what was claimed of the mailbox beyond its row, or 0.
func (rs *recents) of(id MailboxID) UID {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.claimed[id]
}

// written forgets a claim that is in the row.
func (rs *recents) written(id MailboxID, next UID) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.claimed[id] == next {
		delete(rs.claimed, id)
	}
}

// saveRecents writes the claims, for a shutdown that forgets nothing.
func (s *Store) saveRecents(ctx context.Context) error {
	s.recents.mu.Lock()
	claims := maps.Clone(s.recents.claimed)
	s.recents.mu.Unlock()
	if len(claims) == 0 {
		return nil
	}
	err := s.write(ctx, "save recent marks", func(t *tx) error {
		for id, next := range claims {
			if _, err := t.exec("UPDATE mailboxes SET first_recent = max(first_recent, ?) WHERE id = ?", next, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, next := range claims {
		s.recents.written(id, next)
	}
	return nil
}
