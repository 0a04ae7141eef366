package mailauth

// AppendField appends the Authentication-Results field, RFC 8601 2.2, with its
// CRLF. All values in it were checked to be domain names, addresses or words of
// ours, so nothing that a sender wrote can end a line or a token.
func (r *Results) AppendField(dst []byte, authservID string) []byte {
	dst = append(dst, "Authentication-Results: "...)
	dst = append(dst, authservID...)
	dst = r.appendSPF(dst)
	dst = r.appendDKIM(dst)
	if d := &r.DMARC; d.Result != "" {
		dst = appendResult(dst, "dmarc", d.Result, d.Reason)
		if d.Result == Pass || d.Result == Fail || d.Policy > PolicyNone {
			dst = append(dst, " (p="...)
			dst = append(dst, d.Policy.String()...)
			if d.Result == Fail {
				dst = append(dst, " for this message: "...)
				dst = append(dst, d.Request.String()...)
			}
			dst = append(dst, ')')
		}
		dst = appendProperty(dst, "header.from", d.Domain)
	}
	dst = r.appendIPRev(dst)
	return append(dst, "\r\n"...)
}

// Summary is the outcome in a few words each, for logs and records.
func (r *Results) Summary() []string {
	word := func(method string, result Result, about string) string {
		if about != "" {
			about = " " + about
		}
		return method + "=" + string(result) + about
	}
	var words []string
	if r.SPF.Result != "" {
		words = append(words, word("spf", r.SPF.Result, r.SPF.Domain))
	}
	if len(r.DKIM) == 0 {
		words = append(words, word("dkim", None, ""))
	}
	for i := range r.DKIM {
		words = append(words, word("dkim", r.DKIM[i].Result, r.DKIM[i].Domain))
	}
	if r.DMARC.Result != "" {
		words = append(words, word("dmarc", r.DMARC.Result, r.DMARC.Domain))
	}
	if r.IPRev.Result != "" {
		words = append(words, word("iprev", r.IPRev.Result, r.IPRev.Name))
	}
	return words
}

func (r *Results) appendSPF(dst []byte) []byte {
	s := &r.SPF
	if s.Result == "" {
		return dst
	}
	dst = appendResult(dst, "spf", s.Result, s.Reason)
	if s.Helo {
		return appendProperty(dst, "smtp.helo", s.Sender)
	}
	return appendProperty(dst, "smtp.mailfrom", s.Sender)
}

func (r *Results) appendDKIM(dst []byte) []byte {
	if len(r.DKIM) == 0 {
		return appendResult(dst, "dkim", None, "")
	}
	for i := range r.DKIM {
		s := &r.DKIM[i]
		dst = appendResult(dst, "dkim", s.Result, s.Reason)
		dst = appendProperty(dst, "header.d", s.Domain)
		dst = appendProperty(dst, "header.s", s.Selector)
		dst = appendProperty(dst, "header.a", s.Algorithm)
		dst = appendProperty(dst, "header.b", quoted(s.Value)) // base64 has characters that no token has
	}
	return dst
}

func (r *Results) appendIPRev(dst []byte) []byte {
	p := &r.IPRev
	if p.Result == "" {
		return dst
	}
	dst = appendResult(dst, "iprev", p.Result, p.Name)
	client := p.Client.String()
	if p.Client.Is6() {
		client = quoted(client)
	}
	dst = appendProperty(dst, "policy.iprev", client)
	if p.Helo == "" {
		return dst
	}
	// No registered method compares HELO with the address: RFC 8601 2.7.7
	// leaves names with "x-" to sites.
	dst = appendResult(dst, "x-helo", p.HeloResult, "")
	return appendProperty(dst, "smtp.helo", p.Helo)
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return `"` + s + `"`
}

// appendResult begins the next result on a line of its own.
func appendResult(dst []byte, method string, r Result, comment string) []byte {
	dst = append(dst, ";\r\n\t"...)
	dst = append(dst, method...)
	dst = append(dst, '=')
	dst = append(dst, r...)
	if comment != "" {
		dst = append(dst, " ("...)
		dst = append(dst, comment...)
		dst = append(dst, ')')
	}
	return dst
}

func appendProperty(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=')
	return append(dst, value...)
}
