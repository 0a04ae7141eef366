package wiretest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

type verb int

const (
	sendLine verb = iota
	sendBytes
	sendFill
	expectLine
	expectBytes
	expectGroup
	expectSkip
	connect
	startTLS
	closeConn
	closeWrite
	expectClose
	quiet
	sleep
	call
	let
)

// step is one line of a transcript, or one S* group.
type step struct {
	verb     verb
	line     int // in the file, from 1
	conn     int
	text     string   // raw: variables are put in when the step is run
	verbatim bool     // let: text is the value itself
	group    []string // expectGroup: one text a line
	name     string   // connect: service; call: hook; let: variable
	args     []string // call
	count    int      // sendFill
	duration time.Duration
}

var (
	wireStep  = regexp.MustCompile(`^([CS])(\d*)(\*|~|\.\.\.)?:(?: (.*))?$`)
	blockStep = regexp.MustCompile(`^([CS])(\d*)<<(\w+)$`)
	letStep   = regexp.MustCompile(`^let ([a-z][a-z0-9_]*) (.*)$`)
	connVerbs = map[string]verb{"tls": startTLS, "close": closeConn, "close-write": closeWrite, "expect-close": expectClose}
	wireVerbs = map[string]verb{"C": sendLine, "C~": sendBytes, "S": expectLine, "S~": expectBytes, "S*": expectGroup, "S...": expectSkip}
)

const errBadStep = "not a step: %q"

type parser struct {
	dir   string // of the transcript, for let NAME @FILE
	lines []string
	next  int // index into lines
	steps []step
}

func parse(dir, source string) ([]step, error) {
	source = strings.TrimSuffix(source, "\n")
	p := &parser{dir: dir, lines: strings.Split(source, "\n")}
	for p.next < len(p.lines) {
		line := p.next + 1
		text := p.lines[p.next]
		p.next++
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if err := p.step(line, text); err != nil {
			return nil, fmt.Errorf("%d: %w", line, err)
		}
	}
	return p.steps, nil
}

func (p *parser) step(line int, text string) error {
	if m := wireStep.FindStringSubmatch(text); m != nil {
		v, ok := wireVerbs[m[1]+m[3]]
		if !ok {
			return fmt.Errorf(errBadStep, text)
		}
		p.wire(step{verb: v, line: line, conn: connNumber(m[2]), text: m[4]})
		return nil
	}
	if m := blockStep.FindStringSubmatch(text); m != nil {
		return p.block(line, m[1], connNumber(m[2]), m[3])
	}
	if m := letStep.FindStringSubmatch(text); m != nil {
		return p.let(line, m[1], m[2])
	}
	return p.command(line, text)
}

// wire adds a C or S step; an S* step joins the group before it.
func (p *parser) wire(s step) {
	if s.verb == expectGroup {
		if n := len(p.steps); n > 0 && p.steps[n-1].verb == expectGroup && p.steps[n-1].conn == s.conn {
			p.steps[n-1].group = append(p.steps[n-1].group, s.text)
			return
		}
		s.group = []string{s.text}
	}
	p.steps = append(p.steps, s)
}

func (p *parser) block(line int, side string, conn int, end string) error {
	body, err := p.upTo(end)
	if err != nil {
		return err
	}
	for i, text := range body {
		p.wire(step{verb: wireVerbs[side], line: line + 1 + i, conn: conn, text: text})
	}
	return nil
}

func (p *parser) upTo(end string) ([]string, error) {
	for i := p.next; i < len(p.lines); i++ {
		if p.lines[i] == end {
			body := p.lines[p.next:i]
			p.next = i + 1
			return body, nil
		}
	}
	return nil, fmt.Errorf("the block has no line that says %s", end)
}

func (p *parser) let(line int, name, value string) error {
	s := step{verb: let, line: line, name: name, text: value}
	if end, ok := strings.CutPrefix(value, "<<"); ok {
		body, err := p.upTo(end)
		if err != nil {
			return err
		}
		s.text = ""
		for _, l := range body {
			s.text += escape(l) + `\r\n`
		}
	}
	if file, ok := strings.CutPrefix(value, "@"); ok {
		content, err := os.ReadFile(filepath.Join(p.dir, file))
		if err != nil {
			return err
		}
		s.text, s.verbatim = string(content), true
	}
	p.steps = append(p.steps, s)
	return nil
}

func (p *parser) command(line int, text string) error {
	words, err := splitWords(text)
	if err != nil {
		return err
	}
	s := step{line: line}
	switch v, isConn := connVerbs[words[0]]; {
	case isConn && len(words) == 2:
		s.verb = v
		s.conn, err = strconv.Atoi(words[1])
	case words[0] == "connect" && (len(words) == 2 || len(words) == 3):
		s.verb = connect
		s.conn, err = strconv.Atoi(words[1])
		s.name = strings.Join(words[2:], "")
	case words[0] == "quiet" && len(words) == 3:
		s.verb = quiet
		if s.conn, err = strconv.Atoi(words[1]); err == nil {
			s.duration, err = time.ParseDuration(words[2])
		}
	case words[0] == "sleep" && len(words) == 2:
		s.verb = sleep
		s.duration, err = time.ParseDuration(words[1])
	case words[0] == "call" && len(words) > 1:
		s.verb, s.name, s.args = call, words[1], words[2:]
	case words[0] == "fill" && len(words) == 4:
		s.verb, s.text = sendFill, words[3]
		if s.conn, err = strconv.Atoi(words[1]); err == nil {
			s.count, err = strconv.Atoi(words[2])
		}
	default:
		return fmt.Errorf(errBadStep, text)
	}
	p.steps = append(p.steps, s)
	return err
}

func connNumber(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 1
	}
	return n
}

// splitWords splits at spaces; "quotes" keep spaces together and take nothing
// else away, so that escapes stay for the step to read.
func splitWords(text string) ([]string, error) {
	var words []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimLeft(text, " \t") {
		if text[0] == '"' {
			word, rest, ok := strings.Cut(text[1:], `"`)
			if !ok {
				return nil, fmt.Errorf("a quote is open in %q", text)
			}
			words, text = append(words, word), rest
			continue
		}
		end := strings.IndexAny(text, " \t")
		if end < 0 {
			end = len(text)
		}
		words, text = append(words, text[:end]), text[end:]
	}
	return words, nil
}
