//go:build !dpdk

package dpdk

import (
	"errors"
	"testing"
)

func TestStartWithoutDPDKSaysSo(t *testing.T) {
	r, err := Start(Config{})
	if r != nil || !errors.Is(err, ErrNotBuilt) {
		t.Fatalf("got %v, %v", r, err)
	}
}
