// Package errno turns the return codes of DPDK into Go errors.
package errno

import "syscall"

// Err is nil for codes of zero and above, and the error number for negative ones.
func Err(code int) error {
	if code >= 0 {
		return nil
	}
	return syscall.Errno(-code)
}

// Or is code as an error, or EINVAL when a call failed without saying why.
func Or(code int) error {
	if code == 0 {
		return syscall.EINVAL
	}
	if code < 0 {
		code = -code
	}
	return syscall.Errno(code)
}
