//go:build amd64

package worker

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// wide: the processor compares and reorders 64 bytes at once, as AMD's do since Zen 4 and Intel's for servers since Ice Lake.
var wide = cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VBMI

// note is plainRun of n packets, n at least 1, from one device, for as long as they are plain. It returns how many it noted.
//
//go:noescape
func note(pkt *port.Packet, n int, gate *packet.Gate, said *conntrack.Plain) (noted int)

// What the assembly takes for granted. These are indexes of arrays of one element, so any difference fails the build.
var (
	_ = [1]struct{}{}[packet.PlainSize-54]
	_ = [1]struct{}{}[unsafe.Sizeof(port.Packet{})-32]
	_ = [1]struct{}{}[unsafe.Sizeof(conntrack.Plain{})-32]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Addr)]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Ports)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Seq)-12]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Ack)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Payload)-20]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Window)-24]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Size)-26]
	_ = [1]struct{}{}[unsafe.Offsetof(packet.Gate{}.Mask)]
	_ = [1]struct{}{}[unsafe.Offsetof(packet.Gate{}.Low)-64]
	_ = [1]struct{}{}[unsafe.Offsetof(packet.Gate{}.High)-128]
)
