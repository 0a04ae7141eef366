// Posthorn is a whole mail server in one binary: SMTP, IMAP and POP3 over one
// SQLite store. README.md says how to run it, docs/flow.md how it hangs together.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"posthorn/internal/admin"
	"posthorn/internal/config"
	"posthorn/internal/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program without the process around it; its result is the exit status.
func run(ctx context.Context, args []string, in *os.File, out, errOut io.Writer) int {
	line, err := admin.ParseLine(args)
	if err != nil {
		fmt.Fprintln(errOut, "posthorn:", err)
		return admin.ExitUsage
	}
	if line.Informs(out) {
		return admin.ExitDone
	}
	cfg, err := config.Load(line.File)
	switch {
	case err != nil:
	case line.Command == "check":
		err = admin.Check(ctx, line.File, cfg.DataPath(), cfg.TLS, cfg.Site(), out)
	case line.Command == "serve":
		err = server.Run(ctx, cfg, line.File, slog.New(slog.NewTextHandler(errOut, nil)))
	default:
		return admin.Run(ctx, cfg.DataDir, cfg.Site(), line.Words, in, out, errOut)
	}
	if err != nil {
		fmt.Fprintln(errOut, "posthorn:", err)
		return admin.ExitFailed
	}
	return admin.ExitDone
}
