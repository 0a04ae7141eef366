package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"posthorn/internal/certs"
	"posthorn/storage"
)

// Check looks at what a start would trip over, beyond the file's own mistakes, and
// at the aliases. It changes nothing in the data folder.
func Check(ctx context.Context, file, dataDir string, tls certs.Config, site Site, out io.Writer) error {
	if info, err := os.Stat(dataDir); err == nil && !info.IsDir() {
		return fmt.Errorf("data_dir is no folder: %s: name a folder, or one to make", dataDir)
	}
	warnings, err := certs.Check(tls, site.Hostname)
	if err != nil {
		return err
	}
	problems, err := checkAliases(ctx, dataDir, site)
	if err != nil {
		return err
	}
	for _, w := range append(warnings, problems...) {
		fmt.Fprintln(out, "warning:", w)
	}
	_, err = fmt.Fprintf(out, "%s is fine\n", file)
	return err
}

// checkAliases asks the server that runs, or looks into the store that waits for
// one.
func checkAliases(ctx context.Context, dataDir string, site Site) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dataDir, "posthorn.id")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var answer, complaint bytes.Buffer
	exit, err := ask(ctx, dataDir, request{Args: []string{"alias", "check"}}, &answer, &complaint)
	switch {
	case err == nil && exit == ExitDone:
		return nil, nil
	case err == nil && exit == ExitFailed && answer.Len() > 0:
		return strings.Split(strings.TrimSuffix(answer.String(), "\n"), "\n"), nil
	case err == nil: // an older server, which does not know the command
		return []string{"the server that runs does not check its aliases: " + strings.TrimSpace(complaint.String())}, nil
	case !errors.Is(err, errNoServer):
		return nil, err
	}
	store, err := storage.Open(dataDir, storage.Options{Retention: math.MaxInt64, TraceRetention: math.MaxInt64, CompressAfter: -1, Existing: true, NoUpgrade: true})
	if err != nil {
		return unchecked(err)
	}
	defer store.Close()
	return aliasProblems(ctx, store, site.Delivery)
}

// unchecked are the errors that say nothing against a start: a store that the next
// start upgrades, one that another process has open, and one that is not for the
// eyes of who runs the check.
func unchecked(err error) ([]string, error) {
	for _, harmless := range []error{storage.ErrOldSchema, storage.ErrLocked, fs.ErrPermission} {
		if errors.Is(err, harmless) {
			return []string{"the aliases are not checked: " + err.Error()}, nil
		}
	}
	return nil, err
}
