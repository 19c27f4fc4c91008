package conntrack

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// step is one packet and what it must lead to.
type step struct {
	dir   flow.Direction
	seg   Segment
	want  Outcome
	state flow.State
}

const (
	in, out = flow.In, flow.Out
	cISN    = 0xffffff00 // wraps in the course of a test
	sISN    = 5000
)

func c(flags uint8, off, ack, payload uint32) Segment {
	return Segment{Flags: flags, Seq: cISN + off, Ack: sISN + ack, Payload: payload, Window: 1000}
}

func s(flags uint8, off, ack, payload uint32) Segment {
	return Segment{Flags: flags, Seq: sISN + off, Ack: cISN + ack, Payload: payload, Window: 2000}
}

var handshake = []step{
	{in, Segment{Flags: SYN, Seq: cISN, Window: 1000}, StateChanged | BitsChanged, flow.TCPSynRecv},
	{out, s(SYN|ACK, 0, 1, 0), BitsChanged, flow.TCPSynRecv},
	{in, c(ACK, 1, 1, 0), StateChanged | HandshakeDone, flow.TCPEstablished},
}

func run(t *testing.T, tab *Table, h flow.Handle, steps []step) {
	t.Helper()
	for i, st := range steps {
		if got := tab.Touch(h, st.dir, &st.seg, expiry.Tick(1000*(i+1))); got != st.want {
			t.Fatalf("step %d: outcome %b, want %b", i, got, st.want)
		}
		if got := tab.State(h); got != st.state {
			t.Fatalf("step %d: state %d, want %d", i, got, st.state)
		}
	}
}

func TestTCPLives(t *testing.T) {
	const es, cw, fw, tw, cl, sr = flow.TCPEstablished, flow.TCPCloseWait, flow.TCPFinWait, flow.TCPTimeWait, flow.TCPClose, flow.TCPSynRecv
	for name, steps := range map[string][]step{
		"data both ways is the ordinary case": {
			{in, c(ACK|PSH, 1, 1, 300), 0, es}, {out, s(ACK, 1, 301, 1000), 0, es}, {in, c(ACK, 301, 1001, 0), 0, es},
		},
		"client closes first": {
			{in, c(FIN|ACK, 1, 1, 0), StateChanged | BitsChanged | Ending, cw},
			{out, s(ACK, 1, 2, 0), BitsChanged | FinAcked, cw},
			{out, s(FIN|ACK, 1, 2, 0), StateChanged | BitsChanged | OtherFin, tw},
			{in, c(ACK, 2, 2, 0), BitsChanged | FinAcked | Closed, tw},
			{in, c(ACK, 2, 2, 0), 0, tw},
		},
		"server closes first with data on the fin": {
			{out, s(FIN|ACK|PSH, 1, 1, 10), StateChanged | BitsChanged | Ending, fw},
			{in, c(FIN|ACK, 1, 12, 0), StateChanged | BitsChanged | FinAcked | OtherFin, tw},
			{out, s(ACK, 12, 2, 0), BitsChanged | FinAcked | Closed, tw},
		},
		"a fin is repeated": {
			{in, c(FIN|ACK, 1, 1, 0), StateChanged | BitsChanged | Ending, cw},
			{in, c(FIN|ACK, 1, 1, 0), 0, cw},
		},
		"an ack short of the fin doesn't acknowledge it": {
			{in, c(FIN|ACK, 1, 1, 5), StateChanged | BitsChanged | Ending, cw},
			{out, s(ACK, 1, 6, 0), 0, cw},
			{out, s(ACK, 1, 7, 0), BitsChanged | FinAcked, cw},
			{out, s(ACK, 1, 7, 0), 0, cw},
		},
		"server resets in sequence": {
			{out, s(RST|ACK, 1, 1, 0), StateChanged | BitsChanged | Ending | Closed, cl},
			{out, s(RST|ACK, 1, 1, 0), 0, cl},
		},
		"client resets in sequence": {
			{in, c(RST, 1, 0, 0), StateChanged | BitsChanged | Ending | Closed, cl},
		},
		"blind resets and fins close nothing, and data restores": {
			{in, c(RST, 2, 0, 0), Doubted, es}, {in, c(RST, 0, 0, 0), Doubted, es}, {out, s(RST|ACK, 900, 1, 0), Doubted, es},
			{in, c(FIN|ACK, 50, 1, 0), Doubted, es},
			{in, c(ACK, 1, 1, 10), 0, es},
			{in, c(RST, 11, 0, 0), StateChanged | BitsChanged | Ending | Closed, cl},
		},
		"data with an implausible acknowledgement moves nothing": {
			{in, c(ACK, 700000, 90_000_000, 10), 0, es},
			{in, c(RST, 700010, 0, 0), Doubted, es},
			{in, c(RST, 1, 0, 0), StateChanged | BitsChanged | Ending | Closed, cl},
		},
		"data that acknowledges what passed elsewhere counts": {
			{out, s(ACK|PSH, 1, 101, 200), 0, es},
			{out, s(ACK|PSH, 201, 50_001, 200), 0, es},
			{out, s(FIN|ACK, 401, 50_001, 0), StateChanged | BitsChanged | Ending, fw},
		},
		"a late repetition doesn't move the hints back": {
			{in, c(ACK, 1, 1, 100), 0, es}, {in, c(ACK, 1, 1, 50), 0, es},
			{in, c(RST, 101, 0, 0), StateChanged | BitsChanged | Ending | Closed, cl},
		},
		"a syn with another number is not ours to judge": {
			{in, Segment{Flags: SYN, Seq: 77}, SynOnExisting, es},
			{in, Segment{Flags: SYN, Seq: cISN}, 0, es},
		},
		"flags that make no sense": {
			{in, c(0, 1, 1, 0), Untracked, es}, {in, c(SYN|FIN, 1, 1, 0), Untracked, es}, {out, s(PSH, 1, 1, 0), Untracked, es},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(t, Config{CapacityV4: 2})
			h, err := tab.Insert(tcp4(t))
			if err != nil {
				t.Fatal(err)
			}
			run(t, tab, h, handshake)
			if tab.Stats().Embryonic != 0 || tab.Flags(h)&flow.Embryonic != 0 {
				t.Error("still embryonic")
			}
			run(t, tab, h, steps)
		})
	}
	_ = sr
}

func TestTCPBeginnings(t *testing.T) {
	syn := step{in, Segment{Flags: SYN, Seq: cISN, Window: 1000}, StateChanged | BitsChanged, flow.TCPSynRecv}
	for name, steps := range map[string][]step{
		"a repeated syn is no news": {syn, {in, syn.seg, 0, flow.TCPSynRecv}},
		"a refusal that acknowledges the syn": {syn,
			{out, Segment{Flags: RST | ACK, Ack: cISN + 1}, StateChanged | BitsChanged | Ending | Closed | ServerDead, flow.TCPClose}},
		"a refusal that guesses": {syn,
			{out, Segment{Flags: RST | ACK, Ack: cISN + 2}, Doubted, flow.TCPSynRecv}},
		"the client gives up": {syn,
			{in, c(RST, 1, 0, 0), BitsChanged | Ending | Closed, flow.TCPSynRecv}},
		"an answer repeated": {syn, {out, s(SYN|ACK, 0, 1, 0), BitsChanged, flow.TCPSynRecv}, {out, s(SYN|ACK, 0, 1, 0), 0, flow.TCPSynRecv}},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(t, Config{CapacityV4: 2})
			h, _ := tab.Insert(tcp4(t))
			run(t, tab, h, steps)
		})
	}
}

// established returns a session that came from a peer in full flight.
func synced(t *testing.T) *flow.Session {
	x := tcp4(t)
	x.State, x.Flags, x.Owner, x.Bits = flow.TCPEstablished, flow.Synced, other, flow.SynIn|flow.SynOut
	x.Seq = [2]flow.SeqHint{{Next: cISN + 1, Ack: sISN + 1}, {Next: sISN + 1, Ack: cISN + 1}}
	return x
}

func TestHintsConvinceNobody(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 2})
	h, _ := tab.Insert(synced(t))
	run(t, tab, h, []step{
		{in, c(RST, 1, 0, 0), Foreign | FirstLocalPacket | Doubted, flow.TCPEstablished},
		{out, s(FIN|ACK, 1, 1, 0), Foreign | Doubted, flow.TCPEstablished},
		{out, s(ACK, 9000, 1, 10), Foreign, flow.TCPEstablished},
		{out, s(RST, 9010, 1, 0), Foreign | StateChanged | BitsChanged | Ending | Closed, flow.TCPClose},
	})
}

func TestTombstonesAreNotTouched(t *testing.T) {
	for name, c := range map[string]struct {
		flags flow.Flags
		want  Outcome
	}{
		"aged":              {flow.SoftTomb, HitSoftTomb},
		"aged, reply-only":  {flow.SoftTomb | flow.ReplyOnly, HitSoftTomb | HitReplyOnly},
		"aged, from a peer": {flow.SoftTomb | flow.Synced, HitSoftTomb},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(t, Config{CapacityV4: 2})
			x := synced(t)
			x.Flags, x.Owner = c.flags, me
			h, _ := tab.Insert(x)
			var before, after flow.Session
			tab.Load(h, &before)
			for _, seg := range []Segment{{Flags: ACK, Seq: 5, Payload: 9}, {Flags: RST}, {Flags: FIN | ACK}} {
				if o := tab.Touch(h, in, &seg, 0); o != c.want {
					t.Errorf("outcome %b, want %b", o, c.want)
				}
			}
			if o := tab.Touch(h, in, &Segment{Flags: SYN, Seq: 1}, 0); o != c.want|SynOnExisting {
				t.Errorf("syn: outcome %b", o)
			}
			if tab.Load(h, &after); after != before {
				t.Errorf("before %+v\nafter  %+v", before, after)
			}
		})
	}
}

func TestReplyOnlyServes(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 2})
	x := synced(t)
	x.Flags = flow.ReplyOnly
	h, _ := tab.Insert(x)
	seg := s(ACK, 1, 1, 10)
	if o := tab.Touch(h, out, &seg, 5); o != Foreign|HitReplyOnly {
		t.Errorf("outcome %b", o)
	}
}

func TestDatagramStates(t *testing.T) {
	udp := func() *flow.Session {
		x := tcp4(t)
		x.Orig.Meta ^= (flow.ProtoTCP ^ flow.ProtoUDP) << 8
		x.Reply.Meta ^= (flow.ProtoTCP ^ flow.ProtoUDP) << 8
		x.State, x.Flags = flow.UDPNone, 0
		return x
	}
	tab := newTable(t, Config{CapacityV4: 2, CapacityV6: 2})
	h, err := tab.Insert(udp())
	if err != nil {
		t.Fatal(err)
	}
	for i, st := range []struct {
		dir   flow.Direction
		want  Outcome
		state flow.State
	}{
		{in, StateChanged, flow.UDPOneWay}, {in, 0, flow.UDPOneWay}, {out, StateChanged | ServerAlive, flow.UDPNormal},
		{in, 0, flow.UDPNormal}, {out, 0, flow.UDPNormal},
	} {
		if o := tab.Touch(h, st.dir, nil, 1); o != st.want || tab.State(h) != st.state {
			t.Errorf("packet %d: %b, state %d", i, o, tab.State(h))
		}
	}
	if h, err = tab.Insert(icmp64(t)); err != nil {
		t.Fatal(err)
	}
	if o := tab.Touch(h, out, nil, 1); o != 0 || tab.State(h) != flow.ICMPNormal {
		t.Errorf("icmp: %b, state %d", o, tab.State(h))
	}
}

func TestAckStormIsSeenAndKeepAlivesAreNot(t *testing.T) {
	for name, c := range map[string]struct {
		gap  expiry.Tick
		want Outcome
	}{"in quick succession": {1, DupAck}, "a keep-alive now and then": {75000, 0}} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(t, Config{CapacityV4: 2})
			h, _ := tab.Insert(tcp4(t))
			run(t, tab, h, handshake)
			a, b := c1(), s(ACK, 1, 1, 0)
			tab.Touch(h, out, &b, 10)
			var got Outcome
			for i := range expiry.Tick(40) {
				got |= tab.Touch(h, in, &a, 100+i*c.gap)
				got |= tab.Touch(h, out, &b, 100+i*c.gap)
			}
			if got != c.want {
				t.Errorf("outcome %b, want %b", got, c.want)
			}
			d := s(ACK, 1, 1, 10)
			tab.Touch(h, out, &d, 200)
			if o := tab.Touch(h, in, &a, 200); o != 0 {
				t.Errorf("after data: %b", o)
			}
		})
	}
}

func TestManyDuplicateAcksInARowAreNoStorm(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 2})
	h, _ := tab.Insert(tcp4(t))
	run(t, tab, h, handshake)
	a := c1()
	for i := range expiry.Tick(1000) {
		if o := tab.Touch(h, in, &a, 4000+i); o != 0 {
			t.Fatalf("number %d: %b", i, o)
		}
	}
}

func c1() Segment { return c(ACK, 1, 1, 0) }

func TestDirectReturnSeesTheClientAlone(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 2})
	x := tcp4(t)
	x.Mode, x.Reply = flow.DR, flow.Key{}
	h, _ := tab.Insert(x)
	run(t, tab, h, []step{
		{in, Segment{Flags: SYN, Seq: cISN}, StateChanged | BitsChanged, flow.TCPSynRecv},
		{in, c(ACK, 1, 1, 0), StateChanged | HandshakeDone, flow.TCPEstablished},
		{in, c(ACK, 1, 900, 50), 0, flow.TCPEstablished},
		{in, c(FIN|ACK, 51, 901, 0), StateChanged | BitsChanged | Ending, flow.TCPFinWait},
	})
}

func TestTouchDoesNotAllocate(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 2})
	h, _ := tab.Insert(tcp4(t))
	x := tcp4(t)
	keys := []flow.Key{x.Orig, x.Reply, x.Orig.Reverse()}
	refs := make([]Ref, len(keys))
	var k flow.Key
	var sess flow.Session
	if n := testing.AllocsPerRun(100, func() {
		for _, st := range handshake {
			tab.Touch(h, st.dir, &st.seg, 1)
		}
		tab.LookupBatch(keys, refs)
		tab.Outgoing(h, in, &k)
		tab.Load(h, &sess)
		tab.Remove(h)
		h, _ = tab.Insert(x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
