package conntrack

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Whatever segments come in whatever order: facts are never taken back, the end is said once and only when it is one,
// what is doubted changes nothing, and a session that just saw a packet isn't due.
func FuzzSegments(f *testing.F) {
	f.Add([]byte{0, SYN, 0, 0, 0, 1, SYN | ACK, 0, 1, 0, 0, ACK, 1, 1, 0, 0, ACK, 1, 1, 9, 1, FIN | ACK, 1, 10, 0, 0, FIN | ACK, 10, 2, 0, 1, ACK, 2, 11, 0})
	f.Add([]byte{0, SYN, 0, 0, 0, 1, RST | ACK, 0, 1, 0})
	f.Add([]byte{0, SYN, 0, 0, 0, 0, RST, 1, 0, 0, 0, SYN, 9, 0, 0})
	f.Add([]byte{1, RST, 0, 0, 0, 0, FIN, 200, 0, 3, 1, SYN | FIN, 7, 7, 7, 0, 0, 0, 0, 0})
	tab := newTable(f, Config{CapacityV4: 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		tab.Advance(0)
		h, err := tab.Insert(tcp4(t))
		if err != nil {
			t.Fatal(err)
		}
		defer tab.Remove(h)
		var due [1]flow.Handle
		closed, now := false, expiry.Tick(1)
		for ; len(data) >= 5; data = data[5:] {
			now += expiry.Tick(data[4]) * 13
			seg := Segment{Flags: data[1], Seq: cISN + uint32(int8(data[2])), Ack: sISN + uint32(int8(data[3])), Payload: uint32(data[4] & 15), Window: uint16(data[4])}
			d := flow.Direction(data[0] & 1)
			if d == flow.Out {
				seg.Seq, seg.Ack = seg.Seq-cISN+sISN, seg.Ack-sISN+cISN
			}
			r := tab.at(h)
			bits, state := r.bits, r.state
			o := tab.Touch(h, d, &seg, now)
			if bits&^r.bits != 0 {
				t.Fatalf("bits %b became %b", bits, r.bits)
			}
			if o&BitsChanged != 0 != (bits != r.bits) || o&StateChanged != 0 != (state != r.state) {
				t.Fatalf("outcome %b: bits %b to %b, state %d to %d", o, bits, r.bits, state, r.state)
			}
			if o&(Doubted|Untracked|SynOnExisting) != 0 && (bits != r.bits || state != r.state) {
				t.Fatalf("outcome %b changed bits %b to %b, state %d to %d", o, bits, r.bits, state, r.state)
			}
			if o&Closed != 0 != (ends(r.bits) && !ends(bits)) || o&Closed != 0 && closed {
				t.Fatalf("outcome %b: bits %b to %b, closed before: %v", o, bits, r.bits, closed)
			}
			fins := (r.bits ^ bits) & (flow.FinIn | flow.FinOut)
			begun, begins := bits&flow.Ending != 0, bits&flow.Ending == 0 && r.bits&flow.Ending != 0
			if o&Ending != 0 != begins || o&OtherFin != 0 != (begun && fins != 0) {
				t.Fatalf("outcome %b: bits %b to %b", o, bits, r.bits)
			}
			closed = closed || o&Closed != 0
			if int(r.state) >= tcpStates {
				t.Fatalf("state %d", r.state)
			}
			if o&SynOnExisting == 0 && tab.Sweep(now, 2, 1, due[:]) != 0 {
				t.Fatal("due although it just saw a packet")
			}
		}
	})
}
