package admin

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
)

// Line is a command line with its -config taken out.
type Line struct {
	File    string   // the configuration file
	Command string   // the first word; "serve" where there is none
	Words   []string // all words and the command's own flags
}

// ParseLine finds -config FILE wherever it stands, and what is wrong with the
// command before any file is read. Its error is a usage error.
func ParseLine(args []string) (Line, error) {
	l := Line{File: "./config.toml", Command: "serve"}
	help := false
	for ; len(args) > 0; args = args[1:] {
		name, value, inline := strings.Cut(args[0], "=")
		switch {
		case args[0] == "--":
			l.Words, args = append(l.Words, args...), args[:1]
		case name == "-h" || name == "-help" || name == "--help":
			help = true
		case name != "-config" && name != "--config":
			l.Words = append(l.Words, args[0])
		case inline && value != "":
			l.File = value
		case inline || len(args) < 2 || args[1] == "":
			return l, errors.New("-config: a file is missing: write -config config.toml")
		default:
			l.File, args = args[1], args[1:]
		}
	}
	for _, w := range l.Words {
		if !strings.HasPrefix(w, "-") {
			l.Command = w
			break
		}
	}
	if help {
		l.Words, l.Command = l.topic(), "help"
		return l, nil
	}
	if len(l.Words) == 1 && (l.Words[0] == "-v" || l.Words[0] == "-version" || l.Words[0] == "--version") {
		l.Command = "version"
		return l, nil
	}
	return l, l.check()
}

// topic are the words of `help` that ask for the command of a line with --help.
func (l Line) topic() []string {
	var words []string
	for _, w := range l.Words {
		if !strings.HasPrefix(w, "-") && len(words) < 2 {
			words = append(words, w)
		}
	}
	for ; len(words) > 0; words = words[:len(words)-1] {
		if help(io.Discard, words) {
			break
		}
	}
	return append([]string{"help"}, words...)
}

func (l Line) check() error {
	switch l.Command {
	case "help":
		if topic := l.Words[1:]; !help(io.Discard, topic) {
			return fmt.Errorf("help: there is no command %q: `posthorn help` shows the commands", strings.Join(topic, " "))
		}
		return nil
	case "serve", "check", "version":
		for _, w := range l.Words {
			if strings.HasPrefix(w, "-") {
				return fmt.Errorf("unknown option %s: `posthorn help` shows the commands", w)
			}
		}
		if len(l.Words) > 1 {
			return fmt.Errorf("%s: unexpected argument %q: `posthorn help` shows the commands", l.Command, l.Words[1])
		}
		return nil
	}
	_, _, err := parse(l.Words)
	return err
}

// Informs answers the commands that need no configuration.
func (l Line) Informs(out io.Writer) bool {
	switch l.Command {
	case "help":
		return help(out, l.Words[1:])
	case "version":
		fmt.Fprintln(out, "posthorn", Version())
		return true
	}
	return false
}

// Version is the module's version, or the revision that was built.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(len(s.Value), 12)]
		}
	}
	return "devel"
}
