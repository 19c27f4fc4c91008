package conntrack

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// model is the table as two maps: what it must agree with after any operations.
type model struct {
	sess  map[flow.Handle]*flow.Session
	byKey map[flow.Key]Ref
	room  [2]int
}

func six(s *flow.Session) int {
	if s.Orig.Family() == flow.IPv6 || s.Reply.Family() == flow.IPv6 {
		return 1
	}
	return 0
}

func (m *model) used(part int) (n int) {
	for _, s := range m.sess {
		if six(s) == part {
			n++
		}
	}
	return n
}

// claim says whether s, of handle own if it is there already, may have its original tuple, and does.
func (m *model) claim(s *flow.Session, own flow.Handle) (take bool, err error) {
	r, taken := m.byKey[s.Orig]
	switch {
	case !taken || r.Handle() == own:
		return true, nil
	case s.Flags&flow.ReplyOnly != 0:
		o := m.sess[r.Handle()]
		return r.Dir() == flow.In && o.Flags&flow.ReplyOnly != 0 && o.Birth < s.Birth, nil
	case r.Dir() == flow.Out:
		return false, flow.ErrOrigTaken
	case m.sess[r.Handle()].Flags&flow.ReplyOnly != 0:
		return true, nil
	case s.Flags&flow.Tomb != 0:
		return false, nil
	case m.sess[r.Handle()].Flags&flow.Tomb == 0:
		return false, flow.ErrOrigTaken
	}
	return true, nil
}

// insert says what must come of inserting s.
func (m *model) insert(s *flow.Session) error {
	if _, err := m.claim(s, 0); err != nil {
		return err
	}
	if _, taken := m.byKey[s.Reply]; taken {
		return flow.ErrReplyTaken
	}
	if m.used(six(s)) == m.room[six(s)] {
		return flow.ErrFull
	}
	return nil
}

func (m *model) put(h flow.Handle, s *flow.Session) {
	take, _ := m.claim(s, h)
	if r, ok := m.byKey[s.Orig]; ok && r.Handle() == h && !take {
		delete(m.byKey, s.Orig)
	}
	if take {
		m.byKey[s.Orig] = MakeRef(h, flow.In)
	}
	m.byKey[s.Reply] = MakeRef(h, flow.Out)
	c := *s
	m.sess[h] = &c
}

func (m *model) remove(h flow.Handle) {
	s := m.sess[h]
	for _, k := range []flow.Key{s.Orig, s.Reply} {
		if m.byKey[k].Handle() == h {
			delete(m.byKey, k)
		}
	}
	delete(m.sess, h)
}

// randomSession draws from few tuples, so that they meet.
func randomSession(rnd *rand.Rand, tuples uint64, s *flow.Session) {
	flags := []flow.Flags{0, 0, 0, flow.Synced, flow.ReplyOnly, flow.SoftTomb, flow.Confirmed, flow.ReplyOnly | flow.SoftTomb}
	tuple := func(v6 bool) flow.Key {
		n := rnd.Uint64N(tuples)
		if v6 {
			return flow.Key{Addr: [4]uint64{1, n, 2, n >> 3}, Meta: n<<48 | 80<<32 | flow.ProtoTCP<<8 | flow.IPv6}
		}
		return flow.Key{Addr: [4]uint64{n>>4<<32 | 3}, Meta: n<<48 | 80<<32 | flow.ProtoTCP<<8 | flow.IPv4}
	}
	*s = flow.Session{
		Orig: tuple(rnd.IntN(2) == 0), Reply: tuple(rnd.IntN(2) == 0), Mode: flow.FullNAT, Birth: flow.Birth(rnd.Uint64()),
		Owner: flow.Node{ID: rnd.Uint32N(3), Inc: rnd.Uint64N(3)}, Term: rnd.Uint32(), Ver: rnd.Uint32(), Service: rnd.Uint32(), Server: rnd.Uint32(),
		Idle: rnd.Uint32N(100000), Timeout: 1 + rnd.Uint32N(8000), Flags: flags[rnd.IntN(len(flags))],
		State: flow.State(rnd.IntN(tcpStates)), Bits: flow.Bits(rnd.Uint32()), Bucket: flow.Bucket(rnd.Uint32()),
	}
	for d := range s.Seq {
		s.Seq[d] = flow.SeqHint{Next: rnd.Uint32(), Ack: rnd.Uint32(), Window: uint16(rnd.Uint32()), Seen: rnd.IntN(2) == 0}
	}
	if s.Orig == s.Reply {
		s.Reply.Meta ^= 1 << 32
	}
}

func checkAll(t *testing.T, tab *Table, m *model, misses []flow.Key) {
	t.Helper()
	if tab.Len() != len(m.sess) {
		t.Fatalf("%d records, model %d", tab.Len(), len(m.sess))
	}
	var got flow.Session
	for h, want := range m.sess {
		if tab.Load(h, &got); got != *want {
			t.Fatalf("handle %d\ngot  %+v\nwant %+v", h, got, *want)
		}
	}
	var keys []flow.Key
	for _, s := range m.sess {
		keys = append(keys, s.Orig, s.Reply)
	}
	keys = append(keys, misses...)
	refs := make([]Ref, len(keys))
	tab.LookupBatch(keys, refs)
	for i, r := range refs {
		if r != m.byKey[keys[i]] {
			t.Fatalf("batch: %v finds %d, want %d", keys[i], r, m.byKey[keys[i]])
		}
		h, d, ok := tab.Find(&keys[i])
		if ok != (r != 0) || ok && MakeRef(h, d) != r {
			t.Fatalf("find: %v finds %d %d %v, want %d", keys[i], h, d, ok, r)
		}
	}
	seen := map[flow.Handle]bool{}
	for cursor := tab.Scan(0, 3, func(h flow.Handle) { seen[h] = true }); cursor != 0; {
		cursor = tab.Scan(cursor, 3, func(h flow.Handle) { seen[h] = true })
	}
	if len(seen) != len(m.sess) {
		t.Fatalf("scan met %d of %d", len(seen), len(m.sess))
	}
}

func TestAgreesWithTheModelUnderRandomOperations(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		tuples := []uint64{40, 300, 3000}[seed%3]
		m := &model{sess: map[flow.Handle]*flow.Session{}, byKey: map[flow.Key]Ref{}, room: [2]int{60, 90}}
		tab := newTable(t, Config{CapacityV4: m.room[0], CapacityV6: m.room[1], Load: []float64{0.85, 0.95}[seed&1]})
		tab.Advance(expiry.Tick(rnd.Uint32()))
		var handles []flow.Handle
		var misses []flow.Key
		for op := range 6000 {
			var s flow.Session
			randomSession(rnd, tuples, &s)
			pick := -1
			if len(handles) > 0 {
				pick = rnd.IntN(len(handles))
			}
			switch r := rnd.IntN(100); {
			case r < 50 || pick < 0:
				want := m.insert(&s)
				h, err := tab.Insert(&s)
				if !errors.Is(err, want) || (want == nil) != (err == nil) {
					t.Fatalf("seed %d op %d: insert: %v, want %v", seed, op, err, want)
				}
				if err == nil {
					m.put(h, &s)
					handles = append(handles, h)
				}
			case r < 75:
				h := handles[pick]
				s.Orig, s.Reply = m.sess[h].Orig, m.sess[h].Reply
				_, want := m.claim(&s, h)
				if err := tab.Update(h, &s); !errors.Is(err, want) || (want == nil) != (err == nil) {
					t.Fatalf("seed %d op %d: update: %v, want %v", seed, op, err, want)
				}
				if want == nil {
					m.put(h, &s)
				}
			default:
				h := handles[pick]
				misses = append(misses, m.sess[h].Orig)
				m.remove(h)
				tab.Remove(h)
				handles[pick] = handles[len(handles)-1]
				handles = handles[:len(handles)-1]
			}
			if op%500 == 0 {
				checkAll(t, tab, m, misses)
				misses = misses[:0]
			}
		}
		checkAll(t, tab, m, misses)
		for _, h := range handles {
			tab.Remove(h)
		}
		checkEmpty(t, tab)
	}
}

func checkEmpty(t *testing.T, tab *Table) {
	t.Helper()
	for i := range tab.ix.bucket {
		if b := &tab.ix.bucket[i]; b.fp != [2]uint64{} || b.ref != [slots]Ref{} || b.over != 0 || b.away != 0 {
			t.Fatalf("bucket %d of an empty table: %+v", i, *b)
		}
	}
	if len(tab.paths.byKey) != 0 {
		t.Fatalf("%d paths of an empty table", len(tab.paths.byKey))
	}
	if st := tab.Stats(); st.V4+st.V6+st.Embryonic+st.SoftTombs+st.ReplyOnly != 0 || st.Owners != 1 {
		t.Fatalf("an empty table counts %+v", st)
	}
}

func TestIndexFillsToTheLastRecordAndEmpties(t *testing.T) {
	for _, n := range []int{1, 7, 100, 20_000} {
		tab := newTable(t, Config{CapacityV4: n, Load: 0.95})
		var s flow.Session
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		handles := make([]flow.Handle, n)
		for i := range n {
			benchSession(uint32(i), false, &s)
			h, err := tab.Insert(&s)
			if err != nil {
				t.Fatalf("%d of %d: %v", i, n, err)
			}
			handles[i] = h
		}
		benchSession(uint32(n), false, &s)
		if _, err := tab.Insert(&s); !errors.Is(err, flow.ErrFull) {
			t.Fatalf("one more than fits: %v", err)
		}
		for range 2 * n { // turnover at the full mark
			i := rnd.IntN(n)
			tab.Remove(handles[i])
			benchSession(uint32(i), false, &s)
			h, err := tab.Insert(&s)
			if err != nil {
				t.Fatal(err)
			}
			handles[i] = h
		}
		for i := range n {
			benchSession(uint32(i), false, &s)
			if h, d, ok := tab.Find(&s.Orig); !ok || h != handles[i] || d != flow.In {
				t.Fatalf("session %d of %d: %d %d %v", i, n, h, d, ok)
			}
			if h, d, ok := tab.Find(&s.Reply); !ok || h != handles[i] || d != flow.Out {
				t.Fatalf("reply %d of %d: %d %d %v", i, n, h, d, ok)
			}
		}
		for _, h := range handles {
			tab.Remove(h)
		}
		checkEmpty(t, tab)
		if tab.Stats().IndexFull != 0 {
			t.Errorf("%+v", tab.Stats())
		}
	}
}

func TestHashSpreadsKeysThatDifferLittle(t *testing.T) {
	for name, six := range map[string]bool{"ipv4": false, "ipv6": true} {
		t.Run(name, func(t *testing.T) {
			const n, bins = 1 << 16, 1 << 10
			var high, low [bins]int
			s := newSecret(nil)
			var x flow.Session
			for i := range uint32(n) {
				benchSession(i, six, &x)
				h := s.hash(&x.Orig)
				high[h>>54]++
				low[h%bins]++
			}
			for i := range bins { // mean 64, deviation 8
				if high[i] < 10 || high[i] > 130 || low[i] < 10 || low[i] > 130 {
					t.Fatalf("bin %d holds %d by the high bits, %d by the low ones", i, high[i], low[i])
				}
			}
		})
	}
}

func TestTwoTablesHashDifferently(t *testing.T) {
	a, b := newSecret(nil), newSecret(nil)
	k := tcp4(t).Orig
	if a == b || a.hash(&k) == b.hash(&k) {
		t.Error("the hash has no secret")
	}
}

// With a secret of zeros every key whose first and third address word are 0 has the hash 0: all share one bucket and
// one fingerprint, and the keys alone tell them apart.
func TestSessionsWithOneFingerprintAreToldApart(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 20, CapacityV6: 20})
	tab.secret = secret{}
	m := &model{sess: map[flow.Handle]*flow.Session{}, byKey: map[flow.Key]Ref{}, room: [2]int{20, 20}}
	var misses []flow.Key
	for i := range uint64(7) { // 14 entries in 16 slots
		s := tcp4(t)
		s.Timeout, s.Flags = 30, 0
		const meta = flow.ProtoTCP << 8
		s.Orig = flow.Key{Meta: i<<48 | 80<<32 | meta | flow.IPv4}
		s.Reply = flow.Key{Meta: 81<<48 | i<<32 | meta | flow.IPv4}
		if i%2 == 0 {
			s.Orig = flow.Key{Addr: [4]uint64{0, i, 0, 7}, Meta: 80<<32 | meta | flow.IPv6}
			s.Reply = flow.Key{Addr: [4]uint64{0, 8, 0, i}, Meta: 80<<32 | meta | flow.IPv6}
		}
		h, err := tab.Insert(s)
		if err != nil {
			t.Fatal(err)
		}
		m.put(h, s)
		for _, k := range []flow.Key{s.Orig, s.Reply} {
			for _, o := range []flow.Key{{Meta: k.Meta ^ 1<<40}, {Meta: k.Meta ^ 2}, {Addr: [4]uint64{0, k.Addr[1] ^ 64, 0, k.Addr[3]}, Meta: k.Meta}, {Addr: k.Addr, Meta: k.Meta ^ (flow.ProtoTCP^flow.ProtoUDP)<<8}} {
				if _, ok := m.byKey[o]; !ok && (o.Family() == flow.IPv6 || o.Addr[1] == 0) {
					misses = append(misses, o)
				}
			}
		}
	}
	checkAll(t, tab, m, misses)
}
