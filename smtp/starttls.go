package smtp

// startTLS is STARTTLS, RFC 3207. What came behind the command in the clear is
// thrown away unread: it could be anybody's.
func (c *conn) startTLS(argument string) {
	switch {
	case c.server.o.TLS == nil:
		c.wrong(newReply(502, 5, 5, 1, "STARTTLS is not offered"))
		return
	case c.session.client.TLS != nil:
		c.wrong(replySequence("TLS runs already"))
		return
	case argument != "":
		c.wrong(replyArguments("STARTTLS takes no argument"))
		return
	}
	c.in.discard()
	c.say(220, 2, 0, 0, "Go ahead")
	if err := c.flush(); err != nil {
		return
	}
	c.helo = false
	if err := c.secure(); err != nil {
		// The stream is neither clear nor secured: nothing can be said on it.
		c.log.Debug("TLS handshake failed", "err", err)
		c.closing = true
	}
}
