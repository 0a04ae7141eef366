package storage

import (
	"fmt"
	"os"
)

// makeFolder makes the data folder, or makes an empty one private: mail is its
// owner's business. The mode of a folder with things in it is left alone, since
// data_dir may be /var/lib by mistake; our files are for their owner anyway.
func (s *Store) makeFolder() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return refuse("the data folder cannot be made", s.dir, "check that its parent exists and is writable, or set data_dir", err)
	}
	info, err := os.Stat(s.dir)
	if err != nil {
		return refuse("the data folder cannot be examined", s.dir, s.ownership(), err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	used, _ := s.examineFiles() // asked again soon, and its error told then
	empty, err := s.empty()
	switch {
	case err == nil && empty:
		err = os.Chmod(s.dir, 0o700)
	case err == nil && !used && info.Mode().Perm()&0o002 != 0:
		return refuse("the data folder is everybody's", s.dir, "it holds other things and anyone may write to it: set data_dir to a folder for Posthorn alone", nil)
	case err == nil:
		s.log.Warn("storage: the data folder is open to other users: chmod 700 it, or set data_dir to a folder for Posthorn alone",
			"folder", s.dir, "mode", info.Mode().Perm().String())
	}
	if err != nil {
		return refuse("the data folder cannot be made private", s.dir, s.ownership(), err)
	}
	return nil
}

// empty says whether nothing is in the folder, apart from what a start that
// failed or the file system left there.
func (s *Store) empty() (bool, error) {
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		if n := e.Name(); n != lockName && n != databaseName && n != "lost+found" {
			return false, nil
		}
	}
	return true, err
}

// ownership says how to mend that the folder or a file in it belongs to another
// user: mostly a command was typed by somebody else than the server's user.
func (s *Store) ownership() string {
	const mend = "let the user that runs posthorn own the folder and its files"
	info, err := os.Stat(s.dir)
	if err != nil {
		return mend
	}
	if owner, other := anotherOwner(info); other {
		return fmt.Sprintf("run this as %s, who owns the folder (sudo -u %[1]s), or as root", owner)
	}
	return mend
}

// mustExist refuses a folder without a store.
func (s *Store) mustExist() error {
	used, err := s.examineFiles()
	if err != nil || used {
		return err
	}
	return refuse("there is no store yet", s.dir,
		"start the server, which makes it, or set data_dir; one that is no absolute path begins in the folder where the command is typed", nil)
}
