package wiretest

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	variable    = regexp.MustCompile(`\$\{(?:(len|b64):)?([a-z][a-z0-9_]*)\}`)
	placeholder = regexp.MustCompile(`<(?:(any)|re:((?:[^>\\]|\\.)+)|([a-z][a-z0-9_]*)=((?:[^>\\]|\\.)*))>`)
)

// expand puts the variables into text; put is given each value before it goes in.
func expand(text string, vars map[string]string, put func(string) string) (string, error) {
	var unknown error
	expanded := variable.ReplaceAllStringFunc(text, func(ref string) string {
		m := variable.FindStringSubmatch(ref)
		value, ok := vars[m[2]]
		if !ok {
			unknown = fmt.Errorf("no variable %q", m[2])
		}
		switch m[1] {
		case "len":
			value = strconv.Itoa(len(value))
		case "b64":
			value = base64.StdEncoding.EncodeToString([]byte(value))
		}
		return put(value)
	})
	return expanded, unknown
}

func plainText(text string, vars map[string]string) (string, error) {
	return expand(text, vars, func(v string) string { return v })
}

// rawText is plainText for texts with escapes. Values are put in escaped, so
// that a backslash within one stays itself.
func rawText(text string, vars map[string]string) (string, error) {
	expanded, err := expand(text, vars, escape)
	if err != nil {
		return "", err
	}
	return unescape(expanded)
}

func escape(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }

func unescape(s string) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		size := 1
		switch {
		case strings.HasPrefix(after, "r"):
			out.WriteByte('\r')
		case strings.HasPrefix(after, "n"):
			out.WriteByte('\n')
		case strings.HasPrefix(after, "t"):
			out.WriteByte('\t')
		case strings.HasPrefix(after, `\`):
			out.WriteByte('\\')
		case len(after) >= 3 && after[0] == 'x':
			code, err := strconv.ParseUint(after[1:3], 16, 8)
			if err != nil {
				return "", fmt.Errorf(`\%s is not an escape`, after[:3])
			}
			out.WriteByte(byte(code))
			size = 3
		default:
			return "", fmt.Errorf(`\%.1s is not an escape (\r \n \t \\ \xNN)`, after)
		}
		s = after[size:]
	}
}

// pattern is an expected line.
type pattern struct {
	shown string // with variables put in, for messages
	expr  *regexp.Regexp
}

func compilePattern(text string, vars map[string]string) (pattern, error) {
	shown, err := plainText(text, vars)
	if err != nil {
		return pattern{}, err
	}
	var expr strings.Builder
	expr.WriteString(`(?s)\A`)
	end := 0
	literal := func(part string) error {
		part, err := plainText(part, vars)
		expr.WriteString(regexp.QuoteMeta(part))
		return err
	}
	for _, at := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		if err := literal(text[end:at[0]]); err != nil {
			return pattern{}, err
		}
		end = at[1]
		switch {
		case at[2] >= 0:
			expr.WriteString(`.*`)
		case at[4] >= 0:
			expr.WriteString(`(?:` + text[at[4]:at[5]] + `)`)
		case at[8] == at[9]:
			expr.WriteString(`(?P<` + text[at[6]:at[7]] + `>[^ ]+)`)
		default:
			expr.WriteString(`(?P<` + text[at[6]:at[7]] + `>` + text[at[8]:at[9]] + `)`)
		}
	}
	if err := literal(text[end:]); err != nil {
		return pattern{}, err
	}
	expr.WriteString(`\z`)
	compiled, err := regexp.Compile(expr.String())
	if err != nil {
		return pattern{}, fmt.Errorf("in %q: %w", text, err)
	}
	return pattern{shown: shown, expr: compiled}, nil
}

func (p pattern) matches(line string) bool { return p.expr.MatchString(line) }

// capture stores what the named parts of p took from line.
func (p pattern) capture(line string, vars map[string]string) {
	m := p.expr.FindStringSubmatch(line)
	for i, name := range p.expr.SubexpNames() {
		if name != "" {
			vars[name] = m[i]
		}
	}
}

// assign gives each line a pattern of its own: order[i] is the pattern of
// lines[i]. It is nil where no assignment exists. A later pattern may be the
// only one left for a line, so earlier choices are taken back (augmenting paths).
func assign(patterns []pattern, lines []string) (order []int) {
	owner := make([]int, len(patterns)) // line that holds the pattern, or -1
	for i := range owner {
		owner[i] = -1
	}
	var place func(line int, tried []bool) bool
	place = func(line int, tried []bool) bool {
		for i, p := range patterns {
			if tried[i] || !p.matches(lines[line]) {
				continue
			}
			tried[i] = true
			if owner[i] < 0 || place(owner[i], tried) {
				owner[i] = line
				return true
			}
		}
		return false
	}
	for line := range lines {
		if !place(line, make([]bool, len(patterns))) {
			return nil
		}
	}
	order = make([]int, len(lines))
	for i, line := range owner {
		if line >= 0 {
			order[line] = i
		}
	}
	return order
}
