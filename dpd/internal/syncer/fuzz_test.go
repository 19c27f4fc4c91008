package syncer_test

import (
	"encoding/binary"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// FuzzReceive lets a member say anything that the codec would pass on. It may spoil what it is trusted with, its own
// sessions, but the Shard must keep its accounts and never ask its store for what a store refuses.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	f.Add([]byte{4, 1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0, 5, 1, 1, 1, 2, 3, 8, 0, 0, 0, 0, 0})
	f.Add([]byte{8, 1, 1, 1, 2, 2, 2, 0x3f, 1, 0, 0, 0, 17, 2, 1, 1, 2, 3, 4, 1, 9, 9, 9, 9})
	f.Fuzz(func(t *testing.T, in []byte) {
		b := newBench(t, 0)
		b.store.max = 16
		for ; len(in) >= 12; in = in[12:] {
			s := session(int(in[1]%4), 1+in[2]%3, 5+uint16(in[3]%4), flow.Birth(90+in[4]%5)<<16, uint32(in[5]%5), uint32(in[6]>>4), uint32(in[6]&15))
			s.Flags = flow.Flags(binary.LittleEndian.Uint16(in[7:]))
			s.State, s.Bits, s.Idle = flow.State(in[9]), flow.Bits(in[10]), uint32(in[11])<<9
			m := syncwire.Message{Kind: syncwire.Kind(in[0] % syncwire.NumKinds), Dir: in[8], Hint: syncwire.HintFlags(in[10]), Found: in[9]&1 != 0, ID: uint64(in[11]), Rec: record(s)}
			b.Receive(b.now, nodeID(uint32(2+in[0]%3)), &m)
			b.now += int64(in[11]) * 50
			b.Tick(b.now, 8)
			if len(b.Actions()) > 4_000 {
				t.Fatalf("%d actions for one message", len(b.Actions()))
			}
			b.Done()
		}
		b.sumsHold(t)
		if b.Count[syncer.StoreFault] != 0 {
			t.Error("asked the store for what it must refuse")
		}
	})
}

// FuzzDatagram throws bytes at a link from outside: nothing may be delivered, answered or believed.
func FuzzDatagram(f *testing.F) {
	p := newPair(&testing.T{})
	p.say(0, 1)
	for _, d := range p.e[0].take() {
		d.b[len(d.b)-1] ^= 1 // its seal is broken, the rest is as good as it gets
		f.Add(d.b)
		f.Add(d.b[:syncwire.HeaderLen])
	}
	f.Add([]byte("hf"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p.e[1].got, p.e[1].sent = nil, nil
		p.e[1].Datagram(p.now, from, in)
		p.e[1].Flush(p.now)
		if len(p.e[1].got) != 0 || len(p.e[1].sent) != 0 {
			t.Errorf("%d deliveries, %d answers", len(p.e[1].got), len(p.e[1].sent))
		}
	})
}
