package queue

import "strings"

// explanation is a status in words: what it means and whose fault that is, and
// what a sender can do.
type explanation struct{ what, todo string }

// explain finds the words for an RFC 3463 status. Its class is left aside: that
// something will be tried again is said elsewhere.
func explain(status string) explanation {
	_, code, _ := strings.Cut(status, ".")
	if e, ok := explanations()[code]; ok {
		return e
	}
	subject, _, _ := strings.Cut(code, ".")
	if e, ok := explanations()[subject]; ok {
		return e
	}
	return explanation{
		"The other server did not take the message.",
		"Its words below may say why. If they do not help, ask the recipient by another way.",
	}
}

func explanations() map[string]explanation {
	askThem := "There is nothing to mend on your side. Reach the recipient by another way, and let them tell whoever runs their mail."
	return map[string]explanation{
		"1":    {"The address was not accepted.", "Check it for a slip of the finger, then ask the recipient by another way."},
		"1.1":  {"There is no mailbox of that name there.", "Check the part before the @ for a slip of the finger. If it is right, the recipient has moved away."},
		"1.2":  {"The domain behind the @ does not exist, or has nobody to take its mail.", "Check the part behind the @ for a slip of the finger."},
		"1.3":  {"The address is not well formed.", "Check it for a slip of the finger."},
		"1.6":  {"The mailbox has moved and left no address.", "Ask the recipient by another way."},
		"1.7":  {"The other server does not accept your own address as a sender.", "Check the sender's address in your mail program, then ask your postmaster."},
		"1.8":  {"The other server does not accept your own address as a sender.", "Check the sender's address in your mail program, then ask your postmaster."},
		"1.10": {"The domain has declared that it takes no mail at all.", "Nobody can be reached at this domain. Check the part behind the @, or find another address."},
		"2":    {"The recipient's mailbox cannot take the message.", askThem},
		"2.1":  {"The recipient's mailbox is out of use.", askThem},
		"2.2":  {"The recipient's mailbox is full.", askThem},
		"2.3":  {"The message is larger than the recipient may get.", "Send it in smaller pieces, or put large files elsewhere and send a link."},
		"3":    {"The other server has a trouble of its own.", askThem},
		"3.4":  {"The message is larger than the other server takes.", "Send it in smaller pieces, or put large files elsewhere and send a link."},
		"4":    {"The recipient's server could not be reached properly.", askThem},
		"4.1":  {"The recipient's server does not answer.", askThem},
		"4.2":  {"The connection to the recipient's server broke off.", askThem},
		"4.3":  {"The DNS could not tell which server takes the recipient's mail.", "Check the part behind the @ for a slip of the finger. If it is right, the fault is with the recipient's domain: " + lowerFirst(askThem)},
		"4.4":  {"The recipient's domain names no server that mail can be brought to.", askThem},
		"4.6":  {"By the DNS, the recipient's mail would come back to this very server, in a circle.", "Tell your postmaster: either the domain's MX record is wrong, or this server should know the domain and does not."},
		"5":    {"The other server and this one do not understand each other.", "Tell your postmaster."},
		"6":    {"The other server cannot take this kind of message.", "Send it as plain text without attachments, or in another form."},
		"6.7":  {"The message has addresses with letters beyond ASCII, and the other server does not know such addresses (SMTPUTF8).", "Write from and to addresses in plain Latin letters; recipients often have one of these too."},
		"7":    {"The other server refused the message as a matter of its policy, as it does with what it takes for spam.", "Its words below may say what it dislikes. Otherwise let your postmaster ask theirs."},
		"7.4":  {"The connection could not be secured as this delivery demands.", "The message was not sent in clear, on purpose. Tell your postmaster."},
		"7.5":  {"The connection could not be secured as this delivery demands.", "The message was not sent in clear, on purpose. Tell your postmaster."},
		"7.8":  {"This server could not log in to the server that is to take its mail on.", "Tell your postmaster: the smarthost's name or password is wrong."},
		"7.10": {"The connection could not be secured as the recipient's domain demands.", "The message was not sent in clear, on purpose. Tell your postmaster."},
		"7.30": {"You asked that the message travel over secured connections only, and the other server cannot promise that.", "Send it without that demand, if what it says allows it."},
	}
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
