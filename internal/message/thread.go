package message

import (
	"crypto/sha256"
	"encoding/binary"
)

// ThreadID names the conversation that a message belongs to (RFC 8474 5.2): a
// number made of the id of its first message, which is the oldest of References,
// else that of In-Reply-To, else the message's own. So a thread needs no table
// and is the same however its messages arrive; what a client cuts off References
// costs the connection. 0: the message has no id at all.
func (m *Meta) ThreadID() uint64 {
	root := m.MessageID
	switch {
	case len(m.References) > 0:
		root = m.References[0]
	case m.InReplyTo != "":
		root = m.InReplyTo
	}
	if root == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(root))
	return binary.BigEndian.Uint64(sum[:])>>1 | 1 // 63 bits: it is stored as a signed number
}
