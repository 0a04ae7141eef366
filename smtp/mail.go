package smtp

import "posthorn/internal/delivery"

// mail is MAIL, RFC 5321 4.1.1.2.
func (c *conn) mail(argument string) {
	switch {
	case !c.helo:
		c.wrong(replySequence("Say hello first"))
		return
	case c.session.tx != nil:
		c.wrong(replySequence("A transaction is open; RSET ends it"))
		return
	}
	e, err := parseEnvelope(argument, "FROM:")
	if err == nil && len(e.parameters) > 0 && !c.session.client.Extended {
		err = newReply(555, 5, 5, 4, "Parameters need EHLO")
	}
	if err != nil {
		c.wrong(translate(err))
		return
	}
	options, err := mailOptions(e.parameters, c.server.o.Config.MaxMessageBytes)
	if err != nil {
		c.wrong(translate(err))
		return
	}
	if e.needsUTF8 && !options.UTF8 {
		c.wrong(newReply(553, 5, 6, 7, "This address needs SMTPUTF8"))
		return
	}
	if options.RequireTLS && !c.offersRequireTLS() {
		c.wrong(c.refuseRequireTLS())
		return
	}
	if err := c.session.Mail(e.path, options); err != nil {
		r := c.fail("MAIL", err, "from", e.path)
		c.send(r)
		c.blame(r)
		return
	}
	c.say(250, 2, 1, 0, "Ok")
}

// offersRequireTLS: RFC 8689 2, only within TLS. LMTP's last step to the mailbox
// has no hop to secure.
func (c *conn) offersRequireTLS() bool {
	return c.session.client.TLS != nil && c.server.o.Role != delivery.LMTP
}

func (c *conn) refuseRequireTLS() *reply {
	if c.server.o.Role == delivery.LMTP {
		return newReply(555, 5, 5, 4, "Unknown parameter REQUIRETLS")
	}
	return newReply(530, 5, 7, 10, "REQUIRETLS needs TLS; use STARTTLS first")
}
