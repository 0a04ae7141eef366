package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"posthorn/storage"
)

// Exit statuses.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// env is what a running command works with.
type env struct {
	store *storage.Store
	in    io.Reader
	out   io.Writer
	err   io.Writer

	site Site

	dataDir string // for offline commands, which have no store
	workDir string // what relative paths in args are relative to

	json          bool
	passwordStdin bool
	flags         options
	given         []string // the names of the flags on the command line
	args          []string
}

// options are the flags that single commands take.
type options struct {
	account   string
	check     bool
	full      bool
	from      string // import imap's source
	insecure  bool
	leave     bool // rollback's -leave-new-mail
	list      bool
	mailbox   string   // the last --mailbox
	mailboxes []string // all of them
	mbox      bool
	now       bool
	since     time.Duration
	uid       uint
	uidl      string
}

// command is one sub-command; its words are the key it is found by.
type command struct {
	words string // "account add"
	args  string // as usage shows them
	help  string // one line
	min   int    // number of arguments
	max   int    // -1: any number

	json     bool     // takes --json
	password bool     // takes a password: prompted for, or --password-stdin
	prompt   string   // what a terminal is asked; "": for a new password, twice
	flags    []string // those of options that it takes

	// valid looks at the arguments before anybody is asked for a password. Nil:
	// there is nothing to look at. No store is open yet.
	valid func(e *env) error

	makes bool // a store, where there is none yet

	// offline tells that the command, with these flags, works on a data folder
	// that no server owns, and opens it itself. Nil: never.
	offline func(e *env) bool

	run func(ctx context.Context, e *env) error
}

// usageError is a command line that no retry mends: exit status 2.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func commands() []command {
	return []command{
		{words: "account add", args: "ADDRESS", help: "make an account", min: 1, max: 1, password: true, valid: namesAddress, run: accountAdd},
		{words: "account list", help: "list the accounts", json: true, run: accountList},
		{words: "account passwd", args: "ADDRESS", help: "set an account's password", min: 1, max: 1, password: true, valid: namesAddress, run: accountPasswd},
		{words: "account remove", args: "ADDRESS", help: "remove an account and all its mail", min: 1, max: 1, run: accountRemove},
		{words: "account set", args: "ADDRESS KEY=VALUE...", help: "set quota, quota_messages or a pop3.* policy; KEY= takes it away", min: 2, max: -1, run: accountSet},
		{words: "account show", args: "ADDRESS", help: "show an account with what counts for it", min: 1, max: 1, json: true, run: accountShow},
		{words: "alias add", args: "ADDRESS TARGET...", help: "send an address's mail on to targets; @DOMAIN catches the rest of a domain", min: 2, max: -1, run: aliasAdd},
		{words: "alias check", help: "look for aliases that lead in a circle or to nobody", run: aliasCheck},
		{words: "alias list", help: "list the aliases", json: true, run: aliasList},
		{words: "alias remove", args: "ADDRESS", help: "remove an alias", min: 1, max: 1, run: aliasRemove},
		{words: "domain add", args: "DOMAIN", help: "accept mail for a domain", min: 1, max: 1, makes: true, run: domainAdd},
		{words: "domain dns", args: "DOMAIN [--check]", help: "print the DNS records to publish, or see whether they are", min: 1, max: 1,
			json: true, flags: []string{"check"}, run: domainDNS},
		{words: "domain list", help: "list the domains", json: true, run: domainList},
		{words: "domain mta-sts", args: "DOMAIN", help: "print the MTA-STS policy, a file for a web server", min: 1, max: 1, run: domainMTASTS},
		{words: "domain remove", args: "DOMAIN", help: "stop accepting mail for a domain without accounts", min: 1, max: 1, run: domainRemove},
		{words: "domain set", args: "DOMAIN KEY=VALUE...", help: "set what counts for its accounts that have no setting of their own", min: 2, max: -1, run: domainSet},
		{words: "domain show", args: "DOMAIN", help: "show a domain with its settings", min: 1, max: 1, json: true, run: domainShow},
		{words: "domain rotate-key", args: "DOMAIN [--now]", help: "make new DKIM keys, which sign when their records had time to spread", min: 1, max: 1,
			json: true, flags: []string{"now"}, run: domainRotateKey},
		{words: "queue bounce", args: "QUEUE-ID|DOMAIN|SENDER|all...", help: "return mail to its senders now", min: 1, max: -1,
			run: queueChange(storage.QueueReturn, "returned to the sender")},
		{words: "queue hold", args: "QUEUE-ID|DOMAIN|SENDER|all...", help: "keep waiting mail from being tried", min: 1, max: -1,
			run: queueChange(storage.QueueHold, "held")},
		{words: "export", args: "ACCOUNT DEST [--mailbox NAME] [--mbox]", help: "write an account's mail into a Maildir tree, or mbox files; again to add what is new",
			min: 2, max: 2, flags: []string{"mailbox", "mbox"}, run: export},
		{words: "import imap", args: "ACCOUNT --from imaps://USER@HOST [--mailbox NAME]... [--insecure] [--uidl FORMAT]",
			help: "bring mail in from another IMAP server; again to go on", min: 1, max: 1, password: true, prompt: "Password there: ",
			flags: []string{"from", "mailbox", "insecure", "uidl"}, valid: namesSource, run: importIMAP},
		{words: "import maildir", args: "ACCOUNT SRC [--mailbox NAME] [--uidl FORMAT]", help: "bring mail in from a Maildir with its folders", min: 2, max: 2,
			flags: []string{"mailbox", "uidl"}, run: importMaildir},
		{words: "import mbox", args: "ACCOUNT SRC [--mailbox NAME] [--uidl FORMAT]", help: "bring mail in from an mbox file, or a folder of them", min: 2, max: 2,
			flags: []string{"mailbox", "uidl"}, run: importMbox},
		{words: "queue list", args: "[QUEUE-ID|DOMAIN|SENDER...]", help: "list the mail that waits for other servers", max: -1, json: true, run: queueList},
		{words: "queue release", args: "QUEUE-ID|DOMAIN|SENDER|all...", help: "let held mail go, at once", min: 1, max: -1,
			run: queueChange(storage.QueueRelease, "released")},
		{words: "queue remove", args: "QUEUE-ID|DOMAIN|SENDER|all...", help: "throw mail away; its senders are not told", min: 1, max: -1,
			run: queueChange(storage.QueueRemove, "removed")},
		{words: "queue retry", args: "QUEUE-ID|DOMAIN|SENDER|all...", help: "try waiting mail at once", min: 1, max: -1,
			run: queueChange(storage.QueueRetry, "due now")},
		{words: "queue show", args: "QUEUE-ID|DOMAIN|SENDER|all...", help: "show what became of mail so far", min: 1, max: -1, json: true, run: queueShow},
		{words: "backup", args: "DEST", help: "copy the whole store into a new folder, while it serves", min: 1, max: 1, run: backup},
		{words: "restore", args: "SRC [--account ADDRESS [--mailbox NAME [--uid UID]]] [--list]", help: "go on from a backup; bring back what of an account is missing; or list what it holds",
			min: 1, max: 1, json: true, flags: []string{"account", "mailbox", "uid", "list"}, offline: restoresOffline, run: restore},
		{words: "rollback", args: "[--leave-new-mail]", help: "go back to before the last upgrade", flags: []string{"leave-new-mail"},
			offline: func(*env) bool { return true }, run: rollback},
		{words: "trace", args: "QUEUE-ID|MESSAGE-ID|ADDRESS", help: "tell what became of a message", min: 1, max: 1, json: true, run: trace},
		{words: "undelete", args: "ADDRESS [--mailbox NAME] [--since 3d] [--list]", help: "bring expunged mail back", min: 1, max: 1,
			json: true, flags: []string{"mailbox", "since", "list"}, run: undelete},
		{words: "verify", args: "[--full]", help: "look for what is wrong in the store", json: true, flags: []string{"full"}, run: verify},
	}
}

// parse finds the command and its flags, which may stand before or after the
// arguments; `--` ends them.
func parse(args []string) (*command, *env, error) {
	e := &env{}
	flags := flag.NewFlagSet("posthorn", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&e.json, "json", false, "")
	flags.BoolVar(&e.passwordStdin, "password-stdin", false, "")
	flags.StringVar(&e.flags.account, "account", "", "")
	flags.BoolVar(&e.flags.check, "check", false, "")
	flags.BoolVar(&e.flags.full, "full", false, "")
	flags.BoolVar(&e.flags.leave, "leave-new-mail", false, "")
	flags.BoolVar(&e.flags.list, "list", false, "")
	flags.Func("mailbox", "", func(name string) error {
		e.flags.mailbox, e.flags.mailboxes = name, append(e.flags.mailboxes, name)
		return nil
	})
	flags.StringVar(&e.flags.from, "from", "", "")
	flags.BoolVar(&e.flags.insecure, "insecure", false, "")
	flags.BoolVar(&e.flags.mbox, "mbox", false, "")
	flags.StringVar(&e.flags.uidl, "uidl", "", "")
	flags.BoolVar(&e.flags.now, "now", false, "")
	flags.Func("since", "", func(text string) (err error) {
		e.flags.since, err = parseAge(text)
		return err
	})
	flags.UintVar(&e.flags.uid, "uid", 0, "")
	var words []string
	for len(args) > 0 {
		if args[0] == "--" {
			words = append(words, args[1:]...)
			break
		}
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, nil, usageError{"the commands are:\n" + Usage()}
			}
			return nil, nil, usageError{optionMistake(err)}
		}
		rest := flags.Args()
		if len(rest) == 0 {
			break
		}
		if len(args) > len(rest) && args[len(args)-len(rest)-1] == "--" {
			words = append(words, rest...)
			break
		}
		words, args = append(words, rest[0]), rest[1:]
	}
	all := commands()
	for i := range all {
		c := &all[i]
		noun, verb, _ := strings.Cut(c.words, " ")
		if len(words) == 0 || words[0] != noun || verb != "" && (len(words) < 2 || words[1] != verb) {
			continue
		}
		e.args = words[len(strings.Fields(c.words)):]
		flags.Visit(func(f *flag.Flag) { e.given = append(e.given, f.Name) })
		return c, e, c.check(e)
	}
	return nil, nil, usageError{unknown(words)}
}

// unknown says what was not understood and what was probably meant.
func unknown(words []string) string {
	if len(words) == 0 {
		return "no command; the commands are:\n" + Usage()
	}
	var verbs []string
	for _, c := range commands() {
		if noun, verb, _ := strings.Cut(c.words, " "); noun == words[0] {
			verbs = append(verbs, verb)
		}
	}
	if len(verbs) > 0 {
		return fmt.Sprintf("%s: needs one of %s", words[0], strings.Join(verbs, ", "))
	}
	return fmt.Sprintf("unknown command %q; `posthorn help` lists the commands", words[0])
}

func (c *command) check(e *env) error {
	usage := "posthorn " + c.usage()
	switch {
	case len(e.args) < c.min:
		return usageError{"an argument is missing: usage: " + usage}
	case c.max >= 0 && len(e.args) > c.max:
		return usageError{fmt.Sprintf("unexpected argument %q: usage: %s", e.args[c.max], usage)}
	case e.json && !c.json:
		return usageError{c.words + " has no --json"}
	case e.passwordStdin && !c.password:
		return usageError{c.words + " takes no password"}
	}
	for _, name := range e.given {
		if name != "json" && name != "password-stdin" && !slices.Contains(c.flags, name) {
			return usageError{fmt.Sprintf("%s has no --%s: usage: %s", c.words, name, usage)}
		}
	}
	return nil
}

// parseAge reads a duration like 90m, 12h, 3d or 2w.
func parseAge(text string) (time.Duration, error) {
	last := max(0, len(text)-1)
	unit := map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[text[last:]]
	n, err := strconv.ParseUint(text[:last], 10, 16)
	d := time.Duration(n) * unit
	if unit == 0 || err != nil {
		d, err = time.ParseDuration(text)
	}
	if err != nil || d <= 0 {
		return 0, errors.New("write a time as 90m, 12h, 3d or 2w")
	}
	return d, nil
}

// path is a file's or folder's place as the operator's shell sees it.
func (e *env) path(name string) string {
	if filepath.IsAbs(name) || e.workDir == "" {
		return name
	}
	return filepath.Join(e.workDir, name)
}

// exec runs the command and reports its outcome in words and exit status.
func (c *command) exec(ctx context.Context, e *env) int {
	err := c.run(ctx, e)
	if err == nil {
		return ExitDone
	}
	fmt.Fprintf(e.err, "posthorn: %s: %v\n", c.words, err)
	if _, usage := errors.AsType[usageError](err); usage {
		return ExitUsage
	}
	return ExitFailed
}

// readPassword takes the first line of the command's input.
func (e *env) readPassword() (string, error) {
	line, err := bufio.NewReader(io.LimitReader(e.in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("the password is empty: give one on the first line of standard input")
	}
	return line, nil
}

// printJSON writes one object on one line.
func (e *env) printJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.out, "%s\n", b)
	return err
}
