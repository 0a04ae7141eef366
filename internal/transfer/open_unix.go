//go:build unix

package transfer

import "syscall"

// openFlags keep from following a link and from waiting for a pipe's writer.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
