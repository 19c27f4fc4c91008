package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	sentGrams = 1 << 12 // datagrams remembered in a lane
	sentRefs  = 1 << 15 // messages remembered in a lane
)

// sentRef is a message that was sent. 32 bytes.
type sentRef struct {
	ref   Ref
	seq   uint64
	shard uint16
}

// gram is a datagram that was sent: its messages are refs [first, first+n).
type gram struct {
	counter uint64
	first   uint64
	at      int64 // when it was opened
	n       int
}

// outLane builds and seals one lane of datagrams to a peer and remembers what they spoke of, in two rings.
type outLane struct {
	sealer  *syncseal.Sealer
	builder *syncwire.Builder
	buf     []byte
	open    bool
	summed  bool   // it holds digests
	began   uint64 // clock of the open datagram, in milliseconds
	grams   []gram
	refs    []sentRef
	next    uint64 // index of the next ref
	first   uint64 // of the open datagram
	told    uint64 // counter up to which shards were told of reception
	had     uint64 // counter up to which the peer has all
}

func newOutLane(ring *syncseal.Ring, link syncseal.Link, keep bool) outLane {
	l := outLane{
		sealer:  syncseal.NewSealer(ring, link),
		builder: syncwire.NewBuilder(link.Inc, link.Sender),
		buf:     make([]byte, syncwire.MaxDatagram),
	}
	if keep {
		l.grams, l.refs = make([]gram, sentGrams), make([]sentRef, sentRefs)
	}
	return l
}

// begin opens a datagram of at most mtu bytes unless one is open.
func (l *outLane) begin(lane syncwire.Lane, mtu int, view, sent uint64) {
	if l.open {
		return
	}
	l.builder.Reset(l.buf[:mtu], lane, view, sent)
	l.open, l.summed, l.first, l.began = true, false, l.next, sent
}

// note remembers a message of the open datagram.
func (l *outLane) note(r sentRef) {
	if l.refs == nil {
		return
	}
	l.refs[l.next%sentRefs] = r
	l.next++
}

// seal ends the open datagram; nil when there is none or no key.
func (l *outLane) seal() []byte {
	if !l.open {
		return nil
	}
	l.open, l.summed = false, false
	b, c, err := l.sealer.Seal(l.builder.Finish())
	if err != nil {
		return nil
	}
	if l.grams != nil {
		l.grams[c%sentGrams] = gram{counter: c, first: l.first, at: int64(l.began), n: int(l.next - l.first)}
	}
	return b
}

// sent finds what a datagram spoke of; false when that was overwritten.
func (l *outLane) sent(c uint64) (gram, bool) {
	if l.grams == nil || c == 0 {
		return gram{}, false
	}
	g := l.grams[c%sentGrams]
	return g, g.counter == c && l.next-g.first <= sentRefs
}
