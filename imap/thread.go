package imap

import (
	"strconv"

	"posthorn/internal/message"
	"posthorn/storage"
)

// threading is an algorithm of THREAD.
type threading uint8

const (
	byOrderedSubject threading = iota // RFC 5256 4: ORDEREDSUBJECT
	byReferences                      // RFC 5256 4: REFERENCES
	byRefs                            // references alone; the latest thread last
)

// thread answers THREAD and UID THREAD (RFC 5256 4).
func (s *session) thread(c *call) error {
	algorithm, a, err := s.readThread()
	if err != nil {
		return err
	}
	hits, err := s.find(c, a)
	if err != nil {
		return err
	}
	t := newThreader(len(hits))
	err = s.eachMeta(hits, s.progress("Still threading", len(hits)), func(i int, m *storage.Message, meta *message.Meta) {
		t.messages = append(t.messages, threadMessage{
			id: hits[i].id(c), sent: sentDate(m, meta), received: m.Received,
			subject: meta.Subject, reply: meta.Reply,
		})
		if algorithm != byOrderedSubject {
			t.link(meta)
		}
	})
	if err != nil {
		return err
	}
	switch algorithm {
	case byOrderedSubject:
		t.orderedSubject()
	case byReferences:
		t.references(true)
	default:
		t.references(false)
	}
	return s.tellThreads(t)
}

func (s *session) readThread() (threading, *searchArgs, error) {
	if err := s.rd.SP(); err != nil {
		return 0, nil, err
	}
	name, err := s.rd.Keyword()
	if err != nil {
		return 0, nil, err
	}
	var algorithm threading
	switch string(name) {
	case "ORDEREDSUBJECT":
		algorithm = byOrderedSubject
	case "REFERENCES":
		algorithm = byReferences
	case "REFS":
		algorithm = byRefs
	default:
		return 0, nil, badSyntax("Unknown threading algorithm")
	}
	a := new(searchArgs)
	return algorithm, a, s.readCharsetProgram(a)
}

// tellThreads writes the forest (RFC 5256 5: thread).
func (s *session) tellThreads(t *threader) error {
	s.out = append(s.out, "* THREAD"...)
	for i, root := range t.roots {
		if i == 0 {
			s.out = append(s.out, ' ')
		}
		s.out = t.append(s.out, root)
		if err := s.flushFull(); err != nil {
			return err
		}
	}
	s.out = append(s.out, '\r', '\n')
	return nil
}

// append writes one thread: its numbers in a row while each has one child, and
// each of several children in parentheses of its own. It keeps its own stack,
// since a thread can be as deep as the mailbox is large.
func (t *threader) append(dst []byte, root int) []byte {
	const closing = -1
	stack := []int{root}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n == closing {
			dst = append(dst, ')')
			continue
		}
		dst = append(dst, '(')
		for {
			if m := t.nodes[n].message; m >= 0 {
				if dst[len(dst)-1] != '(' {
					dst = append(dst, ' ')
				}
				dst = strconv.AppendUint(dst, uint64(t.messages[m].id), 10)
			}
			kids := t.nodes[n].kids
			if len(kids) == 1 {
				n = kids[0]
				continue
			}
			if len(kids) > 1 && t.nodes[n].message >= 0 {
				dst = append(dst, ' ')
			}
			stack = append(stack, closing)
			for i := len(kids) - 1; i >= 0; i-- {
				stack = append(stack, kids[i])
			}
			break
		}
	}
	return dst
}
