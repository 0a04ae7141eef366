package delivery

import (
	"context"
	"slices"
	"strings"

	"posthorn/internal/address"
	"posthorn/storage"
)

// Loop is aliases that lead to each other in a circle: the addresses by which it
// goes round, the first one again at its end. Mail that gets there by some of
// them goes nowhere.
type Loop []string

func (l Loop) String() string { return strings.Join(l, " -> ") }

// Stray is an alias's target at a domain of ours where nobody is.
type Stray struct{ Alias, Target string }

// CheckAliases finds the circles among the aliases, one for each set of aliases
// that lead to each other, and the targets that lead to nobody. An alias that an
// account of its name stands behind closes no circle: the account gets the mail.
func CheckAliases(ctx context.Context, book Book, c Config) ([]Loop, []Stray, error) {
	aliases, err := book.Aliases(ctx)
	if err != nil {
		return nil, nil, err
	}
	w := newWalk(book, c)
	for _, a := range aliases {
		if w.number[a.Address] == 0 {
			if err := w.visit(ctx, a.Address); err != nil {
				return nil, nil, err
			}
		}
	}
	return w.loops, w.strays, nil
}

// LoopBy is the circle through an alias as it would be; nil: none.
func LoopBy(ctx context.Context, book Book, c Config, alias storage.Alias) (Loop, error) {
	w := newWalk(draft{book, alias}, c)
	w.through = alias.Address
	err := w.visit(ctx, alias.Address)
	for _, l := range w.loops {
		if err == nil && l[0] == alias.Address {
			return l, nil
		}
	}
	return nil, err
}

// draft is the book with one alias as it would be.
type draft struct {
	Book
	alias storage.Alias
}

func (d draft) Alias(ctx context.Context, address string) (storage.Alias, error) {
	if address == d.alias.Address {
		return d.alias, nil
	}
	return d.Book.Alias(ctx, address)
}

// walk goes through the aliases depth first (Tarjan's strongly connected
// components), with a stack of its own: chains may be long.
type walk struct {
	directory
	number map[string]int // in order of discovery, from 1
	low    map[string]int // the lowest number that is reached from it
	open   []string       // those whose component is not complete
	isOpen map[string]bool
	steps  map[string][]step

	loops   []Loop
	strays  []Stray
	through string // the alias that a circle is to begin with, where it can
}

// step is a target that leads to an alias.
type step struct {
	to   string // the alias
	dead bool   // no account stands behind the alias if it was followed before
}

func newWalk(book Book, c Config) *walk {
	return &walk{
		directory: directory{book, c.RecipientDelimiter},
		number:    map[string]int{}, low: map[string]int{}, isOpen: map[string]bool{}, steps: map[string][]step{},
	}
}

// visit walks everything that name leads to.
func (w *walk) visit(ctx context.Context, name string) error {
	type frame struct {
		name string
		next int // of its steps
	}
	stack := []frame{{name, 0}}
	if err := w.enter(ctx, name); err != nil {
		return err
	}
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		if f.next < len(w.steps[f.name]) {
			to := w.steps[f.name][f.next].to
			f.next++
			switch {
			case w.number[to] == 0:
				if err := w.enter(ctx, to); err != nil {
					return err
				}
				stack = append(stack, frame{to, 0})
			case w.isOpen[to]:
				w.low[f.name] = min(w.low[f.name], w.number[to])
			}
			continue
		}
		done := f.name
		stack = stack[:len(stack)-1]
		if len(stack) > 0 {
			above := stack[len(stack)-1].name
			w.low[above] = min(w.low[above], w.low[done])
		}
		if w.low[done] == w.number[done] {
			w.close(done)
		}
	}
	return nil
}

func (w *walk) enter(ctx context.Context, name string) error {
	n := len(w.number) + 1
	w.number[name], w.low[name] = n, n
	w.open, w.isOpen[name] = append(w.open, name), true
	d, err := w.alias(ctx, name)
	if err != nil {
		return err
	}
	for _, target := range d.targets {
		s, err := w.step(ctx, name, target)
		if err != nil {
			return err
		}
		if s.to != "" {
			w.steps[name] = append(w.steps[name], s)
		}
	}
	return nil
}

// step is where an alias's target leads, empty unless to an alias.
func (w *walk) step(ctx context.Context, from, target string) (step, error) {
	to, err := address.Parse(target)
	if err != nil {
		w.strays = append(w.strays, Stray{from, target}) // expansion passes over it too
		return step{}, nil
	}
	local, err := w.isLocal(ctx, to)
	if err != nil || !local {
		return step{}, err
	}
	d, err := w.lookup(ctx, to)
	if err != nil {
		return step{}, err
	}
	if !d.found() {
		w.strays = append(w.strays, Stray{from, target})
	}
	if d.alias == "" {
		return step{}, nil
	}
	account, err := w.namesake(ctx, to)
	return step{d.alias, !account.found()}, err
}

// close takes a complete component off the open aliases and notes the circle in
// it, if mail can get lost there.
func (w *walk) close(root string) {
	at := slices.Index(w.open, root)
	members := map[string]bool{}
	for _, name := range w.open[at:] {
		members[name] = true
		w.isOpen[name] = false
	}
	list := slices.Clone(w.open[at:])
	w.open = w.open[:at]
	for _, from := range list {
		for _, s := range w.steps[from] {
			if !s.dead || !members[s.to] {
				continue
			}
			begin := root
			if members[w.through] {
				begin = w.through
			}
			round := w.path(begin, from, members)
			w.loops = append(w.loops, append(round, w.path(s.to, begin, members)...))
			return
		}
	}
}

// path is the shortest way between two members of a component.
func (w *walk) path(from, to string, members map[string]bool) Loop {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0 && before[to] == "" && from != to; queue = queue[1:] {
		for _, s := range w.steps[queue[0]] {
			if _, seen := before[s.to]; !seen && members[s.to] {
				before[s.to] = queue[0]
				queue = append(queue, s.to)
			}
		}
	}
	var way Loop
	for name := to; name != ""; name = before[name] {
		way = append(way, name)
	}
	slices.Reverse(way)
	return way
}
