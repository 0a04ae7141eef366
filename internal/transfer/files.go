package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Exports are private as the store is.
const (
	folderMode = 0o700
	fileMode   = 0o600
)

// makeFolder makes a folder, and what is missing above it, durably.
func makeFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("there is a file of that name")}
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeNew makes a small file, whole or not at all. fs.ErrExist: it is there.
func writeNew(path string, text []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return replace(path, text)
}

// replace puts a small file in the place of an earlier one of ours, or where none
// was: by a name of its own first, since a process may end in the middle.
func replace(path string, text []byte) error {
	next := filepath.Join(filepath.Dir(path), notePrefix+filepath.Base(path))
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFiles makes written files durable, several at a time, which the file
// system answers together, and closes them.
func syncFiles(files []*os.File) error {
	const together = 16
	var wait sync.WaitGroup
	slots := make(chan struct{}, together)
	failed := make([]error, len(files))
	for i, f := range files {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			failed[i] = errors.Join(f.Sync(), f.Close())
		})
	}
	wait.Wait()
	return errors.Join(failed...)
}

// place gives a durable file its name, unless something has it: fs.ErrExist.
func place(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return os.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links. Nobody else makes names like ours.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fs.ErrExist)
	}
	return os.Rename(from, to)
}
