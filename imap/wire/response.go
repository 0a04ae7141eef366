package wire

// Status is the condition that a status response reports (RFC 9051 section 7.1).
type Status string

const (
	OK      Status = "OK"
	NO      Status = "NO"
	BAD     Status = "BAD"
	BYE     Status = "BYE"
	PREAUTH Status = "PREAUTH"
)

// AppendStatus appends a whole status response: the tag, or "*" if it is empty,
// the status, the response code without its brackets if it is not empty, and a
// text.
func AppendStatus[T ~string | ~[]byte](dst []byte, tag T, status Status, code, text string) []byte {
	dst = BeginStatus(dst, tag, status)
	if code != "" {
		dst = append(dst, '[')
		dst = append(dst, code...)
		dst = append(dst, "] "...)
	}
	return EndStatus(dst, text)
}

// BeginStatus appends the tag and the status. A response code by one of the
// functions below may follow, then EndStatus.
func BeginStatus[T ~string | ~[]byte](dst []byte, tag T, status Status) []byte {
	if len(tag) == 0 {
		dst = append(dst, '*')
	} else {
		dst = append(dst, tag...)
	}
	dst = append(dst, ' ')
	dst = append(dst, status...)
	return append(dst, ' ')
}

// EndStatus appends the text and CRLF. A text is never empty, and is printable
// ASCII on one line (RFC 9051 section 9: resp-text): other characters become
// "?", and no "[" begins it.
func EndStatus(dst []byte, text string) []byte {
	if text == "" {
		text = "Done"
	}
	afterCode := len(dst) > 2 && dst[len(dst)-2] == ']'
	for i, c := range text {
		switch {
		case i == 0 && c == '[' && !afterCode:
			dst = append(dst, '(')
		case c < ' ' || c >= 0x7f:
			dst = append(dst, '?')
		default:
			dst = append(dst, byte(c))
		}
	}
	return append(dst, '\r', '\n')
}

// AppendCodeNumber appends a response code with a number, "[UIDNEXT 7] ".
func AppendCodeNumber(dst []byte, name string, n uint64) []byte {
	dst = append(append(dst, '['), name...)
	return append(AppendNumber(append(dst, ' '), n), "] "...)
}

// AppendCodeFlags appends a response code with flags, "[PERMANENTFLAGS (\Seen)] ".
func AppendCodeFlags[F ~string](dst []byte, name string, flags []F) []byte {
	dst = append(append(dst, '['), name...)
	return append(AppendFlags(append(dst, ' '), flags), "] "...)
}

// AppendCodeSet appends a response code with a set of ascending numbers,
// "[MODIFIED 3:5] " (RFC 7162 section 3.1.3).
func AppendCodeSet[N ~uint32](dst []byte, name string, ids []N) []byte {
	dst = append(append(dst, '['), name...)
	return append(AppendNumbers(append(dst, ' '), ids), "] "...)
}

// AppendAppendUID appends "[APPENDUID validity uids] " (RFC 9051 section 7.1).
func AppendAppendUID[N ~uint32](dst []byte, validity uint32, uids []N) []byte {
	dst = AppendNumber(append(dst, "[APPENDUID "...), uint64(validity))
	return append(AppendNumbers(append(dst, ' '), uids), "] "...)
}

// AppendCopyUID appends "[COPYUID validity from to] " (RFC 9051 section 7.1).
// Both lists ascend and correspond one to one.
func AppendCopyUID[N ~uint32](dst []byte, validity uint32, from, to []N) []byte {
	dst = AppendNumber(append(dst, "[COPYUID "...), uint64(validity))
	dst = AppendNumbers(append(dst, ' '), from)
	return append(AppendNumbers(append(dst, ' '), to), "] "...)
}

// BeginESearch appends `* ESEARCH (TAG "a1") UID`; the items and CRLF follow
// (RFC 9051 section 7.3.4).
func BeginESearch[T ~string | ~[]byte](dst []byte, tag T, uid bool) []byte {
	dst = append(dst, "* ESEARCH (TAG "...)
	dst = append(appendQuoted(dst, tag, escaped), ')')
	if uid {
		dst = append(dst, " UID"...)
	}
	return dst
}

// BeginESearchOf appends `* ESEARCH (TAG "a1" MAILBOX a UIDVALIDITY 7) UID`, the
// answer of one mailbox of several (RFC 7377 section 2.1).
func BeginESearchOf[T ~string | ~[]byte](dst []byte, tag T, mailbox string, validity uint32, utf8OK bool) []byte {
	dst = append(dst, "* ESEARCH (TAG "...)
	dst = append(appendQuoted(dst, tag, escaped), " MAILBOX "...)
	dst = AppendMailbox(dst, mailbox, utf8OK)
	dst = AppendNumber(append(dst, " UIDVALIDITY "...), uint64(validity))
	return append(dst, ") UID"...)
}

// AppendESearchNumber appends " MIN 3", " COUNT 0" or " MODSEQ 917".
func AppendESearchNumber(dst []byte, name string, n uint64) []byte {
	dst = append(append(dst, ' '), name...)
	return AppendNumber(append(dst, ' '), n)
}

// AppendESearchAll appends " ALL 1:3,5" of ascending ids, and nothing if there
// are none: ALL is left out then (RFC 9051 section 6.4.4).
func AppendESearchAll[N ~uint32](dst []byte, ids []N) []byte {
	if len(ids) == 0 {
		return dst
	}
	return AppendNumbers(append(dst, " ALL "...), ids)
}
