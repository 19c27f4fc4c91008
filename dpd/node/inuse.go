package node

import (
	"errors"
	"syscall"
	"time"
)

const (
	inUseFor   = 5 * time.Second
	inUseAgain = 50 * time.Millisecond
)

// whileInUse calls listen again for a while as long as its address is in use. A data plane that starts at once after another
// was killed may find its sockets: the kernel closes them when the last thread of that process is gone, and a busy machine
// takes its time.
func whileInUse(listen func() error) error {
	for end := time.Now().Add(inUseFor); ; time.Sleep(inUseAgain) {
		err := listen()
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return err
		}
	}
}
