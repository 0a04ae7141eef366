package smtp

import (
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"posthorn/internal/address"
)

// splitCommand parts the verb, in capitals, from its argument.
func splitCommand(line string) (verb, argument string) {
	line = strings.TrimRight(line, " \t")
	verb, argument, _ = strings.Cut(line, " ")
	return strings.ToUpper(verb), strings.TrimLeft(argument, " \t")
}

// envelope is the argument of MAIL or RCPT.
type envelope struct {
	path       string // as written, without brackets and source route; "" is the null path
	needsUTF8  bool   // the path has octets beyond ASCII
	parameters []parameter
}

type parameter struct{ name, value string }

// parseEnvelope reads `FROM:<path> NAME=value ...`; keyword is "FROM:" or "TO:".
// Blanks behind the colon are tolerated, RFC 5321 3.3.
func parseEnvelope(argument, keyword string) (envelope, error) {
	if len(argument) < len(keyword) || !strings.EqualFold(argument[:len(keyword)], keyword) {
		return envelope{}, replyArguments("Write " + keyword + "<address>")
	}
	text := strings.TrimLeft(argument[len(keyword):], " \t")
	if keyword == "TO:" && len(text) >= 12 && strings.EqualFold(text[:12], "<postmaster>") {
		return envelope{path: text[1:11]}.withParameters(text[12:])
	}
	a, rest, err := address.ParsePath(text)
	if err != nil {
		status := [3]int{5, 1, 3}
		if keyword == "FROM:" {
			status[2] = 7
		}
		return envelope{}, newReply(501, status[0], status[1], status[2], oneLine(err.Error()))
	}
	e := envelope{path: a.String(), needsUTF8: !isASCII(text[:len(text)-len(rest)])}
	return e.withParameters(rest)
}

// withParameters reads ESMTP parameters, RFC 5321 4.1.2. Names come in capitals;
// none may come twice.
func (e envelope) withParameters(text string) (envelope, error) {
	if text != "" && text[0] != ' ' {
		return e, replyArguments("Unexpected text after the address")
	}
	for word := range strings.FieldsSeq(text) {
		name, value, hasValue := strings.Cut(word, "=")
		name = strings.ToUpper(name)
		if !isKeyword(name) || hasValue && !isParameterValue(value) {
			return e, replyArguments("A parameter is not well formed")
		}
		for _, p := range e.parameters {
			if p.name == name {
				return e, replyArguments("Parameter " + name + " stands twice")
			}
		}
		e.parameters = append(e.parameters, parameter{name, value})
	}
	return e, nil
}

func isKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (c != '-' || i == 0) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// isParameterValue: esmtp-value of RFC 5321 4.1.2, with the UTF-8 that ORCPT may
// have (RFC 6533 3).
func isParameterValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '=' || c == 0x7f {
			return false
		}
	}
	return s != ""
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// mailOptions reads MAIL's parameters.
func mailOptions(parameters []parameter, limit int64) (*gosmtp.MailOptions, error) {
	o := &gosmtp.MailOptions{}
	for _, p := range parameters {
		value := strings.ToUpper(p.value)
		switch p.name {
		case "SIZE": // RFC 1870 4
			size, err := strconv.ParseUint(p.value, 10, 64)
			if p.value == "" || len(p.value) > 20 || err != nil && !isDigits(p.value) {
				return nil, replyArguments("SIZE takes a number of octets")
			}
			if err != nil || size > uint64(limit) {
				return nil, replyTooBig()
			}
			o.Size = int64(size)
		case "BODY": // RFC 6152 2
			switch gosmtp.BodyType(value) {
			case gosmtp.Body7Bit, gosmtp.Body8BitMIME:
				o.Body = gosmtp.BodyType(value)
			case gosmtp.BodyBinaryMIME:
				return nil, newReply(555, 5, 6, 1, "BINARYMIME is not supported")
			default:
				return nil, replyArguments("BODY takes 7BIT or 8BITMIME")
			}
		case "SMTPUTF8": // RFC 6531 3.4
			if p.value != "" {
				return nil, replyArguments("SMTPUTF8 takes no value")
			}
			o.UTF8 = true
		case "REQUIRETLS": // RFC 8689 2
			if p.value != "" {
				return nil, replyArguments("REQUIRETLS takes no value")
			}
			o.RequireTLS = true
		case "RET": // RFC 3461 4.3
			o.Return = gosmtp.DSNReturn(value)
			if o.Return != gosmtp.DSNReturnFull && o.Return != gosmtp.DSNReturnHeaders {
				return nil, replyArguments("RET takes FULL or HDRS")
			}
		case "ENVID": // RFC 3461 4.4; kept as it is, since hops hand it on
			if p.value == "" || len(p.value) > 100 || !isXtext(p.value) {
				return nil, replyArguments("ENVID takes at most 100 characters of xtext")
			}
			o.EnvelopeID = p.value
		case "AUTH": // RFC 4954 5: what another server vouches for is not believed here
			if p.value == "" || !isXtext(p.value) {
				return nil, replyArguments("AUTH takes xtext or <>")
			}
			nobody := ""
			o.Auth = &nobody
		default:
			return nil, newReply(555, 5, 5, 4, "Unknown parameter "+p.name)
		}
	}
	return o, nil
}

// rcptOptions reads RCPT's parameters. OriginalRecipient stays encoded, since
// hops hand it on as it came.
func rcptOptions(parameters []parameter, utf8 bool) (*gosmtp.RcptOptions, error) {
	o := &gosmtp.RcptOptions{}
	for _, p := range parameters {
		switch p.name {
		case "NOTIFY": // RFC 3461 4.1
			for word := range strings.SplitSeq(strings.ToUpper(p.value), ",") {
				o.Notify = append(o.Notify, gosmtp.DSNNotify(word))
			}
			if !isNotify(o.Notify) {
				return nil, replyArguments("NOTIFY takes NEVER, or some of SUCCESS, FAILURE, DELAY")
			}
		case "ORCPT": // RFC 3461 4.2, RFC 6533 3
			kind, text, ok := strings.Cut(p.value, ";")
			isUTF8 := strings.EqualFold(kind, "utf-8")
			if !ok || text == "" || len(p.value) > 500 || !isKeyword(strings.ToUpper(kind)) ||
				!isUTF8 && !isXtext(text) || !utf8 && !isASCII(text) {
				return nil, replyArguments("ORCPT takes type;address with the address in xtext")
			}
			o.OriginalRecipientType = gosmtp.DSNAddressType(kind)
			o.OriginalRecipient = text
		default:
			return nil, newReply(555, 5, 5, 4, "Unknown parameter "+p.name)
		}
	}
	return o, nil
}

func isNotify(words []gosmtp.DSNNotify) bool {
	seen := map[gosmtp.DSNNotify]bool{}
	for _, w := range words {
		switch w {
		case gosmtp.DSNNotifyNever:
			if len(words) > 1 {
				return false
			}
		case gosmtp.DSNNotifySuccess, gosmtp.DSNNotifyFailure, gosmtp.DSNNotifyDelayed:
		default:
			return false
		}
		if seen[w] {
			return false
		}
		seen[w] = true
	}
	return true
}

// isXtext checks the encoding of RFC 3461 4.
func isXtext(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			if i+2 >= len(s) || !isUpperHex(s[i+1]) || !isUpperHex(s[i+2]) {
				return false
			}
			i += 2
		case c < '!' || c > '~' || c == '=':
			return false
		}
	}
	return true
}

func isUpperHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// isHelloName is lenient where RFC 5321 4.1.1.1 wants a domain name or an address
// literal: honest programs send worse. What could break a trace field is refused.
func isHelloName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`()<>@,;\"`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= address.MaxDomain
}
