//go:build !linux

package server

import "runtime/debug"

// release gives the heap's memory back that is not in use.
func release() { debug.FreeOSMemory() }
