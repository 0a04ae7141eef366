package delivery

import "fmt"

// Refusal is a decision not to take a sender, a recipient or a message. Text is
// for the client to see, Cause for the log alone.
type Refusal struct {
	Code   int    // SMTP reply code, 4yz or 5yz
	Status [3]int // RFC 3463
	Text   string // one line of ASCII
	Cause  error  // nil when there is no more to say
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.Status[0], r.Status[1], r.Status[2], r.Text)
	if r.Cause != nil {
		text += ": " + r.Cause.Error()
	}
	return text
}

// Unwrap gives the cause to errors.Is.
func (r *Refusal) Unwrap() error { return r.Cause }

func refuse(code int, class, subject, detail int, text string) *Refusal {
	return &Refusal{Code: code, Status: [3]int{class, subject, detail}, Text: text}
}
