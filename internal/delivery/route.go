package delivery

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"posthorn/internal/address"
	"posthorn/storage"
)

// Bounds of alias expansion for one recipient. Past them the recipient is
// refused for now, since the mistake is ours to mend.
const (
	maxAliasDepth   = 20
	maxDestinations = 1000
)

// ownPostmaster gives a domain to the bare postmaster, and to the role names at
// our hostname or at the address literal of this very connection: RFC 5321
// 4.1.1.3 and 4.5.1. Other addresses come back as they are.
func (a *Agent) ownPostmaster(ctx context.Context, to address.Address, local netip.Addr) (address.Address, error) {
	ours := to.Domain == "" || to.ASCIIDomain() == a.hostname ||
		to.IsLiteral() && local.IsValid() && to.ASCIIDomain() == address.Literal(local)
	if !ours || !isRoleName(to.Local) {
		return to, nil
	}
	domains, err := a.book.Domains(ctx)
	if err != nil {
		return to, err
	}
	if len(domains) == 0 {
		return to, nil
	}
	best := domains[0].Name
	for _, d := range domains {
		if a.hostname == d.Name {
			best = d.Name
			break
		}
		if strings.HasSuffix(a.hostname, "."+d.Name) {
			best = d.Name
		}
	}
	return address.Address{Local: to.Local, Domain: best}, nil
}

// owns reports whether the account may send as this address: its own, with any
// detail, or one whose alias names the account as a target. An address that
// leads to the account only through further aliases is not its own.
func (a *Agent) owns(ctx context.Context, account storage.Account, from address.Address) (bool, error) {
	if from.Key() == account.Address {
		return true, nil
	}
	if base, _, ok := from.Split(a.config.RecipientDelimiter); ok && base.Key() == account.Address {
		return true, nil
	}
	local, err := a.isLocal(ctx, from)
	if err != nil || !local {
		return false, err
	}
	d, err := a.lookup(ctx, from)
	if err != nil {
		return false, err
	}
	if d.account != nil {
		return d.account.ID == account.ID, nil
	}
	for _, target := range d.targets {
		if t, err := address.Parse(target); err == nil {
			base, _, _ := t.Split(a.config.RecipientDelimiter)
			if t.Key() == account.Address || base.Key() == account.Address {
				return true, nil
			}
		}
	}
	return false, nil
}

// expansion collects what one recipient leads to.
type expansion struct {
	agent     *Agent
	recipient Recipient
	size      int64           // as declared
	notice    bool            // of our own queue
	seen      map[string]bool // aliases that were followed
	copies    []localCopy
	hops      []storage.Hop
	targets   int // looked at, all in all
}

// local follows a local address. One that names nothing is a Refusal at depth 0
// and is passed over, with a log line, among an alias's targets.
func (e *expansion) local(ctx context.Context, to address.Address, depth int) error {
	d, err := e.agent.lookup(ctx, to)
	if err != nil {
		return err
	}
	switch {
	case d.account != nil:
		return e.copyTo(d.account)
	case e.seen[d.alias]:
		return e.again(ctx, to)
	case d.targets != nil:
		return e.follow(ctx, d, depth)
	case depth == 0:
		return refuse(550, 5, 1, 1, "No such user here")
	}
	e.agent.log.Warn("an alias names an address that does not exist", "recipient", e.recipient.Path.String(), "target", to.String())
	return nil
}

// again meets an alias that was followed already, in a circle or by two ways:
// only an account of the name can be meant.
func (e *expansion) again(ctx context.Context, to address.Address) error {
	d, err := e.agent.namesake(ctx, to)
	if err != nil || !d.found() {
		return err
	}
	return e.copyTo(d.account)
}

// follow expands an alias. Each is followed once, so that circles end.
func (e *expansion) follow(ctx context.Context, d destination, depth int) error {
	e.seen[d.alias] = true
	for _, target := range d.targets {
		to, err := address.Parse(target)
		if err != nil {
			e.agent.log.Error("an alias has a target that is no address", "alias", d.alias, "target", target)
			continue
		}
		if e.targets++; e.targets > maxDestinations || depth == maxAliasDepth {
			return e.tooMuch()
		}
		local, err := e.agent.isLocal(ctx, to)
		if err != nil {
			return err
		}
		if !local {
			e.remote(to)
			continue
		}
		if err := e.local(ctx, to, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (e *expansion) tooMuch() error {
	r := refuse(451, 4, 3, 5, "This address is not set up properly here")
	r.Cause = fmt.Errorf("alias %s has more than %d targets or %d levels", e.recipient.Path, maxDestinations, maxAliasDepth)
	return r
}

// copyTo refuses for now what a full mailbox may take later (RFC 3463 4.2.2),
// and for good what it can never hold. An alias with one full mailbox among its
// targets is refused whole: a member left out would never learn of the message.
// A notification has no sender to tell, and is small: a full mailbox takes it.
func (e *expansion) copyTo(account *storage.Account) error {
	switch {
	case e.notice:
	case account.QuotaBytes > 0 && e.size > account.QuotaBytes:
		return refuse(552, 5, 2, 2, "The message is larger than the whole mailbox may be")
	case account.QuotaBytes > 0 && account.UsedBytes+max(e.size, 1) > account.QuotaBytes,
		account.QuotaMessages > 0 && account.UsedMessages >= account.QuotaMessages:
		return refuse(452, 4, 2, 2, "Mailbox full")
	}
	e.copies = append(e.copies, localCopy{account: account.ID, address: account.Address, deliveredTo: e.agent.named(e.recipient.Path)})
	return nil
}

// named completes the bare postmaster's address.
func (a *Agent) named(to address.Address) address.Address {
	if to.Domain == "" {
		to.Domain = a.hostname
	}
	return to
}

func (e *expansion) remote(to address.Address) {
	e.hops = append(e.hops, storage.Hop{Recipient: to.ASCII(), Domain: to.ASCIIDomain(), Notify: e.recipient.Notify, ORcpt: e.recipient.ORcpt})
}
