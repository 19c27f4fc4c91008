//go:build amd64

package worker

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// wide: the processor compares and reorders 64 bytes at once, as AMD's do since Zen 4 and Intel's for servers since Ice Lake.
var wide = cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VBMI

// note is plainRun of n packets, n at least 1, from one device, for as long as they are plain. It returns how many it noted.
//
//go:noescape
func note(pkt *port.Packet, n int, gate *packet.Gate, said *conntrack.Plain) (noted int)

// rewrite is rewriteGo of n packets, n at least 1, in fewer instructions.
//
//go:noescape
func rewrite(pkt *port.Packet, said *conntrack.Plain, n int, routes []neigh.Route4, slots *routeSlot4, tx []port.Batch) (done int)

// What the assembly takes for granted. These are indexes of arrays of one element, so any difference fails the build.
var (
	_ = [1]struct{}{}[packet.PlainSize-54]
	_ = [1]struct{}{}[unsafe.Sizeof(port.Packet{})-32]
	_ = [1]struct{}{}[unsafe.Sizeof(port.Batch{})-8200]
	_ = [1]struct{}{}[unsafe.Offsetof(port.Batch{}.Pkt)]
	_ = [1]struct{}{}[unsafe.Offsetof(port.Batch{}.N)-8192]
	_ = [1]struct{}{}[port.BatchMax-256]
	_ = [1]struct{}{}[unsafe.Sizeof(conntrack.Plain{})-32]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Addr)]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Ports)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Seq)-12]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Ack)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Payload)-20]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Window)-24]
	_ = [1]struct{}{}[unsafe.Offsetof(conntrack.Plain{}.Size)-26]
	_ = [1]struct{}{}[unsafe.Sizeof(neigh.Route4{})-16]
	_ = [1]struct{}{}[unsafe.Offsetof(neigh.Route4{}.Mask)]
	_ = [1]struct{}{}[unsafe.Offsetof(neigh.Route4{}.Net)-4]
	_ = [1]struct{}{}[unsafe.Offsetof(neigh.Route4{}.Hop)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(neigh.Hop{}.Plain)]
	_ = [1]struct{}{}[unsafe.Offsetof(neigh.PlainHop{}.Head)]
	_ = [1]struct{}{}[unsafe.Offsetof(neigh.PlainHop{}.Tail)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(neigh.PlainHop{}.MTU)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(neigh.PlainHop{}.Port)-20]
	_ = [1]struct{}{}[unsafe.Sizeof(routeSlot4{})-32]
	_ = [1]struct{}{}[unsafe.Offsetof(routeSlot4{}.hop)]
	_ = [1]struct{}{}[unsafe.Offsetof(routeSlot4{}.dst)-24]
	_ = [1]struct{}{}[routeSlots-1<<10]
	_ = [1]struct{}{}[unsafe.Offsetof(packet.Gate{}.Mask)]
	_ = [1]struct{}{}[unsafe.Offsetof(packet.Gate{}.Low)-64]
	_ = [1]struct{}{}[unsafe.Offsetof(packet.Gate{}.High)-128]
)
