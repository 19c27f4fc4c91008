package syncseal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func testKey(id uint16) Key {
	k := Key{ID: id}
	for i := range k.Secret {
		k.Secret[i] = byte(i) + byte(id)
	}
	return k
}

func ringOf(t testing.TB, active uint16, keys ...Key) *Ring {
	t.Helper()
	r := new(Ring)
	if err := r.Set(active, keys...); err != nil {
		t.Fatal(err)
	}
	return r
}

var testLink = Link{Inc: 10, Sender: 1, Receiver: 2, Salt: 0xabcd, Lane: syncwire.LaneLive}

// plain is a datagram as a builder leaves it.
func plain() []byte {
	b := syncwire.NewBuilder(testLink.Inc, testLink.Sender)
	b.Reset(make([]byte, 1400), testLink.Lane, 3, 4)
	b.Probe(&syncwire.Probe{Seq: 5})
	return b.Finish()
}

func seal(t testing.TB, s *Sealer) []byte {
	t.Helper()
	p, _, err := s.Seal(plain())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// open reads and opens a copy of a datagram, as from the network.
func open(o *Opener, datagram []byte) ([]byte, Verdict) {
	p := bytes.Clone(datagram)
	var h syncwire.Header
	if h.Read(p) != syncwire.OK {
		return nil, NumVerdicts // refused before it came to the seal
	}
	return o.Open(&h, p)
}

func TestSealedIsOpened(t *testing.T) {
	ring := ringOf(t, 7, testKey(7))
	s, o := NewSealer(ring, testLink), NewOpener(ring, testLink)
	for want := uint64(1); want <= 3; want++ {
		p, counter, err := s.Seal(plain())
		if err != nil || counter != want || s.Sent() != want {
			t.Fatalf("%v, counter %d, want %d", err, counter, want)
		}
		if bytes.Contains(p, plain()[syncwire.HeaderLen:]) {
			t.Fatal("the TLVs travel in clear")
		}
		tlvs, v := open(o, p)
		if v != Opened || !bytes.Equal(tlvs, plain()[syncwire.HeaderLen:]) || o.window.top != want {
			t.Fatalf("%v %x", v, tlvs)
		}
	}
	if s.Link() != testLink || o.Link() != testLink {
		t.Error("another link")
	}
}

// TestEveryBitCounts flips each bit of a datagram: header, TLVs, tag. None opens, and none leaves a mark in the window.
func TestEveryBitCounts(t *testing.T) {
	ring := ringOf(t, 7, testKey(7))
	s, o := NewSealer(ring, testLink), NewOpener(ring, testLink)
	p := seal(t, s)
	for bit := range 8 * len(p) {
		q := bytes.Clone(p)
		q[bit/8] ^= 1 << (bit % 8)
		if _, v := open(o, q); v == Opened || v == Replayed || v == TooOld {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, v)
		}
	}
	if o.window.top != 0 {
		t.Errorf("a forged counter moved the window to %d", o.window.top)
	}
	if _, v := open(o, p); v != Opened {
		t.Errorf("the true one then: %v", v)
	}
}

func TestOpenRefuses(t *testing.T) {
	ring := ringOf(t, 7, testKey(7))
	with := func(change func(*Link)) Link {
		l := testLink
		change(&l)
		return l
	}
	for _, row := range []struct {
		name   string
		sealed Link
		ring   *Ring
		want   Verdict
	}{
		{"for another receiver", with(func(l *Link) { l.Receiver = 3 }), ring, Forged},
		{"from another sender", with(func(l *Link) { l.Sender = 3 }), ring, WrongLink},
		{"reflected", with(func(l *Link) { l.Sender, l.Receiver = 2, 1 }), ring, WrongLink},
		{"from a former life", with(func(l *Link) { l.Inc-- }), ring, WrongLink},
		{"under another salt", with(func(l *Link) { l.Salt++ }), ring, WrongLink},
		{"in another lane", with(func(l *Link) { l.Lane = syncwire.LaneBulk }), ring, WrongLink},
		{"under a key that nobody gave us", testLink, ringOf(t, 8, testKey(8)), UnknownKey},
		{"under another key of the same id", testLink, ringOf(t, 7, Key{ID: 7, Secret: [SecretLen]byte{1}}), Forged},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := NewOpener(ring, testLink)
			tlvs, v := open(o, seal(t, NewSealer(row.ring, row.sealed)))
			if v != row.want || tlvs != nil {
				t.Errorf("got %v, want %v", v, row.want)
			}
			if o.window.top != 0 {
				t.Error("the window moved")
			}
		})
	}
	t.Run("random bytes behind a true header", func(t *testing.T) {
		o, p := NewOpener(ring, testLink), seal(t, NewSealer(ring, testLink))
		for i := syncwire.HeaderLen; i < len(p); i++ {
			p[i] = byte(i * 31)
		}
		if _, v := open(o, p); v != Forged {
			t.Error(v)
		}
	})
	t.Run("nothing behind the header", func(t *testing.T) {
		o := NewOpener(ring, testLink)
		h := syncwire.Header{Inc: 10, Sender: 1, Salt: 0xabcd, Lane: syncwire.LaneLive, KeyID: 7}
		if _, v := o.Open(&h, make([]byte, syncwire.HeaderLen)); v != WrongLink {
			t.Error(v)
		}
	})
	t.Run("a header whose lane was changed to fit another opener", func(t *testing.T) {
		o := NewOpener(ring, with(func(l *Link) { l.Lane = syncwire.LaneBulk }))
		p := seal(t, NewSealer(ring, testLink))
		p[4] = byte(syncwire.LaneBulk)
		if _, v := open(o, p); v != Forged {
			t.Error(v)
		}
	})
}

func TestReplaysAndReordering(t *testing.T) {
	ring := ringOf(t, 7, testKey(7))
	s, o := NewSealer(ring, testLink), NewOpener(ring, testLink)
	all := make([][]byte, WindowLen+2)
	for i := range all[1:] {
		all[i+1] = seal(t, s)
	}
	for _, step := range []struct {
		counter int
		want    Verdict
	}{
		{2, Opened},
		{2, Replayed},
		{1, Opened}, // late within the window
		{1, Replayed},
		{100, Opened},
		{50, Opened},
		{WindowLen, Opened},
		{3, Opened},
		{WindowLen + 1, Opened},
		{1, TooOld},
		{4, Opened},
		{100, Replayed},
	} {
		if _, v := open(o, all[step.counter]); v != step.want {
			t.Errorf("counter %d: %v, want %v", step.counter, v, step.want)
		}
	}
}

// TestRotationLosesNothing takes two nodes through a rotation, never at the same moment, with datagrams under way.
func TestRotationLosesNothing(t *testing.T) {
	old, next := testKey(1), testKey(2)
	mine, theirs := ringOf(t, 1, old), ringOf(t, 1, old)
	s, o := NewSealer(mine, testLink), NewOpener(theirs, testLink)
	var late [][]byte
	exchange := func(when string) {
		t.Helper()
		if _, v := open(o, seal(t, s)); v != Opened {
			t.Fatalf("%s: %v", when, v)
		}
		late = append(late, seal(t, s))
	}
	set := func(r *Ring, active uint16, keys ...Key) {
		t.Helper()
		if err := r.Set(active, keys...); err != nil {
			t.Fatal(err)
		}
	}
	exchange("before")
	set(mine, 1, old, next)
	exchange("the sender knows both")
	set(theirs, 1, old, next)
	exchange("both know both")
	set(mine, 2, old, next)
	exchange("the sender uses the new one")
	set(theirs, 2, next, old)
	exchange("both use the new one")
	for i, p := range late {
		if _, v := open(o, p); v != Opened {
			t.Errorf("late datagram %d: %v", i, v)
		}
	}
	set(mine, 2, next)
	set(theirs, 2, next)
	if _, v := open(o, seal(t, s)); v != Opened {
		t.Error(v)
	}
	if _, v := open(o, late[0]); v != UnknownKey {
		t.Errorf("the old key is gone, but: %v", v)
	}
	if _, v := open(o, late[3]); v != Replayed {
		t.Errorf("a replay across the rotation: %v", v)
	}
	if s.Sent() != 11 {
		t.Errorf("counters began again: %d", s.Sent())
	}
}

func TestRingRefusesBadKeys(t *testing.T) {
	for _, row := range []struct {
		name   string
		active uint16
		keys   []Key
	}{
		{"none", 0, nil},
		{"three", 1, []Key{testKey(1), testKey(2), testKey(3)}},
		{"two of one id", 1, []Key{testKey(1), {ID: 1, Secret: [SecretLen]byte{1}}}},
		{"an active one that isn't there", 3, []Key{testKey(1), testKey(2)}},
		{"a secret of zeros", 1, []Key{{ID: 1}}},
		{"an id of zero", 0, []Key{{Secret: [SecretLen]byte{1}}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := ringOf(t, 9, testKey(9))
			if err := r.Set(row.active, row.keys...); !errors.Is(err, ErrKeys) {
				t.Errorf("got %v", err)
			}
			if id, ok := r.Active(); !ok || id != 9 {
				t.Errorf("the ring changed: %d %v", id, ok)
			}
		})
	}
}

func TestAnEmptyRingNeitherSealsNorOpens(t *testing.T) {
	p := seal(t, NewSealer(ringOf(t, 7, testKey(7)), testLink))
	r := &Ring{}
	s, o := NewSealer(r, testLink), NewOpener(r, testLink)
	if _, _, err := s.Seal(plain()); !errors.Is(err, ErrNoKey) {
		t.Errorf("sealed: %v", err)
	}
	if _, v := open(o, p); v != UnknownKey {
		t.Errorf("opened: %v", v)
	}
	if _, ok := r.Active(); ok {
		t.Error("there is an active key")
	}
	if s.Sent() != 0 {
		t.Errorf("a refused datagram took the counter to %d", s.Sent())
	}
}

func TestSealRefuses(t *testing.T) {
	r := ringOf(t, 7, testKey(7))
	s := NewSealer(r, testLink)
	for _, p := range [][]byte{nil, make([]byte, syncwire.HeaderLen-1, 100), make([]byte, 100, 100+syncwire.TagLen-1)} {
		if _, _, err := s.Seal(p); !errors.Is(err, ErrBuffer) {
			t.Errorf("%d of %d bytes: %v", len(p), cap(p), err)
		}
	}
	s.sent = MaxCounter - 1
	if _, c, err := s.Seal(plain()); err != nil || c != MaxCounter {
		t.Errorf("the last counter: %d, %v", c, err)
	}
	for range 2 {
		if _, _, err := s.Seal(plain()); !errors.Is(err, ErrExhausted) {
			t.Errorf("beyond the last counter: %v", err)
		}
	}
	if s.Sent() != MaxCounter {
		t.Errorf("the counter ran on to %d", s.Sent())
	}
}

// TestKeyDependsOnAllOfTheLink and no two links that differ in one field share a key.
func TestKeyDependsOnAllOfTheLink(t *testing.T) {
	ring := ringOf(t, 7, testKey(7))
	seen := map[string]Link{}
	for _, l := range []Link{
		{},
		{Inc: 1},
		{Sender: 1},
		{Receiver: 1},
		{Salt: 1},
		{Lane: 1},
		{Sender: 1, Receiver: 2},
		{Sender: 2, Receiver: 1},
		{Inc: 1 << 32},
		{Inc: 1, Salt: 1},
	} {
		out := string(ring.derive(7, &l).Seal(nil, make([]byte, nonceLen), make([]byte, 16), nil))
		if other, ok := seen[out]; ok {
			t.Errorf("%+v and %+v have one key", l, other)
		}
		seen[out] = l
	}
}

func TestSealAndOpenAllocateNothing(t *testing.T) {
	ring := ringOf(t, 7, testKey(7))
	s, o := NewSealer(ring, testLink), NewOpener(ring, testLink)
	p := plain()
	var h syncwire.Header
	if n := testing.AllocsPerRun(100, func() {
		q, _, err := s.Seal(p)
		if err != nil || h.Read(q) != syncwire.OK {
			t.Fatal(err)
		}
		if _, v := o.Open(&h, q); v != Opened {
			t.Fatal(v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStaticKeysDiffer(t *testing.T) {
	a, b := Static([]byte("0123456789abcdef")), Static([]byte("0123456789abcdeg"))
	if a != Static([]byte("0123456789abcdef")) {
		t.Error("not the same twice")
	}
	if a.Sync.Secret == b.Sync.Secret || a.RSS == b.RSS || a.Digest == b.Digest || a.Sync.ID != 1 {
		t.Error("the same for two masters")
	}
	if bytes.Equal(a.RSS[:16], a.Digest[:]) || bytes.Equal(a.Sync.Secret[:16], a.Digest[:]) || bytes.Equal(a.Sync.Secret[:], a.RSS[:32]) {
		t.Error("two uses share a key")
	}
	if err := new(Ring).Set(1, a.Sync); err != nil {
		t.Error(err)
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for v := range NumVerdicts {
		seen[v.String()] = true
	}
	if len(seen) != int(NumVerdicts) || NumVerdicts.String() != "unknown" {
		t.Errorf("names %v", seen)
	}
}

// TestSealedBytes are what another implementation (pyca/cryptography, from the text of this package's documentation) makes
// of the same datagram: key derivation, nonce and associated data are part of the wire format.
func TestSealedBytes(t *testing.T) {
	s := NewSealer(ringOf(t, 7, testKey(7)), testLink)
	b := syncwire.NewBuilder(testLink.Inc, testLink.Sender)
	b.Reset(make([]byte, 1400), testLink.Lane, 2, 3)
	p, _, err := s.Seal(b.Finish())
	if err != nil {
		t.Fatal(err)
	}
	const want = "686601020100070001000000cdab00000a00000000000000" +
		"0100000000000000" + "3588a4d38667ac41f22463262a6c24ceb7be1b" + "73f5c5b25d5101b02b9739d1be8c9d6a"
	if got := hex.EncodeToString(p); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
