package syncwire

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// TestSizes holds what is copied through rings for each session.
func TestSizes(t *testing.T) {
	for _, row := range []struct {
		name      string
		got, want uintptr
	}{
		{"Record", unsafe.Sizeof(Record{}), 160},
		{"Message", unsafe.Sizeof(Message{}), 192},
		{"DigestSums", unsafe.Sizeof(DigestSums{}), 48},
		{"DigestReply", unsafe.Sizeof(DigestReply{}), 8},
	} {
		if row.got != row.want {
			t.Errorf("%s has %d bytes, want %d", row.name, row.got, row.want)
		}
	}
}

func TestIdleNeverGrowsYoungerAndIsStable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	check := func(ms uint32) {
		got := unpackIdle(packIdle(ms))
		if got < ms || uint64(got-ms)*2048 > uint64(ms) {
			t.Fatalf("%d ms became %d", ms, got)
		}
		if ms < 2048 && got != ms {
			t.Fatalf("%d ms became %d", ms, got)
		}
		if again := unpackIdle(packIdle(got)); again != got {
			t.Fatalf("%d ms became %d, then %d", ms, got, again)
		}
	}
	for _, ms := range []uint32{0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 1<<31 - 1, 1 << 31, 1<<32 - 2, 1<<32 - 1} {
		check(ms)
	}
	for range 100_000 {
		check(rnd.Uint32() >> rnd.Uint32N(32))
	}
	for v := range 1 << 16 { // whatever a peer sends is stable from the first hop on
		ms := unpackIdle(uint16(v))
		if again := unpackIdle(packIdle(ms)); again != ms {
			t.Fatalf("%#x means %d ms, then %d", v, ms, again)
		}
	}
}

func TestVarintsOfAllLengthsAreRead(t *testing.T) {
	for _, v := range []uint32{0, 1, 127, 128, 1<<14 - 1, 1 << 14, 1<<21 - 1, 1 << 21, 1<<28 - 1, 1 << 28, 1<<32 - 1} {
		p := appendVarint(nil, v)
		r := reader{b: p}
		if got := r.varint(); got != v || r.why != OK || len(r.b) != 0 || len(p) > maxVarint {
			t.Errorf("%d became %d in %x: %v", v, got, p, r.why)
		}
		r = reader{b: p[:len(p)-1]}
		if got := r.varint(); got != 0 || r.why != Truncated {
			t.Errorf("%x without its end gave %d and %v", p, got, r.why)
		}
	}
}

// TestDictionariesOverflow fills each kind of entry beyond what references can name; records go on in full.
func TestDictionariesOverflow(t *testing.T) {
	for _, row := range []struct {
		name  string
		vary  func(r *Record, i uint32)
		atMax int // records after which the builder may be full, 0: only by size
	}{
		{"profiles", func(r *Record, i uint32) { r.Timeout = i }, 0},
		{"services", func(r *Record, i uint32) { r.Service = i }, 0},
		{"service tuples", func(r *Record, i uint32) { r.Orig = key4(0x1234, uint16(i), 0xc0000201, 0xc6336401) }, 0},
		{"servers", func(r *Record, i uint32) { r.Server = i }, 0},
		{"local addresses", func(r *Record, i uint32) { r.Reply = key4(8080, 0x5678, 0x0a000005, i) }, 0},
		{"owners", func(r *Record, i uint32) { r.OwnerID = i + 1000 }, dictMax},
		{"births out of reach of the base", func(r *Record, i uint32) { r.Birth = uint64(i) << 44 }, 0},
		{"births with large counters", func(r *Record, i uint32) { r.Birth += uint64(i) << 4 }, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			b, d := NewBuilder(selfInc, selfID), NewDecoder()
			b.Reset(make([]byte, MaxDatagram), LaneBulk, 1, 1)
			n := uint32(0)
			for ; ; n++ {
				r := record4()
				row.vary(&r, n)
				if o := b.Message(&Message{Kind: KindSession, Rec: r}); o != Added {
					break
				}
			}
			if n < 100 || row.atMax != 0 && int(n) != row.atMax {
				t.Fatalf("%d records", n)
			}
			f, why := d.Decode(testHeader(LaneBulk), b.Finish()[HeaderLen:])
			if why != OK {
				t.Fatal(why)
			}
			if len(f.Messages) != int(n) {
				t.Fatalf("%d messages of %d", len(f.Messages), n)
			}
			for i := range f.Messages {
				want := record4()
				row.vary(&want, uint32(i))
				if f.Messages[i].Rec != want {
					t.Fatalf("record %d\n got %+v\nwant %+v", i, f.Messages[i].Rec, want)
				}
			}
		})
	}
}

func TestBuilderRefusesWhatCannotTravel(t *testing.T) {
	bad := func(change func(*Record)) Message { return Message{Kind: KindSession, Rec: with(record4(), change)} }
	for _, row := range []struct {
		name string
		m    Message
	}{
		{"no kind", Message{Rec: record4()}},
		{"a kind without messages", Message{Kind: KindProbe, Rec: record4()}},
		{"a reserved kind", Message{Kind: KindTemplate, Rec: record4()}},
		{"a zero original key", bad(func(r *Record) { r.Orig = Key{} })},
		{"a zero reply key", bad(func(r *Record) { r.Reply = Key{} })},
		{"an IPv4 key with a second address word", bad(func(r *Record) { r.Orig.Addr[2] = 1 })},
		{"a key with something between port and protocol", bad(func(r *Record) { r.Reply.Meta |= 1 << 16 })},
		{"no mode", bad(func(r *Record) { r.Mode = 0 })},
		{"a mode beyond the last", bad(func(r *Record) { r.Mode = modeMax + 1 })},
		{"a state beyond the last", bad(func(r *Record) { r.State = stateMax + 1 })},
		{"a timeout above 30 days", bad(func(r *Record) { r.Timeout = timeoutMax + 1 })},
		{"a hint without key", Message{Kind: KindHint}},
		{"a hint of a third direction", Message{Kind: KindHint, Dir: 2, Rec: record4()}},
		{"a hint with an unknown flag", Message{Kind: KindHint, Hint: 0x40, Rec: record4()}},
		{"a query without key", Message{Kind: KindQuery}},
		{"an answer found without record", Message{Kind: KindAnswer, Found: true}},
		{"an answer not found without key", Message{Kind: KindAnswer}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b, d := NewBuilder(selfInc, selfID), NewDecoder()
			b.Reset(make([]byte, 1400), LaneLive, 1, 1)
			if o := b.Message(&row.m); o != Invalid || len(b.body) != 0 {
				t.Fatalf("outcome %d, %d bytes added", o, len(b.body))
			}
			good := Message{Kind: KindSession, Rec: record4()}
			for _, m := range []*Message{&good, &row.m, &good} {
				b.Message(m)
			}
			f, why := d.Decode(testHeader(LaneLive), b.Finish()[HeaderLen:])
			if why != OK || len(f.Messages) != 2 || f.Messages[0] != good || f.Messages[1] != good {
				t.Errorf("%v, %+v", why, f)
			}
		})
	}
	b := NewBuilder(selfInc, selfID)
	b.Reset(make([]byte, 1400), LaneLive, 1, 1)
	for _, g := range []Gap{{N: GapMax + 1}, {Lane: NumLanes}, {N: 1, Range: [GapMax]GapRange{{2, 1}}}} {
		if o := b.Gap(&g); o != Invalid {
			t.Errorf("%+v: outcome %d", g, o)
		}
	}
	for _, u := range []LaddrUse{{}, {Family: 5}, {Family: 4, PrefixLen: 33}, {Family: 4, Addr: [2]uint64{1}}, {Family: 6, PrefixLen: 129}} {
		if o := b.LaddrUse(&u); o != Invalid {
			t.Errorf("%+v: outcome %d", u, o)
		}
	}
}

func TestBuilderIsFull(t *testing.T) {
	m := Message{Kind: KindSession, Rec: record4()}
	b := NewBuilder(selfInc, selfID)
	if b.Message(&m) != Full {
		t.Error("took a message before the first Reset")
	}
	b.Reset(make([]byte, MinMTU-1), LaneLive, 1, 1)
	if b.Message(&m) != Full {
		t.Error("took a message into a buffer below the least MTU")
	}
	buf := make([]byte, MinMTU)
	b.Reset(buf, LaneLive, 1, 1)
	b.Finish()
	if b.Message(&m) != Full {
		t.Error("took a message after Finish")
	}
	b.Reset(buf, LaneLive, 1, 1)
	b.Message(&m)
	b.Pad()
	if b.Message(&m) != Full {
		t.Error("took a message after Pad")
	}
	p := b.Finish()
	if len(p)+TagLen != MinMTU && len(p)+TagLen != MinMTU-tlvHeaderLen {
		t.Errorf("padded to %d of %d", len(p)+TagLen, MinMTU)
	}
	if f, why := NewDecoder().Decode(testHeader(LaneLive), p[HeaderLen:]); why != OK || len(f.Messages) != 1 {
		t.Error(why)
	}
	b.Reset(make([]byte, 1<<16), LaneLive, 1, 1)
	b.Pad()
	if n := len(b.Finish()) + TagLen; n > MaxDatagram {
		t.Errorf("a datagram of %d bytes", n)
	}
}

// TestEveryBodyFitsTheLeastMTU and so does a datagram that was built for the greatest and must be sent again in parts:
// its messages are appended again, never its bytes cut.
func TestEveryBodyFitsTheLeastMTU(t *testing.T) {
	b := NewBuilder(selfInc, selfID)
	rec := with(record6(), func(r *Record) {
		r.Reply.Meta = r.Reply.Meta&^0xff00 | 6<<8
		r.OwnerInc, r.OwnerID, r.Bucket, r.Ver, r.Term, r.Service, r.Server = 1<<63, 1<<31, 1, 1<<31, 1<<31, 1<<31, 1<<31
		r.Timeout = timeoutMax
		r.Seq = [2]Seq{{1, 2, 3, 1}, {4, 5, 6, 1}}
	})
	for _, add := range []func() Outcome{
		func() Outcome { return b.Message(&Message{Kind: KindAnswer, Found: true, Rec: rec}) },
		func() Outcome { return b.Message(&Message{Kind: KindHint, Hint: HintFin, Rec: rec}) },
		func() Outcome { return b.Gap(&Gap{N: GapMax}) },
		func() Outcome { return b.Probe(&Probe{}) },
		func() Outcome { return b.Hello(&Hello{}, true) },
		func() Outcome { return b.LaddrUse(&LaddrUse{Family: 6}) },
	} {
		b.Reset(make([]byte, MinMTU), LaneLive, 1, 1)
		if o := add(); o != Added {
			t.Errorf("outcome %d", o)
		}
	}
	b.Reset(make([]byte, MaxDatagram), LaneLive, 1, 1)
	n := 0
	for b.Message(&Message{Kind: KindSession, Rec: rec}) == Added {
		n++
	}
	d := NewDecoder()
	f, why := d.Decode(testHeader(LaneLive), b.Finish()[HeaderLen:])
	if why != OK || len(f.Messages) != n {
		t.Fatalf("%v, %d of %d messages", why, len(f.Messages), n)
	}
	again, parts := 0, 0
	e := NewDecoder()
	for i := 0; i < n; parts++ {
		b.Reset(make([]byte, MinMTU), LaneLive, 1, 1)
		for i < n && b.Message(&f.Messages[i]) == Added {
			i++
		}
		g, why := e.Decode(testHeader(LaneLive), b.Finish()[HeaderLen:])
		if why != OK {
			t.Fatal(why)
		}
		again += len(g.Messages)
	}
	if again != n || parts < 2 {
		t.Errorf("%d of %d messages in %d parts", again, n, parts)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	ms := make([]Message, 200)
	for i := range ms {
		ms[i] = randMessage(rnd)
	}
	b, d := NewBuilder(selfInc, selfID), NewDecoder()
	buf := make([]byte, MaxDatagram)
	h := testHeader(LaneLive)
	p, g, s, a := Probe{}, Gap{N: 2}, DigestSums{}, DigestReply{}
	if n := testing.AllocsPerRun(100, func() {
		b.Reset(buf, LaneLive, 1, 2)
		b.Probe(&p)
		b.Gap(&g)
		b.Digest(&s)
		b.DigestReply(&a)
		for i := range ms {
			b.Message(&ms[i])
		}
		b.Pad()
		if _, why := d.Decode(h, b.Finish()[HeaderLen:]); why != OK {
			t.Fatal(why)
		}
	}); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
}

// TestNamesAreDistinct keeps counters apart.
func TestNamesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for k := range Kind(NumKinds) {
		seen["kind "+k.String()] = true
	}
	for r := range NumReasons {
		seen["reason "+r.String()] = true
	}
	for l := range Lane(NumLanes) {
		seen["lane "+l.String()] = true
	}
	if want := int(NumKinds) + int(NumReasons) + NumLanes; len(seen) != want || seen["kind unknown"] || seen["reason "] {
		t.Errorf("%d names of %d: %v", len(seen), want, seen)
	}
	if Kind(NumKinds).String() != "unknown" || NumReasons.String() != "unknown" || Lane(NumLanes).String() != "unknown" {
		t.Error("what is beyond the last has a name")
	}
}
