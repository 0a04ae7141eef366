package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/term"

	"posthorn/storage"
)

// startWait is how long a command waits for a server that has taken the data
// folder and does not answer yet.
const startWait = 10 * time.Second

// Run runs the command that args name on the data folder and returns its exit
// status: in the server that owns the folder, or here when there is none.
func Run(ctx context.Context, dataDir string, site Site, args []string, in *os.File, out, errOut io.Writer) int {
	cmd, e, err := parse(args)
	if err != nil {
		fmt.Fprintf(errOut, "posthorn: %v\n", err)
		return ExitUsage
	}
	if cmd.valid != nil {
		if err := cmd.valid(e); err != nil {
			fmt.Fprintf(errOut, "posthorn: %s: %v\n", cmd.words, err)
			return ExitUsage
		}
	}
	var input []byte
	if cmd.password {
		if input, err = askPassword(cmd, e, in, errOut); err != nil {
			fmt.Fprintf(errOut, "posthorn: %s: %v\n", cmd.words, err)
			return ExitFailed
		}
	}
	e.site = site
	if e.workDir, err = os.Getwd(); err != nil {
		fmt.Fprintf(errOut, "posthorn: %s: %v\n", cmd.words, err)
		return ExitFailed
	}
	if cmd.offline != nil && cmd.offline(e) {
		e.dataDir, e.out, e.err = dataDir, out, errOut
		return cmd.exec(ctx, e)
	}
	q := request{Args: args, Input: input, Dir: e.workDir}
	for deadline := time.Now().Add(startWait); ; {
		exit, err := ask(ctx, dataDir, q, out, errOut)
		if err == nil {
			return exit
		}
		if !errors.Is(err, errNoServer) {
			fmt.Fprintf(errOut, "posthorn: %s: %v\n", cmd.words, err)
			return ExitFailed
		}
		// A command frees no expunged mail: how long it is kept is the server's
		// to know.
		store, err := storage.Open(dataDir, storage.Options{Retention: math.MaxInt64, TraceRetention: math.MaxInt64, Existing: !cmd.makes})
		if err == nil {
			defer store.Close()
			e.store, e.in, e.out, e.err = store, bytes.NewReader(input), out, errOut
			return cmd.exec(ctx, e)
		}
		if !errors.Is(err, storage.ErrLocked) || time.Now().After(deadline) {
			fmt.Fprintf(errOut, "posthorn: %v\n", err)
			return ExitFailed
		}
		select {
		case <-ctx.Done():
			return ExitFailed
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// askPassword reads the password where the person is: twice without echo on a
// terminal, one line of standard input with --password-stdin or a pipe.
func askPassword(cmd *command, e *env, in *os.File, prompt io.Writer) ([]byte, error) {
	if e.passwordStdin || !term.IsTerminal(int(in.Fd())) {
		if !e.passwordStdin {
			return nil, errors.New("there is no terminal to ask for the password: give it on standard input with --password-stdin")
		}
		password, err := (&env{in: in}).readPassword()
		return []byte(password + "\n"), err
	}
	if cmd.prompt != "" {
		fmt.Fprint(prompt, cmd.prompt)
		password, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(prompt)
		if err != nil {
			return nil, fmt.Errorf("reading the password: %w", err)
		}
		return append(password, '\n'), nil
	}
	fmt.Fprint(prompt, "New password: ")
	first, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(prompt)
	if err != nil {
		return nil, fmt.Errorf("reading the password: %w", err)
	}
	fmt.Fprint(prompt, "Once more: ")
	second, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(prompt)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the password: %w", err)
	case len(first) == 0:
		return nil, errors.New("the password is empty")
	case !bytes.Equal(first, second):
		return nil, errors.New("the two passwords differ; nothing was changed")
	}
	return append(first, '\n'), nil
}
