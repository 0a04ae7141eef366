package smtp

// refusedPerError is how many refused recipients weigh as much as one wrong
// command: a mailing list has stale members, a harvester has thousands.
const refusedPerError = 5

// rcpt is RCPT, RFC 5321 4.1.1.3.
func (c *conn) rcpt(argument string) {
	if c.session.tx == nil {
		c.wrong(replySequence("MAIL comes first"))
		return
	}
	e, err := parseEnvelope(argument, "TO:")
	if err == nil && e.path == "" {
		err = newReply(501, 5, 1, 3, "A recipient needs an address")
	}
	if err == nil && len(e.parameters) > 0 && !c.session.client.Extended {
		err = newReply(555, 5, 5, 4, "Parameters need EHLO")
	}
	if err != nil {
		c.wrong(translate(err))
		return
	}
	options, err := rcptOptions(e.parameters, c.session.utf8)
	if err != nil {
		c.wrong(translate(err))
		return
	}
	if e.needsUTF8 && !c.session.utf8 {
		c.wrong(newReply(553, 5, 6, 7, "This address needs SMTPUTF8"))
		return
	}
	if c.session.tx.Recipients() >= c.server.o.Config.MaxRecipients {
		// RFC 5321 4.5.3.1.10: a client that pipelines may learn it late.
		r := newReply(452, 4, 5, 3, "Too many recipients; send the others in another transaction")
		if c.excess == 0 { // one line in the log for all of them
			_ = c.fail("RCPT", r, "from", c.session.from)
		}
		c.send(r)
		if c.excess++; c.excess > c.server.o.Config.MaxRecipients {
			c.tooMany()
		}
		return
	}
	if err := c.session.Rcpt(e.path, options); err != nil {
		c.send(c.fail("RCPT", err, "from", c.session.from, "to", e.path))
		if c.unknown++; c.unknown >= refusedPerError*c.server.o.Config.MaxErrors {
			c.tooMany()
		}
		return
	}
	c.say(250, 2, 1, 5, "Ok")
}
