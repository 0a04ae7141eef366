package imap

import (
	"posthorn/imap/wire"
	"posthorn/storage"
)

// annotationNews is what a session with ENABLE METADATA knows of the account's
// annotations: what others change it is told unasked (RFC 5464 4.4).
type annotationNews struct {
	watch *storage.Watch
	mark  storage.ModSeq // changes up to here were told
	own   storage.ModSeq // this session's last change, which it is not told of
	look  bool           // there may be news without a nudge
}

// enableMetadata begins to watch the account's annotations.
func (s *session) enableMetadata() error {
	// The watch comes first: what happens after the mark is heard of.
	watch := s.srv.o.Store.WatchAccount(s.id.Account)
	_, mark, err := s.srv.o.Store.MetadataChanges(s.ctx, s.id.Account, maxModSeq)
	if err != nil {
		watch.Close()
		return err
	}
	s.annotations = &annotationNews{watch: watch, mark: mark}
	return nil
}

// maxModSeq is above every ModSeq (RFC 7162 7: 63 bits).
const maxModSeq = 1<<63 - 1

// endMetadata ends the watch.
func (s *session) endMetadata() {
	if s.annotations != nil {
		s.annotations.watch.Close()
		s.annotations = nil
	}
}

// tellAnnotations names the entries that others have changed, of a mailbox in one
// response, after ENABLE METADATA.
func (s *session) tellAnnotations() error {
	x := s.annotations
	if x == nil || s.notifier != nil {
		return nil // NOTIFY says what is told, once it was used (RFC 5465 3.1)
	}
	select {
	case <-x.watch.C:
	default:
		if !x.look {
			return nil
		}
	}
	x.look = false
	changes, now, err := s.srv.o.Store.MetadataChanges(s.ctx, s.id.Account, x.mark)
	if err != nil {
		x.look = true
		return err
	}
	x.mark = max(x.mark, now)
	return s.tellEntries(changes, func(c *storage.AnnotationChange) bool { return c.ModSeq != x.own })
}

// tellEntries names those of the changed entries that the session is to hear of.
func (s *session) tellEntries(changes []storage.AnnotationChange, wanted func(*storage.AnnotationChange) bool) error {
	open := false
	last := storage.MailboxID(0)
	for i := range changes {
		c := &changes[i]
		if !wanted(c) {
			continue
		}
		if !open || c.Mailbox != last || len(s.out) >= flushSize {
			if open {
				s.out = append(s.out, '\r', '\n')
			}
			if err := s.flushFull(); err != nil {
				return err
			}
			s.out = append(s.out, "* METADATA "...)
			s.out = appendAnnotatedName(s.out, c.Name, s.enabled.utf8)
			open, last = true, c.Mailbox
		}
		s.out = append(s.out, ' ')
		s.out = wire.AppendAString(s.out, c.Entry, false)
	}
	if open {
		s.out = append(s.out, '\r', '\n')
	}
	return nil
}
