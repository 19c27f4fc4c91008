//go:build dpdk

package dpdk

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// pcapFile writes a capture file of the frames.
func pcapFile(t *testing.T, frames ...[]byte) string {
	t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 65535)
	b = binary.LittleEndian.AppendUint32(b, 1)
	for _, f := range frames {
		b = append(b, make([]byte, 8)...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	name := filepath.Join(t.TempDir(), "in.pcap")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestUnfitPacketsAreCountedAndFreed(t *testing.T) {
	good1, good2 := frame(60, 1), frame(1514, 2)
	in := pcapFile(t, good1, frame(14, 0)[:13], frame(9000, 3), good2, []byte{1}, frame(4000, 4), frame(14, 5))
	p := open(t, PortConfig{Device: "net_pcap0,rx_pcap=" + in + ",tx_pcap=" + filepath.Join(t.TempDir(), "out.pcap"), Workers: 1})
	got := receive(t, p, 0, 3, nil)
	for i, want := range [][]byte{good1, good2, frame(14, 5)} {
		if !bytes.Equal(got[i], want) {
			t.Errorf("packet %d: got %x", i, got[i])
		}
	}
	if s := p.Stats(); s.RxSegmented != 2 || s.RxRunt != 2 {
		t.Errorf("stats %+v", s)
	}
	var b port.Batch
	if p.Rx(0, &b) != 0 {
		t.Errorf("%d more packets", b.N)
	}
}
