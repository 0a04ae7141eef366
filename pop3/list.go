package pop3

import (
	"errors"
	"strconv"

	"posthorn/storage"
)

// stat answers STAT (RFC 1939 5): deleted messages do not count.
func (s *session) stat(rest []byte) error {
	if err := none(rest); err != nil {
		return err
	}
	s.begin()
	s.out = append(s.out, "+OK "...)
	s.out = appendPair(s.out, int64(s.drop.count), s.drop.octets)
	return nil
}

// list answers LIST (RFC 1939 5).
func (s *session) list(rest []byte) error {
	n, e, err := s.optionalMessage(rest)
	if err != nil {
		return err
	}
	if e != nil {
		s.begin()
		s.out = append(s.out, "+OK "...)
		s.out = appendPair(s.out, n, e.size)
		return nil
	}
	s.okCounts()
	for i := range s.drop.entries {
		e := &s.drop.entries[i]
		if e.marks&deleted != 0 {
			continue
		}
		s.out = appendPair(s.out, int64(i+1), e.size)
		if err := s.pushFull(); err != nil {
			return err
		}
	}
	s.out = append(s.out, '.', '\r', '\n')
	return nil
}

// uidl answers UIDL (RFC 1939 7).
func (s *session) uidl(rest []byte) error {
	n, e, err := s.optionalMessage(rest)
	if err != nil {
		return err
	}
	if e != nil {
		ids, err := s.uniqueIDs(int(e.box), []storage.UID{e.uid})
		if err != nil {
			return err
		}
		s.begin()
		s.out = append(s.out, "+OK "...)
		s.out = appendUIDL(s.out, n, ids[0])
		return nil
	}
	return s.uidlAll()
}

// uidlAll lists the unique-ids in batches: the store is asked before each part
// of the answer is written, and nothing of it is open meanwhile.
func (s *session) uidlAll() error {
	entries := s.drop.entries
	uids := make([]storage.UID, 0, min(readBatch, len(entries)))
	begun := false
	for at := 0; at < len(entries); {
		from, box := at, entries[at].box
		uids = uids[:0]
		for ; at < len(entries) && entries[at].box == box && len(uids) < readBatch; at++ {
			if entries[at].marks&deleted == 0 {
				uids = append(uids, entries[at].uid)
			}
		}
		ids, err := s.uniqueIDs(int(box), uids)
		if err != nil {
			return s.midway(begun, "UIDL", err)
		}
		if !begun {
			s.okCounts()
			begun = true
		}
		for i := from; i < at; i++ {
			if entries[i].marks&deleted != 0 {
				continue
			}
			s.out = appendUIDL(s.out, int64(i+1), ids[0])
			ids = ids[1:]
			if err := s.pushFull(); err != nil {
				return err
			}
		}
	}
	if !begun {
		s.okCounts()
	}
	s.out = append(s.out, '.', '\r', '\n')
	return nil
}

// uniqueIDs are the messages' ids. Before the first ones are told, the store
// sees to it that all differ: mail may have been imported with its ids.
func (s *session) uniqueIDs(box int, uids []storage.UID) ([]string, error) {
	if !s.drop.parted {
		err := s.srv.o.Store.SeparateUIDLs(s.ctx, s.drop.account, s.drop.boxes)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
		s.drop.parted = true
	}
	return s.srv.o.Store.UIDLs(s.ctx, s.drop.account, s.drop.boxes[box], uids)
}

// midway is the end of a command whose answer has begun: only closing the
// connection tells the client that the rest is missing.
func (s *session) midway(begun bool, command string, err error) error {
	if !begun {
		return err
	}
	s.log.Error("the answer broke off", "command", command, "err", err)
	s.out = s.out[:0]
	return s.end("fault")
}

// appendPair appends "a b" and a line end.
func appendPair(dst []byte, a, b int64) []byte {
	dst = strconv.AppendInt(dst, a, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, b, 10)
	return append(dst, '\r', '\n')
}

func appendUIDL(dst []byte, n int64, id string) []byte {
	dst = strconv.AppendInt(dst, n, 10)
	dst = append(dst, ' ')
	dst = append(dst, id...)
	return append(dst, '\r', '\n')
}

// optionalMessage reads the one argument that LIST and UIDL may have; e is nil
// without it.
func (s *session) optionalMessage(rest []byte) (n int64, e *entry, err error) {
	if fields(rest, nil) == 0 {
		return 0, nil, nil
	}
	return s.oneMessage(rest)
}

// oneMessage reads the one argument of a command: a message's number.
func (s *session) oneMessage(rest []byte) (n int64, e *entry, err error) {
	var args [1][]byte
	if fields(rest, args[:]) != 1 {
		return 0, nil, bad("Give one message number")
	}
	return s.numbered(args[0])
}

func (s *session) numbered(arg []byte) (n int64, e *entry, err error) {
	n, ok := number(arg)
	if !ok {
		return 0, nil, bad("That is not a message number")
	}
	e, err = s.drop.message(n)
	return n, e, err
}
