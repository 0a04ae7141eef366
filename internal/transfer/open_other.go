//go:build !unix

package transfer

const openFlags = 0
