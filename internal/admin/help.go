package admin

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

const usage = `usage: posthorn [-config FILE] [COMMAND ...]

  serve                            run the server (the default)
  check                            look for mistakes in the configuration and the aliases
  version                          say which version this is
  help [COMMAND]                   show this, or a command with all its options
`

// Usage is the text that lists the sub-commands of this package.
func Usage() string {
	var b strings.Builder
	for _, c := range commands() {
		writeHelp(&b, c.words+" "+c.args, c.help)
	}
	return b.String()
}

// help writes what there is about the commands that begin with the words of
// topic, or about all where that is empty; false: no command does.
func help(out io.Writer, topic []string) bool {
	if len(topic) == 0 {
		fmt.Fprint(out, usage, Usage())
		return true
	}
	found := false
	for _, c := range commands() {
		if words := strings.Fields(c.words); len(topic) > len(words) || !slices.Equal(topic, words[:len(topic)]) {
			continue
		}
		if !found {
			fmt.Fprint(out, "usage: posthorn [-config FILE] ...\n\n")
		}
		found = true
		writeHelp(out, c.usage(), c.help)
	}
	return found
}

// usage is the command with its arguments and all its options.
func (c *command) usage() string {
	text := strings.TrimSpace(c.words + " " + c.args)
	if c.password {
		text += " [--password-stdin]"
	}
	if c.json {
		text += " [--json]"
	}
	return text
}

// writeHelp writes one line, or two where the command is long.
func writeHelp(out io.Writer, command, help string) {
	const column = 32
	if command = strings.TrimSpace(command); len(command) > column {
		command += fmt.Sprintf("\n  %*s", column, "")
	}
	fmt.Fprintf(out, "  %-*s %s\n", column, command, help)
}

// optionMistake says in the words of a command line what the flag package found.
func optionMistake(err error) string {
	what := err.Error()
	if name, ok := strings.CutPrefix(what, "flag provided but not defined: "); ok {
		return fmt.Sprintf("unknown option %s: `posthorn help COMMAND` shows those of a command", name)
	}
	if name, ok := strings.CutPrefix(what, "flag needs an argument: "); ok {
		return fmt.Sprintf("option %s needs a value", name)
	}
	return strings.Replace(what, ": parse error", ": write a number", 1)
}
