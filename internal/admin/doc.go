// Package admin is the operator's side of Posthorn: the sub-commands and the
// control socket by which they work while the server runs.
//
// A command is written once, as a function over an open store. Where no server
// owns the data folder, Run opens the store itself; otherwise it sends the
// command's words through data_dir/control.sock (mode 0600) and the server runs
// the same function on its own store, so that watchers, caches and the one
// writer stay true.
//
// Exit status: 0 done, 1 failed, 2 usage. Results go to stdout, errors to
// stderr as `posthorn: WHAT: WHERE: HOW TO MEND`. docs/cli.md lists the
// commands and the keys of --json.
package admin
