package syncwire

import (
	"encoding/hex"
	"strings"
	"testing"
)

// clockHex is the CLOCK of all golden rows: view 2, sent 3 ms.
const clockHex = "81 1000 0200000000000000 0300000000000000"

func key4(sport, dport uint16, src, dst uint32) Key {
	return Key{
		Addr: [4]uint64{uint64(src)<<32 | uint64(dst)},
		Meta: uint64(sport)<<48 | uint64(dport)<<32 | 6<<8 | 4,
	}
}

func key6(sport, dport uint16, src, dst uint64) Key {
	const net = 0x20010db8 << 32
	return Key{Addr: [4]uint64{net, src, net, dst}, Meta: uint64(sport)<<48 | uint64(dport)<<32 | 17<<8 | 6}
}

// record4 is a plain FullNAT session: 192.0.2.1:0x1234 to 198.51.100.1:80, served by 10.0.0.5:8080 at 10.0.1.1:0x5678.
func record4() Record {
	return Record{
		Orig: key4(0x1234, 80, 0xc0000201, 0xc6336401), Reply: key4(8080, 0x5678, 0x0a000005, 0x0a000101),
		Birth: 0x018000000000<<16 | 5, OwnerInc: selfInc, OwnerID: selfID, Term: 1, Ver: 2, Service: 3, Server: 4,
		Idle: 300, Timeout: 3600, Mode: 1, State: 1, Bits: 3, Bucket: 0x78,
	}
}

func record6() Record {
	r := record4()
	r.Orig, r.Reply = key6(0x1234, 53, 1, 2), key6(5353, 0x5678, 3, 4)
	return r
}

// The dictionary entries of record4 and record6: profile, laddr, service, server, base.
const (
	dict4 = "c6 000080ff7f01  28 01 01 03 0000 901c 01  85 04 0a000101  49 06 04 c6336401 5000 03  69 00 04 0a000005 901f 08"
	dict6 = "c6 000080ff7f01  28 01 01 03 0000 901c 01  91 06 20010db8000000000000000000000004  55 11 06 20010db8000000000000000000000002 3500 03" +
		"75 00 06 20010db8000000000000000000000003 e914 08"
	record4Hex = "00 00 c0000201 3412 7856 05000080 2c01 02"
	key4Hex    = "04 06 c0000201 3412 c6336401 5000"
)

type goldenRow struct {
	name  string
	lane  Lane
	build func(b *Builder) Outcome
	want  string // behind CLOCK
}

func messageRow(m Message) func(b *Builder) Outcome {
	return func(b *Builder) Outcome { return b.Message(&m) }
}

func bytes16(from byte) (a [16]byte) {
	for i := range a {
		a[i] = from + byte(i)
	}
	return a
}

func with(r Record, change func(*Record)) Record {
	change(&r)
	return r
}

var goldenRows = []goldenRow{
	{"nothing but the clock", LaneLive, func(*Builder) Outcome { return Added }, ""},
	{
		"an IPv4 session by references", LaneLive, messageRow(Message{Kind: KindSession, Rec: record4()}),
		"96 2a00" + dict4 + "84 1100" + record4Hex,
	},
	{
		"an IPv6 session by references", LaneLive, messageRow(Message{Kind: KindSession, Rec: record6()}),
		"96 4e00" + dict6 + "84 1d00 00 00 20010db8000000000000000000000001 3412 7856 05000080 2c01 02",
	},
	{
		"a close and an age in TLVs of their own, by one dictionary", LaneLive,
		func(b *Builder) Outcome {
			return max(b.Message(&Message{Kind: KindClose, Rec: record4()}), b.Message(&Message{Kind: KindAge, Rec: record4()}))
		},
		"96 2a00" + dict4 + "85 1100" + record4Hex + "86 1100" + record4Hex,
	},
	{
		"two sessions in one TLV, the second 1 ms younger and idle for an hour", LaneBulk,
		func(b *Builder) Outcome {
			second := with(record4(), func(r *Record) { r.Birth += 1 << 16; r.Idle = 3600_000 })
			return max(b.Message(&Message{Kind: KindSession, Rec: record4()}), b.Message(&Message{Kind: KindSession, Rec: second}))
		},
		"96 2a00" + dict4 + "84 2200" + record4Hex + "00 00 c0000201 3412 7856 05010080 bc5d 02",
	},
	{
		"servers that share bytes, port and nearness of id with those before", LaneBulk,
		func(b *Builder) Outcome {
			second := with(record4(), func(r *Record) { r.Reply = key4(8080, 0x5678, 0x0a000006, 0x0a000102); r.Server = 3 })
			return max(b.Message(&Message{Kind: KindSession, Rec: record4()}), b.Message(&Message{Kind: KindSession, Rec: second}))
		},
		"96 3200" + dict4 + "82 34 02 64 00 3c 06 01" + "84 2200" + record4Hex + "10 01 c0000201 3412 7856 05000080 2c01 02",
	},
	{
		"a foreign owner, another bucket and sequence hints of one direction, which acknowledged 2", LaneLive,
		messageRow(Message{Kind: KindNackVersion, Rec: with(record4(), func(r *Record) {
			r.OwnerInc, r.OwnerID, r.Bucket = 0x0102, 9, 0xee
			r.Seq[1] = Seq{Next: 0x11223344, Ack: 2, Seen: 1}
		})}),
		"96 3700 c6 000080ff7f01 ac 09000000 0201000000000000" + dict4[16:] +
			"8a 1a00 40 07 00 c0000201 3412 7856 05000080 2c01 02 ee 00 0a 44332211 04",
	},
	{
		"sequence hints of sides that acknowledged all", LaneLive,
		messageRow(Message{Kind: KindSession, Rec: with(record4(), func(r *Record) {
			r.Seq = [2]Seq{{Next: 0x11223344, Ack: 0x55667788, Seen: 1}, {Next: 0x55667788, Ack: 0x11223344, Seen: 1}}
		})}),
		"96 2a00" + dict4 + "84 1b00 40 01 00 c0000201 3412 7856 05000080 2c01 02 03 44332211 88776655",
	},
	{
		"sequence hints with a FIN that is not acknowledged, and window scales 7 and 0", LaneLive,
		messageRow(Message{Kind: KindSession, Rec: with(record4(), func(r *Record) {
			r.Seq = [2]Seq{{Next: 0x11223344, Ack: 0x55667788, Scale: 8, Seen: 1}, {Next: 0x55667788, Ack: 0x11223343, Scale: 1, Seen: 1}}
		})}),
		"96 2a00" + dict4 + "84 1d00 40 01 00 c0000201 3412 7856 05000080 2c01 02 1b 44332211 88776655 01 18",
	},
	{
		"no sequence hints in the bulk lane", LaneBulk,
		messageRow(Message{Kind: KindSession, Rec: with(record4(), func(r *Record) { r.Seq[0] = Seq{Next: 1, Seen: 1} })}),
		"96 2a00" + dict4 + "84 1100" + record4Hex,
	},
	{
		"a reply to the client itself without a laddr, and a long birth", LaneLive,
		messageRow(Message{Kind: KindSession, Rec: with(record4(), func(r *Record) {
			r.Reply, r.Bucket, r.Birth = key4(8080, 0x1234, 0x0a000005, 0xc0000201), 0x34, 0x018000000000<<16|0x0102
		})}),
		"96 2400 c6 000080ff7f01  28 01 01 03 0000 901c 01  49 06 04 c6336401 5000 03  69 00 04 0a000005 901f 08" +
			"84 1500 70 10 00 ff c0000201 3412 0201000000008001 2c01 02",
	},
	{
		"tuples of different protocols in full", LaneLive,
		messageRow(Message{Kind: KindSession, Rec: with(record4(), func(r *Record) { r.Reply.Meta = r.Reply.Meta&^0xff00 | 17<<8 })}),
		"96 1000 c6 000080ff7f01 28 01 01 03 0000 901c 01" +
			"84 2600 80" + key4Hex + "04 11 0a000005 901f 0a000101 7856 03 04 05000080 2c01 02",
	},
	{
		"a listed record of a digest leaf", LaneControl, messageRow(Message{Kind: KindDigestList, Round: 7, Rec: record4()}),
		"96 2a00" + dict4 + "0d 1500 07000000" + record4Hex,
	},
	{
		"a hint with a FIN from the server", LaneLive,
		messageRow(Message{
			Kind: KindHint, Dir: 1, Hint: HintFin | HintActive, Seq: 0x01020304,
			Rec: Record{Orig: record4().Orig, Birth: 5, Bucket: 0x78, Idle: 1},
		}),
		"88 1e00" + key4Hex + "a4 78 0500000000000000 0100 04030201",
	},
	{
		"an acknowledgement", LaneLive,
		messageRow(Message{Kind: KindAck, Hash: 0x0807060504030201, Rec: Record{
			Birth: 5, OwnerInc: 6, OwnerID: 7, Term: 300, Ver: 9, Bucket: 10,
		}}),
		"09 2000 0102030405060708 0500000000000000 0600000000000000 07000000 0a ac02 09",
	},
	{
		"a session that asks to be acknowledged", LaneLive, messageRow(Message{Kind: KindSession, Rec: with(record4(), func(r *Record) { r.Flags |= FlagAck })}),
		"96 2a00" + strings.Replace(dict4, "01 01 03 0000", "01 01 03 0080", 1) + "84 1100" + record4Hex,
	},
	{
		"a query", LaneLive, messageRow(Message{Kind: KindQuery, ID: 1, Rec: Record{Orig: record4().Orig, Bucket: 2}}),
		"10 1700 0100000000000000 02" + key4Hex,
	},
	{
		"an answer with the record, and one without", LaneLive,
		func(b *Builder) Outcome {
			return max(b.Message(&Message{Kind: KindAnswer, ID: 1, Found: true, Rec: record4()}),
				b.Message(&Message{Kind: KindAnswer, ID: 2, Rec: Record{Orig: record4().Orig, Bucket: 3}}))
		},
		"96 2a00" + dict4 + "91 3200 0100000000000000 01" + record4Hex + "0200000000000000 00 03" + key4Hex,
	},
	{
		"the sums of a bucket", LaneControl,
		func(b *Builder) Outcome {
			return b.Digest(&DigestSums{Round: 1, Bucket: 2, Sums: [4]uint64{3, 4, 5, 6}})
		},
		"0c 2600 01000000 02 00 0300000000000000 0400000000000000 0500000000000000 0600000000000000",
	},
	{
		"the sums of a bucket's own records, which ask, and of its orphans", LaneLive,
		func(b *Builder) Outcome {
			return max(b.Digest(&DigestSums{Round: 1, Bucket: 2, Unsure: 9, Ask: true, Orphans: true, Sums: [4]uint64{3, 4, 5, 6}}),
				b.Digest(&DigestSums{Round: 1, Bucket: 2, Of: DigestOrphans, Sums: [4]uint64{7}}))
		},
		"0c 4c00 01000000 02 9c 0300000000000000 0400000000000000 0500000000000000 0600000000000000" +
			"01000000 02 01 0700000000000000 0000000000000000 0000000000000000 0000000000000000",
	},
	{
		"the sums of all records", LaneLive,
		func(b *Builder) Outcome {
			return b.Digest(&DigestSums{Round: 1, Bucket: 2, Of: DigestAll, Unsure: 15, Sums: [4]uint64{3, 4, 5, 6}})
		},
		"0c 2600 01000000 02 f2 0300000000000000 0400000000000000 0500000000000000 0600000000000000",
	},
	{
		"the answers to two digests", LaneControl,
		func(b *Builder) Outcome {
			d := DigestReply{Round: 1, Bucket: 2}
			for i, s := range [4]LeafState{LeafUnequal, LeafUnsure, LeafEqual, LeafWhole} {
				d.SetLeaf(i, s)
			}
			return max(b.DigestReply(&d), b.DigestReply(&DigestReply{Round: 1, Bucket: 3}))
		},
		"19 0c00 01000000 02 e4 01000000 03 00",
	},
	{
		"a hello and the answer to one", LaneControl,
		func(b *Builder) Outcome {
			h := Hello{Nonce: bytes16(0x10), ConfigDigest: 1, Features: 2, MinMajor: 1, MaxMajor: 3, Minor: 4, MTU: 8000}
			a := Hello{Nonce: bytes16(0x10), Echo: bytes16(0x20), MinMajor: 1, MaxMajor: 1}
			return max(b.Hello(&h, false), b.Hello(&a, true))
		},
		"82 3500 101112131415161718191a1b1c1d1e1f 00000000000000000000000000000000 0100000000000000 0200000000000000 01 03 04 401f" +
			"83 3500 101112131415161718191a1b1c1d1e1f 202122232425262728292a2b2c2d2e2f 0000000000000000 0000000000000000 01 01 00 0000",
	},
	{
		"a probe", LaneControl,
		func(b *Builder) Outcome {
			return b.Probe(&Probe{
				Seq: 1, EchoSeq: 2, EchoHold: 3, State: ProbeReady | ProbeDraining, Wall: 5, Closed: 6, Aged: 16, Floor: 17,
				Lane: [NumLanes]LaneMark{{7, 8, 9}, {10, 11, 12}, {13, 14, 15}},
			})
		},
		"15 5d00 01000000 02000000 03000000 09 0500000000000000 06000000 10000000 11000000" +
			"07000000 0800000000000000 0900000000000000 0a000000 0b00000000000000 0c00000000000000 0d000000 0e00000000000000 0f00000000000000",
	},
	{
		"a gap of two ranges", LaneControl,
		func(b *Builder) Outcome {
			return b.Gap(&Gap{Salt: 1, Lane: LaneBulk, N: 2, Range: [GapMax]GapRange{{2, 3}, {5, 5}}})
		},
		"0b 2600 01000000 02 02 0200000000000000 0300000000000000 0500000000000000 0500000000000000",
	},
	{
		"the begin and the end of a bulk", LaneControl,
		func(b *Builder) Outcome {
			return max(b.Bulk(&Bulk{Snapshot: 1, Records: 2, Tombstones: 3, Digest: 4}, false),
				b.Bulk(&Bulk{Snapshot: 1, Records: 2, Tombstones: 3, Digest: 4, Orphans: true}, true))
		},
		"0e 2100 0100000000000000 0200000000000000 0300000000000000 0400000000000000 00" +
			"8f 2100 0100000000000000 0200000000000000 0300000000000000 0400000000000000 01",
	},
	{
		"the use of a block of local addresses, IPv4 and IPv6", LaneControl,
		func(b *Builder) Outcome {
			return max(
				b.LaddrUse(&LaddrUse{Family: 4, PrefixLen: 24, Addr: [2]uint64{0x0a000100 << 32}, HolderInc: 1, HolderID: 2, Records: 3, Tombstones: 4, FencedFor: 5}),
				b.LaddrUse(&LaddrUse{Family: 6, PrefixLen: 128, Addr: [2]uint64{0x20010db8 << 32, 1}}))
		},
		"13 1e00 04 18 0a000100 0100000000000000 02000000 03000000 04000000 05000000" +
			"13 2a00 06 80 20010db8000000000000000000000001 0000000000000000 00000000 00000000 00000000 00000000",
	},
	{
		"a fencing", LaneControl, func(b *Builder) Outcome { return b.Fenced(&Fenced{Inc: 1, ByInc: 2, View: 3, Echo: bytes16(0)}) },
		"94 2800 0100000000000000 0200000000000000 0300000000000000 000102030405060708090a0b0c0d0e0f",
	},
}

func TestTheLengthsOfGreetingsAndFencings(t *testing.T) {
	b := NewBuilder(selfInc, selfID)
	for _, row := range []struct {
		name  string
		build func() Outcome
		want  int
	}{
		{"HELLO", func() Outcome { return b.Hello(&Hello{}, false) }, HelloLen},
		{"HELLO_ACK", func() Outcome { return b.Hello(&Hello{}, true) }, HelloLen},
		{"FENCED", func() Outcome { return b.Fenced(&Fenced{}) }, FencedLen},
	} {
		b.Reset(make([]byte, MinMTU), LaneControl, 2, 3)
		row.build()
		if got := len(b.Finish()) + TagLen; got != row.want {
			t.Errorf("%s: %d bytes, want %d", row.name, got, row.want)
		}
	}
}

func TestGolden(t *testing.T) {
	b := NewBuilder(selfInc, selfID)
	d := NewDecoder()
	for _, row := range goldenRows {
		t.Run(row.name, func(t *testing.T) {
			b.Reset(make([]byte, 1400), row.lane, 2, 3)
			if o := row.build(b); o != Added {
				t.Fatalf("outcome %d", o)
			}
			p := b.Finish()[HeaderLen:]
			want := strings.ReplaceAll(clockHex+row.want, " ", "")
			if got := hex.EncodeToString(p); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			if _, why := d.Decode(testHeader(row.lane), p); why != OK {
				t.Error(why)
			}
		})
	}
}
