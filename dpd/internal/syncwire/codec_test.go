package syncwire

import (
	"math/rand/v2"
	"testing"
)

const (
	selfInc = 0x1234_5678_9abc
	selfID  = 7
)

func testHeader(l Lane) *Header { return &Header{Inc: selfInc, Sender: selfID, Lane: l, Counter: 1} }

// randKey makes a key of few distinct addresses and ports, so that tuples meet each other.
func randKey(r *rand.Rand, family uint8, proto uint8) Key {
	k := Key{Meta: uint64(r.Uint32N(1<<16))<<48 | uint64(80+r.Uint32N(3))<<32 | uint64(proto)<<8 | uint64(family)}
	if family == 4 {
		k.Addr[0] = uint64(r.Uint32())<<32 | uint64(0x0a000000+r.Uint32N(3))
		return k
	}
	k.Addr = [4]uint64{r.Uint64(), r.Uint64(), 0x20010db8 << 32, uint64(r.Uint32N(3))}
	return k
}

func randRecord(r *rand.Rand) Record {
	fam := func() uint8 { return 4 + 2*uint8(r.Uint32N(2)) }
	proto := []uint8{6, 17, 1, 58}[r.Uint32N(4)]
	o := randKey(r, fam(), proto)
	p := randKey(r, fam(), proto)
	if r.Uint32N(4) == 0 {
		p.Meta = p.Meta&^0xff00 | 58<<8
	}
	switch r.Uint32N(4) {
	case 0: // as NAT: the reply goes to the client
		p = o
		p.Meta = o.Meta&0xffffffff | o.Meta>>48<<32 | o.Meta>>32<<48
		p.Addr = [4]uint64{o.Addr[2], o.Addr[3], o.Addr[0], o.Addr[1]}
		if o.family() == 4 {
			p.Addr = [4]uint64{o.Addr[0]>>32 | o.Addr[0]<<32}
		}
	case 1:
	default: // as FullNAT: few servers and local addresses
		q := randKey(r, p.family(), proto)
		p.Addr = q.Addr
		if p.family() == 4 {
			p.Addr[0] = uint64(0x0b000000+r.Uint32N(5))<<32 | uint64(0x0c000000+r.Uint32N(2))
		} else {
			p.Addr = [4]uint64{0xfd << 56, uint64(r.Uint32N(5)), 0xfe << 56, uint64(r.Uint32N(2))}
		}
		p.Meta = p.Meta&0xffff_0000_ffff | 8080<<48 | uint64(r.Uint32N(1<<16))<<32
	}
	x := Record{
		Orig: o, Reply: p, Birth: 1_795_000_000_000<<16 + r.Uint64N(1<<40), OwnerInc: selfInc, OwnerID: selfID,
		Term: 1 + r.Uint32N(3), Ver: r.Uint32() >> r.Uint32N(32), Service: 1 + r.Uint32N(3), Server: r.Uint32N(400),
		Idle: unpackIdle(packIdle(r.Uint32() >> r.Uint32N(32))), Timeout: []uint32{3600, 90, 300, timeoutMax}[r.Uint32N(4)],
		Flags: uint16(r.Uint32N(1<<16)) >> r.Uint32N(16), Mode: 1 + uint8(r.Uint32N(modeMax)), State: uint8(r.Uint32N(stateMax + 1)),
		Bits: uint8(r.Uint32N(256)), Bucket: uint8(p.Meta >> 32),
	}
	if r.Uint32N(5) == 0 {
		x.OwnerInc, x.OwnerID = r.Uint64(), r.Uint32N(3)
	}
	if r.Uint32N(5) == 0 {
		x.Bucket = uint8(r.Uint32())
	}
	if r.Uint32N(5) == 0 {
		x.Birth = r.Uint64()
	}
	if r.Uint32N(3) == 0 { // as they mostly are: all, or nearly all, is acknowledged
		n := [2]uint32{r.Uint32(), r.Uint32()}
		x.Seq = [2]Seq{{Next: n[0], Ack: n[1], Seen: 1}, {Next: n[1], Ack: n[0] - r.Uint32N(3), Seen: 1}}
	}
	for i := range x.Seq {
		if r.Uint32N(3) == 0 {
			x.Seq[i] = Seq{Next: r.Uint32(), Ack: r.Uint32(), Scale: uint8(r.Uint32N(scaleMax + 1)), Seen: 1}
		}
	}
	return x
}

var messageKinds = []Kind{
	KindSession, KindSession, KindSession, KindClose, KindAge, KindNackVersion, KindDigestList, KindHint, KindAck, KindQuery, KindAnswer,
}

func randMessage(r *rand.Rand) Message {
	m := Message{Kind: messageKinds[r.Uint32N(uint32(len(messageKinds)))]}
	rec := randRecord(r)
	switch m.Kind {
	case KindHint:
		m.Dir, m.Hint = uint8(r.Uint32N(2)), HintFlags(r.Uint32N(hintFlags+1))
		m.Rec = Record{Orig: rec.Orig, Birth: rec.Birth, Bucket: rec.Bucket, Idle: rec.Idle}
		if m.Hint&HintFin != 0 {
			m.Seq = r.Uint32()
		}
	case KindAck:
		m.Hash = r.Uint64()
		m.Rec = Record{Birth: rec.Birth, Term: rec.Term, OwnerInc: rec.OwnerInc, OwnerID: rec.OwnerID, Ver: rec.Ver, Bucket: rec.Bucket}
	case KindQuery:
		m.ID, m.Rec = r.Uint64(), Record{Orig: rec.Orig, Bucket: rec.Bucket}
	case KindAnswer:
		m.ID, m.Found, m.Rec = r.Uint64(), r.Uint32N(2) == 0, rec
		if !m.Found {
			m.Rec = Record{Orig: rec.Orig, Bucket: rec.Bucket}
		}
	case KindDigestList:
		m.Round, m.Rec = r.Uint32N(3), rec
	default:
		m.Rec = rec
	}
	return m
}

// TestMessagesSurviveTheWire packs random messages of all kinds into datagrams of random sizes, with nothing lost,
// changed or reordered, and no datagram above its MTU.
func TestMessagesSurviveTheWire(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	b, d := NewBuilder(selfInc, selfID), NewDecoder()
	buf := make([]byte, MaxDatagram)
	var sent []Message
	for range 600 {
		sent = sent[:0]
		mtu := MinMTU + rnd.IntN(MaxDatagram-MinMTU)
		lane := Lane(rnd.IntN(NumLanes))
		b.Reset(buf[:mtu], lane, 9, 1000)
		for {
			m := randMessage(rnd)
			o := b.Message(&m)
			if o == Full {
				break
			}
			if o != Added {
				t.Fatalf("%v: outcome %d", m, o)
			}
			if lane == LaneBulk {
				m.Rec.Seq = [2]Seq{}
			}
			sent = append(sent, m)
		}
		p := b.Finish()
		if len(p)+TagLen > mtu || len(sent) == 0 {
			t.Fatalf("datagram of %d with tag, MTU %d, %d messages", len(p)+TagLen, mtu, len(sent))
		}
		f, why := d.Decode(testHeader(lane), p[HeaderLen:])
		if why != OK {
			t.Fatal(why)
		}
		if f.View != 9 || f.Sent != 1000 || len(f.Messages) != len(sent) {
			t.Fatalf("view %d sent %d, %d messages of %d", f.View, f.Sent, len(f.Messages), len(sent))
		}
		for i := range sent {
			if f.Messages[i] != sent[i] {
				t.Fatalf("message %d\n got %+v\nwant %+v", i, f.Messages[i], sent[i])
			}
		}
	}
}
