package smtp

import (
	"strconv"
	"strings"
	"unicode/utf8"

	gosmtp "github.com/emersion/go-smtp"

	"posthorn/internal/address"
	"posthorn/internal/delivery"
)

// hello is HELO, EHLO or LHLO, RFC 5321 4.1.1.1; it resets the transaction.
func (c *conn) hello(verb, argument string) {
	name, rest, _ := strings.Cut(argument, " ")
	if !isHelloName(name) || rest != "" {
		c.wrong(replyArguments(verb + " takes your domain name or address literal"))
		return
	}
	c.session.Reset()
	c.session.hello(asciiHello(name), verb != "HELO")
	c.helo = true
	if verb == "HELO" {
		c.reply(250, gosmtp.EnhancedCode{}, c.server.o.Hostname)
		return
	}
	c.reply(250, gosmtp.EnhancedCode{}, append([]string{c.server.o.Hostname}, c.extensions()...)...)
}

// asciiHello is the name as trace fields can hold it: EHLO precedes SMTPUTF8, so
// that names beyond ASCII have no place in it (RFC 6531 3.7.1), yet programs send
// the machine's name as it is.
func asciiHello(name string) string {
	beyond := func(r rune) bool { return r >= utf8.RuneSelf }
	if strings.IndexFunc(name, beyond) < 0 {
		return name
	}
	if ascii, err := address.ParseDomain(name); err == nil {
		return ascii
	}
	return strings.Map(func(r rune) rune {
		if beyond(r) {
			return '?'
		}
		return r
	}, name)
}

// extensions is what EHLO announces: only what works on this connection now.
func (c *conn) extensions() []string {
	list := []string{
		"PIPELINING",
		"SIZE " + strconv.FormatInt(c.server.o.Config.MaxMessageBytes, 10),
		"8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES", "DSN",
		"LIMITS RCPTMAX=" + strconv.Itoa(c.server.o.Config.MaxRecipients),
	}
	if c.server.o.TLS != nil && c.session.client.TLS == nil {
		list = append(list, "STARTTLS")
	}
	if c.offersRequireTLS() {
		list = append(list, "REQUIRETLS")
	}
	if c.session.client.Account == 0 {
		if mechanisms := c.session.AuthMechanisms(); len(mechanisms) > 0 {
			list = append(list, "AUTH "+strings.Join(mechanisms, " "))
		}
	}
	if c.server.o.Role == delivery.LMTP {
		return list
	}
	return append(list, "HELP")
}
