package admin

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"posthorn/internal/certs"
)

// Line is a command line with its -config taken out.
type Line struct {
	File    string   // the configuration file
	Command string   // the first word; "serve" where there is none
	Words   []string // all words and the command's own flags
}

// ParseLine finds -config FILE wherever it stands. Its error is a usage error.
func ParseLine(args []string) (Line, error) {
	l := Line{File: "./config.toml", Command: "serve"}
	for ; len(args) > 0; args = args[1:] {
		name, value, inline := strings.Cut(args[0], "=")
		switch {
		case args[0] == "--":
			l.Words, args = append(l.Words, args...), args[:1]
		case name == "-h" || name == "-help" || name == "--help":
			l.Command = "help"
			return l, nil
		case name != "-config" && name != "--config":
			l.Words = append(l.Words, args[0])
		case inline:
			l.File = value
		case len(args) < 2:
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
	alone := l.Command == "serve" || l.Command == "check" || l.Command == "version" || l.Command == "help"
	if alone && len(l.Words) > 1 || l.Command == "serve" && len(l.Words) == 1 && l.Words[0] != "serve" {
		return l, fmt.Errorf("%s: unexpected argument %q: `posthorn help` shows the commands", l.Command, l.Words[len(l.Words)-1])
	}
	return l, nil
}

// Informs answers the commands that need no configuration.
func (l Line) Informs(out io.Writer) bool {
	switch l.Command {
	case "help":
		fmt.Fprint(out, usage, Usage())
	case "version":
		fmt.Fprintln(out, "posthorn", Version())
	default:
		return false
	}
	return true
}

const usage = `usage: posthorn [-config FILE] [COMMAND ...]

  serve                            run the server (the default)
  check                            look for mistakes in the configuration
  version                          say which version this is
  help                             show this
`

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

// Check looks at what a start would trip over, beyond the file's own mistakes,
// without touching the data folder.
func Check(file string, tls certs.Config, hostname string, out io.Writer) error {
	warnings, err := certs.Check(tls, hostname)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(out, "warning:", w)
	}
	_, err = fmt.Fprintf(out, "%s is fine\n", file)
	return err
}
