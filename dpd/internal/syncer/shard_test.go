package syncer_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const t0 = 1_800_000_000_000 // unix milliseconds at which tests begin

func nodeID(id uint32) flow.Node { return flow.Node{Inc: 10, ID: id} }

// bench is one Shard of node 1 in a view of three nodes, over the reference store.
type bench struct {
	*syncer.Shard
	t     *testing.T
	now   int64
	store *mapStore
	ports *portLog
}

func view(epoch uint64, ids ...uint32) *syncer.View {
	v := &syncer.View{Epoch: epoch, Self: nodeID(1)}
	for _, id := range ids {
		v.Members = append(v.Members, syncer.Member{Node: nodeID(id), Admitted: true})
	}
	return v
}

func newBench(t *testing.T, off syncer.Rules) *bench { return newBenchOf(t, 1, off) }

// newBenchOf is the Shard of a node of that view, which holds the block of its id.
func newBenchOf(t *testing.T, id uint32, off syncer.Rules) *bench {
	b := &bench{t: t, now: t0, store: newStore(), ports: &portLog{mine: map[string]bool{fmt.Sprintf("10.9.%d.1", id): true}}}
	b.Shard = syncer.New(syncer.Config{Self: nodeID(id), DigestKey: [16]byte{1, 8: 2}, Owns: func(flow.Bucket) bool { return true }, Off: off}, b.store, b.ports)
	v := view(1, 1, 2, 3)
	v.Self = nodeID(id)
	b.SetView(b.now, v)
	b.Tick(b.now, 100)
	b.now += 20_000 // past the time in which UDP asks first
	b.Tick(b.now, 100)
	b.Done()
	return b
}

// session is client i on a port of a block: block 1 is node 1's.
func session(i int, block byte, port uint16, birth flow.Birth, owner uint32, term, ver uint32) flow.Session {
	o, err := flow.MakeKey(flow.ProtoTCP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 1000), netip.MustParseAddrPort("198.51.100.1:80"))
	if err != nil {
		panic(err)
	}
	r, err := flow.MakeKey(flow.ProtoTCP, netip.MustParseAddrPort("10.1.0.1:80"), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, block, 1}), port<<8|0x10))
	if err != nil {
		panic(err)
	}
	return flow.Session{
		Orig: o, Reply: r, Birth: birth, Owner: nodeID(owner), Term: term, Ver: ver, Timeout: 60,
		Mode: flow.FullNAT, State: flow.TCPEstablished, Bits: flow.SynIn | flow.SynOut, Bucket: 0x10,
	}
}

func record(s flow.Session) (r syncwire.Record) {
	return syncwire.Record{
		Orig: syncwire.Key(s.Orig), Reply: syncwire.Key(s.Reply), Birth: uint64(s.Birth), OwnerInc: s.Owner.Inc, OwnerID: s.Owner.ID,
		Term: s.Term, Ver: s.Ver, Idle: s.Idle, Timeout: s.Timeout, Flags: uint16(s.Flags), Mode: uint8(s.Mode), State: uint8(s.State),
		Bits: uint8(s.Bits), Bucket: uint8(s.Bucket),
	}
}

// hear delivers a record from a node.
func (b *bench) hear(from uint32, kind syncwire.Kind, s flow.Session) {
	b.Receive(b.now, nodeID(from), &syncwire.Message{Kind: kind, Rec: record(s)})
}

// put brings a session into the store, or what is closed into the ended cache.
func (b *bench) put(s flow.Session) flow.Handle {
	b.t.Helper()
	if s.Flags&flow.HardTomb != 0 {
		b.hear(2, syncwire.KindClose, s)
		b.Done()
		return 0
	}
	h, err := b.store.Insert(&s)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Recount()
	return h
}

// sends takes the messages sent since the last call.
func (b *bench) sends() (list []syncer.Action) {
	for _, a := range b.Actions() {
		if a.Kind == syncer.ActSend {
			list = append(list, a)
		}
	}
	b.Done()
	return list
}

// tombs is how many ended sessions wait for their collection.
func (b *bench) tombs() int {
	closed, aged := b.Tombs()
	return closed + aged
}

// acts counts actions of a kind, without taking them.
func (b *bench) acts(k syncer.ActionKind) (n int) {
	for _, a := range b.Actions() {
		if a.Kind == k {
			n++
		}
	}
	return n
}

func (b *bench) held(s flow.Session) flow.Session {
	h, _, ok := b.store.Find(&s.Reply)
	if !ok {
		return flow.Session{}
	}
	var x flow.Session
	b.store.Load(h, &x)
	return x
}

func (b *bench) handle(s flow.Session) flow.Handle {
	b.t.Helper()
	h, _, ok := b.store.Find(&s.Reply)
	if !ok {
		b.t.Fatal("no such record")
	}
	return h
}

func TestMergeOfOneLife(t *testing.T) {
	type version struct {
		owner, term, ver uint32
		flags            flow.Flags
	}
	const soft, hard, ro = flow.SoftTomb, flow.HardTomb, flow.ReplyOnly
	for _, c := range []struct {
		name      string
		has, come version
		want      version
		answer    syncwire.Kind // to the sender; 0: none
	}{
		{"a higher version of the same owner is taken", version{2, 1, 2, 0}, version{2, 1, 3, 0}, version{2, 1, 3, 0}, 0},
		{"a lower version is answered with the newer", version{2, 1, 3, 0}, version{2, 1, 2, 0}, version{2, 1, 3, 0}, syncwire.KindNackVersion},
		{"an equal version changes nothing", version{2, 1, 3, 0}, version{2, 1, 3, 0}, version{2, 1, 3, 0}, 0},
		{"a higher term beats a higher version", version{2, 1, 9, 0}, version{3, 2, 2, 0}, version{3, 2, 2, 0}, 0},
		{"of equal terms the greater owner wins", version{2, 2, 9, 0}, version{3, 2, 2, 0}, version{3, 2, 2, 0}, 0},
		{"of equal terms the lesser owner is told", version{3, 2, 2, 0}, version{2, 2, 9, 0}, version{3, 2, 2, 0}, syncwire.KindNackVersion},
		{"a takeover ends the own ownership", version{1, 1, 5, 0}, version{2, 2, 2, 0}, version{2, 2, 2, 0}, 0},
		{"an AGE of a session not served here is believed", version{2, 1, 2, 0}, version{2, 1, 3, soft}, version{2, 1, 3, soft}, 0},
		{"a revival beats an AGE", version{2, 1, 3, soft}, version{3, 2, 2, 0}, version{3, 2, 2, 0}, 0},
		{"an AGE of an old term is answered", version{3, 2, 2, 0}, version{2, 1, 3, soft}, version{3, 2, 2, 0}, syncwire.KindNackVersion},
		{"CLOSE beats a higher term", version{3, 5, 2, 0}, version{2, 1, 4, hard}, version{0, 0, 0, hard}, 0},
		{"nothing beats CLOSE", version{2, 1, 4, hard}, version{3, 5, 2, 0}, version{0, 0, 0, hard}, syncwire.KindNackVersion},
		{"an AGE does not beat CLOSE", version{2, 1, 4, hard}, version{3, 5, 2, soft}, version{0, 0, 0, hard}, syncwire.KindNackVersion},
		{"of two CLOSEs neither is answered", version{3, 2, 4, hard}, version{2, 1, 4, hard}, version{0, 0, 0, hard}, 0},
		{"reply-only is sticky against a newer version", version{2, 1, 2, ro}, version{2, 1, 3, 0}, version{2, 1, 3, ro}, 0},
		{"reply-only comes with an older version", version{2, 1, 3, 0}, version{2, 1, 2, ro}, version{2, 1, 3, ro}, syncwire.KindNackVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			has := session(1, 2, 5, 100<<16, c.has.owner, c.has.term, c.has.ver)
			has.Flags = c.has.flags
			b.put(has)
			come := session(1, 2, 5, 100<<16, c.come.owner, c.come.term, c.come.ver)
			come.Flags = c.come.flags
			b.hear(2, syncwire.KindSession, come)
			if b.HasEnded(has) {
				c.want.flags &^= hard
				if c.want != (version{}) || b.held(has).Birth != 0 {
					t.Error("it is known to be closed")
				}
				c.want = version{}
			}
			got := b.held(has)
			if v := (version{got.Owner.ID, got.Term, got.Ver, got.Flags & (flow.Tomb | ro)}); v != c.want {
				t.Errorf("holds %+v, want %+v", v, c.want)
			}
			var answer syncwire.Kind
			for _, a := range b.sends() {
				if a.To != 2 {
					t.Errorf("sent %v to %d", a.Msg.Kind, a.To)
				}
				answer = a.Msg.Kind
			}
			if answer != c.answer {
				t.Errorf("answered %v, want %v", answer, c.answer)
			}
			b.sumsHold(t)
		})
	}
}

// sumsHold checks that the running sums are those of a count from scratch.
func (b *bench) sumsHold(t *testing.T) {
	t.Helper()
	was := b.Sums()
	b.Recount()
	if b.Sums() != was {
		t.Error("the running digest sums are not those of the records")
	}
}

func TestMergeOfTwoLives(t *testing.T) {
	old, young := flow.Birth(100<<16), flow.Birth(200<<16)
	for _, c := range []struct {
		name         string
		has, come    flow.Session
		flags        flow.Flags // of has
		keeps, takes flow.Flags // flags of either after; ^0: gone
		answer       bool       // the sender hears of has
	}{
		{"the later life of an original tuple takes it, the earlier stays for its server",
			session(1, 2, 5, old, 2, 1, 2), session(1, 3, 6, young, 3, 1, 2), 0, flow.ReplyOnly, 0, false},
		{"an earlier life of an original tuple comes as reply-only, and its sender hears of the later",
			session(1, 2, 5, young, 2, 1, 2), session(1, 3, 6, old, 3, 1, 2), 0, 0, flow.ReplyOnly, true},
		{"an aged life keeps the original tuple from an earlier one",
			session(1, 2, 5, young, 2, 1, 2), session(1, 3, 6, old, 3, 1, 2), flow.SoftTomb, flow.SoftTomb, flow.ReplyOnly, true},
		{"a closed life leaves the original tuple to an earlier one",
			session(1, 2, 5, young, 2, 1, 2), session(1, 3, 6, old, 3, 1, 2), flow.HardTomb, flow.HardTomb, 0, false},
		{"the later life of a reply tuple ends the earlier",
			session(1, 2, 5, old, 2, 1, 2), session(2, 2, 5, young, 3, 1, 2), 0, ^flow.Flags(0), 0, false},
		{"the later life of a reply tuple comes beside the end of the earlier",
			session(1, 2, 5, old, 2, 1, 2), session(2, 2, 5, young, 3, 1, 2), flow.HardTomb, flow.HardTomb, 0, false},
		{"an earlier life of a reply tuple is refused, and its sender hears of the later",
			session(1, 2, 5, young, 2, 1, 2), session(2, 2, 5, old, 3, 1, 2), 0, 0, ^flow.Flags(0), true},
		{"an aged later life of a reply tuple refuses as well",
			session(1, 2, 5, young, 2, 1, 2), session(2, 2, 5, old, 3, 1, 2), flow.SoftTomb, flow.SoftTomb, ^flow.Flags(0), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			c.has.Flags = c.flags
			b.put(c.has)
			b.hear(3, syncwire.KindSession, c.come)
			state := func(s flow.Session) flow.Flags {
				if b.HasEnded(s) {
					return flow.HardTomb
				}
				for _, x := range b.store.sessions() {
					if x.Orig == s.Orig && x.Reply == s.Reply {
						return x.Flags & (flow.Tomb | flow.ReplyOnly)
					}
				}
				return ^flow.Flags(0)
			}
			if got := state(c.has); got != c.keeps {
				t.Errorf("the held life has flags %x, want %x", got, c.keeps)
			}
			if got := state(c.come); got != c.takes {
				t.Errorf("the life that came has flags %x, want %x", got, c.takes)
			}
			answered := false
			for _, a := range b.sends() {
				answered = answered || a.To == 3 && a.Msg.Kind == syncwire.KindNackVersion && flow.Birth(a.Msg.Rec.Birth) == c.has.Birth
			}
			if answered != c.answer {
				t.Errorf("the sender was answered: %v, want %v", answered, c.answer)
			}
			b.sumsHold(t)
		})
	}
}

func TestRecordsThatMakeNoSenseAreRefused(t *testing.T) {
	good := session(1, 2, 5, 100<<16, 2, 1, 2)
	for name, spoil := range map[string]func(*flow.Session){
		"no birth":                  func(s *flow.Session) { s.Birth = 0 },
		"no term":                   func(s *flow.Session) { s.Term = 0 },
		"no version":                func(s *flow.Session) { s.Ver = 0 },
		"no owner":                  func(s *flow.Session) { s.Owner = flow.Node{} },
		"no family":                 func(s *flow.Session) { s.Orig.Meta &^= 0xff },
		"an unknown mode":           func(s *flow.Session) { s.Mode = 9 },
		"both kinds of tombstone":   func(s *flow.Session) { s.Flags = flow.Tomb },
		"a timeout of a century":    func(s *flow.Session) { s.Timeout = 1 << 31 },
		"a bucket not of its port":  func(s *flow.Session) { s.Bucket++ },
		"an unknown protocol state": func(s *flow.Session) { s.State = flow.NumStates },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			s := good
			spoil(&s)
			b.hear(2, syncwire.KindSession, s)
			if len(b.store.rec) != 0 || len(b.Actions()) != 0 || b.Count[syncer.Invalid] != 1 {
				t.Errorf("%d records, %d actions, counted %d", len(b.store.rec), len(b.Actions()), b.Count[syncer.Invalid])
			}
		})
	}
	t.Run("from a node outside of the view", func(t *testing.T) {
		b := newBench(t, 0)
		b.hear(9, syncwire.KindSession, good)
		if len(b.store.rec) != 0 || b.Count[syncer.NotMember] != 1 {
			t.Error("was heard")
		}
	})
}

func TestAForeignBirthMovesTheClockByHalfASecondAtMost(t *testing.T) {
	for _, c := range []struct {
		off  syncer.Rules
		most int64
	}{{0, 501}, {syncer.UnboundedSkew, 1 << 40}} {
		b := newBench(t, c.off)
		b.hear(2, syncwire.KindSession, session(1, 2, 5, flow.Birth(b.now+3_600_000)<<16, 2, 1, 2))
		x := session(2, 1, 7, 0, 0, 0, 0)
		if _, err := b.Create(b.now, &x); err != nil {
			t.Fatal(err)
		}
		ahead := int64(x.Birth>>16) - b.now
		if ahead > c.most {
			t.Errorf("the birth is %d ms ahead, want at most %d", ahead, c.most)
		}
		if c.off != 0 && ahead <= 501 {
			t.Error("the mutant without the bound survives")
		}
	}
}

func TestABulkCarriesOwnRecordsOrphansAndTombstones(t *testing.T) {
	run := func(off syncer.Rules) map[uint16]bool {
		b := newBench(t, off|syncer.NoAdopt)
		for i, owner := range []uint32{1, 2, 7} { // 7 is in no view
			s := session(i+1, byte(i+1), uint16(5+i), 100<<16, owner, 1, 2)
			if i == 0 {
				s.Flags = flow.SoftTomb
			}
			if _, err := b.store.Insert(&s); err != nil {
				t.Fatal(err)
			}
		}
		mine := session(9, 1, 30, 0, 0, 0, 0)
		if _, err := b.Create(b.now, &mine); err != nil {
			t.Fatal(err)
		}
		b.Done()
		b.StartBulk(b.now, nodeID(3))
		b.Tick(b.now, 1000)
		got := map[uint16]bool{}
		if b.acts(syncer.ActBulkBegin) != 1 || b.acts(syncer.ActBulkEnd) != 1 {
			t.Error("no begin or no end")
		}
		for _, a := range b.sends() {
			if a.Lane == syncwire.LaneBulk && a.To == 3 {
				k := flow.Key(a.Msg.Rec.Reply)
				got[k.DstPort()>>8] = true
			}
		}
		return got
	}
	if got := run(0); !got[5] || got[6] || !got[7] || !got[30] {
		t.Errorf("bulk carried ports %v, want 5 (own tombstone), 7 (orphan), 30 (own), not 6", got)
	}
	if run(syncer.BulkOwnOnly)[7] {
		t.Error("the mutant without orphans survives")
	}
}

func TestReplyOnlyTravels(t *testing.T) {
	for _, c := range []struct {
		off  syncer.Rules
		want bool
	}{{0, true}, {syncer.ReplyOnlyLocal, false}} {
		b := newBench(t, c.off)
		s := session(1, 1, 5, 100<<16, 1, 1, 2)
		s.Flags = flow.ReplyOnly
		h, err := b.store.Insert(&s)
		if err != nil {
			t.Fatal(err)
		}
		b.Ending(b.now, h)
		got := flow.Flags(b.sends()[0].Msg.Rec.Flags)&flow.ReplyOnly != 0
		if got != c.want {
			t.Errorf("rules off %x: travels %v", c.off, got)
		}
	}
}

func TestCreate(t *testing.T) {
	t.Run("an embryonic session is told to nobody before its handshake", func(t *testing.T) {
		b := newBench(t, 0)
		x := session(1, 1, 5, 0, 0, 0, 0)
		x.Flags = flow.Embryonic
		h, err := b.Create(b.now, &x)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b.sends()); n != 0 {
			t.Fatalf("%d messages before the handshake", n)
		}
		b.Established(b.now, h)
		m := b.sends()
		if len(m) != 1 || m[0].To != syncer.AllNodes || m[0].Msg.Kind != syncwire.KindSession {
			t.Fatalf("after the handshake %v", m)
		}
		b.sumsHold(t)
	})
	t.Run("births rise even when the clock stands", func(t *testing.T) {
		b := newBench(t, 0)
		last := flow.Birth(0)
		for i := range 50 {
			x := session(i, 1, uint16(5+i), 0, 0, 0, 0)
			if _, err := b.Create(b.now, &x); err != nil || x.Birth <= last {
				t.Fatalf("birth %d after %d, %v", x.Birth, last, err)
			}
			last = x.Birth
		}
	})
	t.Run("a birth is above that of the life that it displaces, whatever the clock says", func(t *testing.T) {
		b := newBench(t, 0)
		ahead := session(1, 2, 5, flow.Birth(b.now+9_000_000)<<16, 2, 1, 2)
		b.hear(2, syncwire.KindSession, ahead)
		x := session(1, 1, 6, 0, 0, 0, 0)
		if _, err := b.Create(b.now, &x); err != nil || x.Birth <= ahead.Birth {
			t.Fatalf("birth %d, want above %d; %v", x.Birth, ahead.Birth, err)
		}
		if got := b.held(ahead).Flags & flow.ReplyOnly; got == 0 {
			t.Error("the displaced life is not reply-only")
		}
	})
	t.Run("a taken reply tuple is refused, that of an aged session as well", func(t *testing.T) {
		for _, f := range []flow.Flags{0, flow.SoftTomb} {
			b := newBench(t, 0)
			s := session(1, 1, 5, 100<<16, 1, 1, 2)
			s.Flags = f
			if _, err := b.store.Insert(&s); err != nil {
				t.Fatal(err)
			}
			x := session(2, 1, 5, 0, 0, 0, 0)
			if _, err := b.Create(b.now, &x); !errors.Is(err, flow.ErrReplyTaken) {
				t.Errorf("flags %x: %v", f, err)
			}
		}
	})
	t.Run("a full store says so and changes nothing", func(t *testing.T) {
		b := newBench(t, 0)
		b.store.max = 0
		x := session(2, 1, 5, 0, 0, 0, 0)
		if _, err := b.Create(b.now, &x); !errors.Is(err, flow.ErrFull) || len(b.sends()) != 0 {
			t.Error(err)
		}
		b.sumsHold(t)
	})
}

func TestExpired(t *testing.T) {
	t.Run("an owner ages", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 1, 1, 2)
		h, _ := b.store.Insert(&s)
		b.Recount()
		if b.Expired(b.now, h) != 0 || b.held(s).Flags&flow.SoftTomb == 0 {
			t.Error("did not age")
		}
		if m := b.sends(); len(m) != 1 || m[0].Msg.Kind != syncwire.KindAge {
			t.Errorf("sent %v", m)
		}
		b.sumsHold(t)
	})
	t.Run("an owner closes what was reset, or ended and acknowledged by both sides, and ages the rest", func(t *testing.T) {
		const fins, acked = flow.FinIn | flow.FinOut, flow.FinAckedIn | flow.FinAckedOut
		for bits, want := range map[flow.Bits]syncwire.Kind{
			flow.RstIn: syncwire.KindClose, flow.RstOut: syncwire.KindClose, fins | flow.RstIn: syncwire.KindClose,
			fins | acked: syncwire.KindClose,
			0:            syncwire.KindAge, flow.FinIn: syncwire.KindAge, flow.FinOut: syncwire.KindAge, fins: syncwire.KindAge,
			fins | flow.FinAckedIn: syncwire.KindAge, fins | flow.FinAckedOut: syncwire.KindAge, flow.FinIn | flow.FinAckedIn: syncwire.KindAge,
		} {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 1, 1, 2)
			s.Bits |= bits
			h, _ := b.store.Insert(&s)
			b.Expired(b.now, h)
			if m := b.sends(); len(m) != 1 || m[0].Msg.Kind != want {
				t.Errorf("bits %x: sent %v", bits, m)
			}
		}
	})
	t.Run("what ended goes in a version of its own, and is seen", func(t *testing.T) {
		for bits, event := range map[flow.Bits]syncer.ActionKind{0: syncer.ActAged, flow.RstIn: syncer.ActClosed} {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 1, 3, 4)
			s.Bits |= bits
			h := b.put(s)
			b.Expired(b.now, h)
			if b.acts(event) != 1 || b.tombs() != 1 {
				t.Errorf("bits %x: %d events, %d tombstones", bits, b.acts(event), b.tombs())
			}
			if m := b.sends(); len(m) != 1 || m[0].Msg.Rec.Ver != 5 || m[0].Msg.Rec.Term != 3 {
				t.Errorf("bits %x: told %+v", bits, m)
			}
		}
	})
	t.Run("what is no record, or a tombstone, is left alone", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 1, 3, 4)
		s.Flags = flow.SoftTomb
		h := b.put(s)
		if b.Expired(b.now, h) == 0 || len(b.sends()) != 0 || b.held(s).Ver != 4 {
			t.Errorf("holds %+v", b.held(s))
		}
		if b.Expired(b.now, h+1) != 0 || len(b.sends()) != 0 {
			t.Error("a record that is gone expired")
		}
	})
	t.Run("an orphan is adopted by its winner alone", func(t *testing.T) {
		n := 0
		for i := range 20 {
			both := 0
			for _, id := range []uint32{1, 3} {
				b := newBenchOf(t, id, 0)
				s := session(i, 2, 5, 100<<16, 2, 3, 4)
				v := view(2, 1, 3)
				v.Self = nodeID(id)
				b.SetView(b.now, v)
				b.Tick(b.now, 1000) // looked for orphans before this one came
				h := b.put(s)
				if b.Expired(b.now, h) == 0 {
					t.Error("gone")
				}
				if x := b.held(s); x.Owner == nodeID(id) && x.Term == 4 {
					both++
					n += int(id & 1 &^ (id >> 1)) // node 1
				}
				b.sumsHold(t)
			}
			if both != 1 {
				t.Errorf("session %d was adopted %d times", i, both)
			}
		}
		if n < 3 || n > 17 {
			t.Errorf("node 1 of two adopted %d of 20", n)
		}
	})
	t.Run("an embryonic copy of another's goes without a word", func(t *testing.T) {
		for block, freed := range map[byte]int{1: 1, 2: 0} {
			b := newBench(t, 0)
			s := session(1, block, 5, 100<<16, 2, 1, 1)
			s.Flags = flow.Embryonic
			h := b.put(s)
			if b.Expired(b.now, h) != 0 || b.held(s).Birth != 0 || len(b.sends()) != 0 || len(b.ports.freed) != freed {
				t.Errorf("block %d: holds %+v, freed %v", block, b.held(s), b.ports.freed)
			}
		}
	})
	t.Run("a port comes back also while its block is not held, as while this node is degraded", func(t *testing.T) {
		b := newBench(t, 0)
		x := session(1, 1, 5, 0, 0, 0, 0)
		x.Flags = flow.Embryonic
		h, _ := b.Create(b.now, &x)
		for a := range b.ports.mine {
			b.ports.mine[a] = false
		}
		b.Expired(b.now, h)
		if len(b.store.rec) != 0 || len(b.ports.freed) != 1 {
			t.Errorf("%d records, freed %v", len(b.store.rec), b.ports.freed)
		}
	})
	t.Run("a replica keeps quiet while its owner is in the view", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 2, 1, 2)
		h, _ := b.store.Insert(&s)
		if b.Expired(b.now, h) == 0 || b.held(s).Flags&flow.Tomb != 0 || len(b.sends()) != 0 {
			t.Error("a replica aged")
		}
	})
	t.Run("an embryonic session nobody knows goes without a word, and its port comes back", func(t *testing.T) {
		b := newBench(t, 0)
		x := session(1, 1, 5, 0, 0, 0, 0)
		x.Flags = flow.Embryonic
		h, _ := b.Create(b.now, &x)
		b.Expired(b.now, h)
		if len(b.store.rec) != 0 || len(b.sends()) != 0 || len(b.ports.freed) != 1 {
			t.Errorf("%d records, freed %v", len(b.store.rec), b.ports.freed)
		}
	})
	t.Run("an embryonic session that was given as an answer is aged like others", func(t *testing.T) {
		b := newBench(t, 0)
		x := session(1, 1, 5, 0, 0, 0, 0)
		x.Flags = flow.Embryonic
		h, _ := b.Create(b.now, &x)
		b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindQuery, ID: 5, Rec: syncwire.Record{Orig: syncwire.Key(x.Orig), Bucket: 0x10}})
		if m := b.sends(); len(m) != 1 || m[0].Msg.Kind != syncwire.KindAnswer || !m[0].Msg.Found {
			t.Fatalf("answered %v", m)
		}
		b.Expired(b.now, h)
		if m := b.sends(); len(m) != 1 || m[0].Msg.Kind != syncwire.KindAge {
			t.Errorf("sent %v", m)
		}
	})
}

func TestOnlyTheOwnerOfALivingSessionTellsItsProgress(t *testing.T) {
	for _, c := range []struct {
		name  string
		owner uint32
		flags flow.Flags
		want  bool
	}{
		{"an own one", 1, 0, true},
		{"an own embryonic one, which is none from now on", 1, flow.Embryonic, true},
		{"another's", 2, 0, false},
		{"an aged one", 1, flow.SoftTomb, false},
	} {
		for _, call := range []func(*bench, flow.Handle){
			func(b *bench, h flow.Handle) { b.Established(b.now, h) }, func(b *bench, h flow.Handle) { b.Ending(b.now, h) },
		} {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, c.owner, 3, 4)
			s.Flags = c.flags
			h := b.put(s)
			call(b, h)
			call(b, h+1) // no record
			want := s.Ver
			if c.want {
				want++
			}
			x := b.held(s)
			if x.Ver != want || x.Flags&flow.Embryonic != 0 {
				t.Errorf("%s: holds %+v", c.name, x)
			}
			if m := b.sends(); c.want != (len(m) == 1 && m[0].To == syncer.AllNodes && m[0].Msg.Rec.Ver == want) || !c.want && len(m) != 0 {
				t.Errorf("%s: told %+v", c.name, m)
			}
			b.sumsHold(t)
		}
	}
}

// CLOSE is final, so it may come from anyone; from one that is not the owner it goes in a term of its own.
func TestDeleteClosesWhoeverOwnsIt(t *testing.T) {
	for _, c := range []struct {
		name      string
		owner     uint32
		flags     flow.Flags
		term, ver uint32 // after
	}{
		{"an own one", 1, 0, 3, 5},
		{"another's", 2, 0, 4, 2},
		{"an aged one", 1, flow.SoftTomb, 3, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, c.owner, 3, 4)
			s.Flags = c.flags
			h := b.put(s)
			b.Delete(b.now, h)
			b.Delete(b.now, h) // no record
			if n := b.acts(syncer.ActClosed); n != 1 || b.held(s).Birth != 0 || !b.HasEnded(s) {
				t.Errorf("%d events, holds %+v", n, b.held(s))
			}
			m := b.sends()
			if len(m) != 1 || m[0].Msg.Kind != syncwire.KindClose || m[0].To != syncer.AllNodes {
				t.Fatalf("told %+v", m)
			}
			if r := &m[0].Msg.Rec; r.OwnerID != 1 || r.Term != c.term || r.Ver != c.ver {
				t.Errorf("told %+v", r)
			}
			b.sumsHold(t)
		})
	}
}

// What is lost for good is made up for by digests: nothing that was sent until now counts as confirmed.
func TestAResendOfWhatNobodyRemembersMakesNothingConfirmed(t *testing.T) {
	b := newBench(t, 0)
	s := session(1, 2, 5, 100<<16, 1, 1, 2)
	h := b.put(s)
	b.Delete(b.now, h)
	seq := b.sends()[0].Seq
	b.Confirmed(nodeID(2), seq)
	b.Confirmed(nodeID(3), seq)
	b.Resend(b.now, nodeID(3), seq, syncer.Ref{Birth: 7, Handle: 99})
	if !b.after(20_000, s) {
		t.Error("a tombstone was collected as if all had it")
	}
	b.Resend(b.now, nodeID(9), seq, syncer.Ref{Birth: s.Birth, Handle: h})
	if m := b.sends(); len(m) != 0 {
		t.Errorf("a stranger was sent %+v", m)
	}
}
