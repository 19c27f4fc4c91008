package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Bounds of the packets that wait for the answer to a QUERY.
const (
	// HoldMax is how many packets of one worker wait at a time.
	HoldMax = 64
	holdMS  = 20 // milliseconds for TCP, whose sender repeats
	// A datagram waits longer: without an answer it is scheduled as new, and if its session only was slow to come its flow moves.
	holdDatagramMS = 100
)

// hold keeps packets of unknown sessions while the peers are asked. It owns them.
type hold struct {
	pkt [HoldMax]port.Packet
	key [HoldMax]flow.Key
	due [HoldMax]uint32 // tick at which the wait ends
	dev [HoldMax]uint8  // device that it came in by
	n   int
}

// add takes the packet over, or reports false when there is no room and the caller still owns it.
func (h *hold) add(p port.Packet, dev uint8, k *flow.Key, now uint32) bool {
	if h.n == HoldMax {
		return false
	}
	h.pkt[h.n], h.key[h.n], h.due[h.n], h.dev[h.n] = p, *k, now+HoldFor(k), dev
	h.n++
	return true
}

// HoldFor is how long, in milliseconds, a packet of k waits.
func HoldFor(k *flow.Key) uint32 {
	if k.Proto() != flow.ProtoTCP {
		return holdDatagramMS
	}
	return holdMS
}

// release moves every packet of k into out, in order of arrival, and its device into dev at the same place. out must have room for
// HoldMax packets.
func (h *hold) release(k *flow.Key, out *port.Batch, dev *[port.BatchMax]uint8) {
	h.split(out, dev, func(i int) bool { return h.key[i] == *k })
}

// expire moves every packet whose wait is over into out, as release does.
func (h *hold) expire(now uint32, out *port.Batch, dev *[port.BatchMax]uint8) {
	h.split(out, dev, func(i int) bool { return int32(now-h.due[i]) >= 0 })
}

// split moves the packets that leave says into out and closes the gaps, so that the order of the rest stays.
func (h *hold) split(out *port.Batch, dev *[port.BatchMax]uint8, leave func(int) bool) {
	keep := 0
	for i := range h.n {
		if n := out.N; leave(i) && out.Push(h.pkt[i]) {
			dev[n] = h.dev[i]
			continue
		}
		h.pkt[keep], h.key[keep], h.due[keep], h.dev[keep] = h.pkt[i], h.key[i], h.due[i], h.dev[i]
		keep++
	}
	h.n = keep
}
