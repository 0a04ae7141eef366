package imap

import (
	"cmp"
	"slices"

	"posthorn/internal/message"
)

// maxAncestors bounds the search for a loop: a link below so many ancestors is
// left out like one that closes a loop. Once all searches together took
// patientSteps, fewAncestors is the bound: no conversation is so deep, and mail
// made to be must not cost the square of the mailbox's size.
const (
	maxAncestors = 2000
	fewAncestors = 50
	patientSteps = 10 << 20
)

// maxMissing bounds the ids that are referred to and not there, for each message
// and beside.
const maxMissing, moreMissing = 2, 10_000

// none is no node and no message.
const none = -1

// threadMessage is a message that is to be threaded.
type threadMessage struct {
	id             uint32 // as the client knows it
	sent, received int64
	subject        string // base subject
	reply          bool
}

// threadNode is a message or, without one, a place that references speak of.
type threadNode struct {
	message int // in threader.messages
	parent  int
	kids    []int
	gone    bool // taken out of the forest
}

// threader makes a forest of messages.
type threader struct {
	messages []threadMessage
	nodes    []threadNode
	roots    []int

	byID    map[string]int // nodes by Message-ID
	missing int            // ids that may still be noted
	steps   int            // spent in search of loops
}

func newThreader(messages int) *threader {
	return &threader{
		messages: make([]threadMessage, 0, messages),
		byID:     make(map[string]int, messages),
		missing:  messages*maxMissing + moreMissing,
	}
}

func (t *threader) add(message int) int {
	t.nodes = append(t.nodes, threadNode{message: message, parent: none})
	return len(t.nodes) - 1
}

// orderedSubject makes a thread of the messages with one base subject, all of
// them children of the earliest (RFC 5256 4: ORDEREDSUBJECT).
func (t *threader) orderedSubject() {
	order := make([]int, len(t.messages))
	for i := range t.messages {
		order[i] = t.add(i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &t.messages[a], &t.messages[b]
		if c := cmp.Compare(x.subject, y.subject); c != 0 {
			return c
		}
		return cmp.Compare(x.sent, y.sent)
	})
	for i, n := range order {
		if i > 0 && t.messages[t.roots[len(t.roots)-1]].subject == t.messages[n].subject {
			root := t.roots[len(t.roots)-1]
			t.nodes[root].kids = append(t.nodes[root].kids, n)
			t.nodes[n].parent = root
			continue
		}
		t.roots = append(t.roots, n)
	}
	t.sortBySent(t.roots)
}

// references makes threads of the linked messages (RFC 5256 4: REFERENCES).
// With subjects, threads of one subject are joined (its step 5); without, they
// stay apart and stand in the order of their latest arrival, as REFS has it.
func (t *threader) references(subjects bool) {
	t.gather()
	t.prune()
	if subjects {
		t.sortBySent(t.roots)
		t.joinSubjects()
	}
	t.sortKids()
	if subjects {
		t.sortBySent(t.roots)
		return
	}
	latest := t.latest()
	slices.SortStableFunc(t.roots, func(a, b int) int { return cmp.Compare(latest[a], latest[b]) })
}

// link is step 1 for the message that was added last: its node, and its place
// below those that it refers to.
func (t *threader) link(meta *message.Meta) {
	at := len(t.messages) - 1
	own := none
	if meta.MessageID != "" {
		own = t.node(meta.MessageID, true)
	}
	if own != none && t.nodes[own].message == none {
		t.nodes[own].message = at
	} else { // no id, or one that is taken
		own = t.add(at)
	}
	refs := meta.References
	if len(refs) == 0 && meta.InReplyTo != "" {
		refs = []string{meta.InReplyTo}
	}
	last := none
	for _, id := range refs {
		n := t.node(id, false)
		if n == none {
			continue
		}
		if last != none && t.nodes[n].parent == none {
			t.setParent(n, last)
		}
		last = n
	}
	if t.nodes[own].parent != last {
		// The message knows best: another's word for its parent counts no more,
		// even if its own would make a loop.
		t.nodes[own].parent = none
		t.setParent(own, last)
	}
}

// node is the node of an id; none if the id is new and there are too many that
// are only referred to.
func (t *threader) node(id string, there bool) int {
	n, ok := t.byID[id]
	if ok {
		return n
	}
	if !there {
		if t.missing == 0 {
			return none
		}
		t.missing--
	}
	n = t.add(none)
	t.byID[id] = n
	return n
}

// setParent puts n below parent, none for nowhere, unless that makes a loop.
// Kids are gathered afterwards.
func (t *threader) setParent(n, parent int) {
	most := maxAncestors
	if t.steps > patientSteps {
		most = fewAncestors
	}
	steps := 0
	for p := parent; p != none; p = t.nodes[p].parent {
		if steps++; p == n || steps > most {
			t.steps += steps
			return
		}
	}
	t.steps += steps
	t.nodes[n].parent = parent
}

// gather is step 2: kids, and the roots of all threads, in the order of nodes.
func (t *threader) gather() {
	for n := range t.nodes {
		if p := t.nodes[n].parent; p != none {
			t.nodes[p].kids = append(t.nodes[p].kids, n)
		} else {
			t.roots = append(t.roots, n)
		}
	}
}

// postorder lists all nodes, kids before their parents.
func (t *threader) postorder() []int {
	order := make([]int, 0, len(t.nodes))
	order = append(order, t.roots...)
	for i := 0; i < len(order); i++ {
		order = append(order, t.nodes[order[i]].kids...)
	}
	slices.Reverse(order)
	return order
}

// prune is step 3: nodes without a message go. Their kids take their place, at
// the root only if there is but one.
func (t *threader) prune() {
	for _, n := range t.postorder() {
		x := &t.nodes[n]
		x.kids = t.spliced(x.kids)
	}
	roots := t.roots[:0]
	for _, n := range t.roots {
		switch x := &t.nodes[n]; {
		case x.message != none || len(x.kids) > 1:
			roots = append(roots, n)
		case len(x.kids) == 1:
			t.nodes[x.kids[0]].parent = none
			roots = append(roots, x.kids[0])
		}
	}
	t.roots = roots
}

// spliced is kids with the kids of those that have no message in their place.
func (t *threader) spliced(kids []int) []int {
	if !slices.ContainsFunc(kids, func(k int) bool { return t.nodes[k].message == none }) {
		return kids
	}
	var all []int
	for _, k := range kids {
		if t.nodes[k].message != none {
			all = append(all, k)
			continue
		}
		for _, kid := range t.nodes[k].kids {
			t.nodes[kid].parent = t.nodes[k].parent
			all = append(all, kid)
		}
	}
	return all
}

// speaker is the message that stands for a node: its own, else that of its
// first kid.
func (t *threader) speaker(n int) *threadMessage {
	for t.nodes[n].message == none {
		n = t.nodes[n].kids[0]
	}
	return &t.messages[t.nodes[n].message]
}

// sortBySent orders siblings by the date they were sent (step 4), then as the
// client numbers them.
func (t *threader) sortBySent(nodes []int) {
	slices.SortStableFunc(nodes, func(a, b int) int {
		x, y := t.speaker(a), t.speaker(b)
		if c := cmp.Compare(x.sent, y.sent); c != 0 {
			return c
		}
		return cmp.Compare(x.id, y.id)
	})
}

// sortKids is step 6: it orders the kids of all nodes, from below.
func (t *threader) sortKids() {
	for _, n := range t.postorder() {
		if len(t.nodes[n].kids) > 1 {
			t.sortBySent(t.nodes[n].kids)
		}
	}
}

// joinSubjects is step 5: it joins the threads of one base subject.
func (t *threader) joinSubjects() {
	t.sortKids() // a node without a message speaks through its first kid
	first := make(map[string]int, len(t.roots))
	for _, n := range t.roots {
		subject := t.speaker(n).subject
		if subject == "" {
			continue
		}
		have, ok := first[subject]
		if !ok || t.leads(n, have) {
			first[subject] = n
		}
	}
	var added []int
	for _, n := range t.roots {
		subject := t.speaker(n).subject
		if subject == "" || first[subject] == n {
			continue
		}
		if dummy, made := t.join(first[subject], n); made {
			first[subject] = dummy
			added = append(added, dummy)
		}
	}
	roots := t.roots[:0:0]
	for _, n := range append(t.roots, added...) {
		if x := &t.nodes[n]; x.parent == none && !x.gone {
			roots = append(roots, n)
		}
	}
	t.roots = roots
}

// leads reports whether root n takes the table's place of have (step 5.B.iii).
func (t *threader) leads(n, have int) bool {
	dummy, haveDummy := t.nodes[n].message == none, t.nodes[have].message == none
	if dummy != haveDummy {
		return dummy
	}
	return !dummy && t.speaker(have).reply && !t.speaker(n).reply
}

// join puts root n and the table's have together (step 5.C.iv). It may make a
// node that holds both.
func (t *threader) join(have, n int) (dummy int, made bool) {
	x, y := &t.nodes[have], &t.nodes[n]
	switch {
	case x.message == none && y.message == none:
		for _, kid := range y.kids {
			t.nodes[kid].parent = have
		}
		x.kids = append(x.kids, y.kids...)
		y.kids, y.gone = nil, true
		return 0, false
	case x.message == none, t.speaker(n).reply && !t.speaker(have).reply:
		x.kids = append(x.kids, n)
		y.parent = have
		return 0, false
	}
	dummy = t.add(none)
	t.nodes[dummy].kids = []int{have, n}
	t.nodes[have].parent, t.nodes[n].parent = dummy, dummy
	return dummy, true
}

// latest is each node's latest arrival at or below it.
func (t *threader) latest() []int64 {
	latest := make([]int64, len(t.nodes))
	for _, n := range t.postorder() {
		x := &t.nodes[n]
		for i, kid := range x.kids {
			if i == 0 || latest[kid] > latest[n] {
				latest[n] = latest[kid]
			}
		}
		if x.message != none && (len(x.kids) == 0 || t.messages[x.message].received > latest[n]) {
			latest[n] = t.messages[x.message].received
		}
	}
	return latest
}
