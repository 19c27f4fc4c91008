package syncer_test

import (
	"errors"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// events counts the actions of some kinds and takes all.
func (b *bench) events(kinds ...syncer.ActionKind) (list []int) {
	for _, k := range kinds {
		list = append(list, b.acts(k))
	}
	return list
}

// A SYN on another node began the same tuples anew. Here its record takes the place of the earlier one, so that no packet misses, and
// what this node saw of sequence numbers stays.
func TestALaterLifeOfTheSameTuplesTakesThePlaceOfTheEarlier(t *testing.T) {
	for _, c := range []struct {
		name         string
		flags        flow.Flags // of what comes
		aged, closed int        // events
		tombs        int
		again        syncwire.Kind // for who lost the word of the earlier life
	}{
		{"a living one", 0, 0, 0, 0, syncwire.KindSession},
		{"one that has aged", flow.SoftTomb, 1, 0, 1, syncwire.KindAge},
		{"one that was closed", flow.HardTomb, 0, 1, 1, syncwire.KindClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			has := session(1, 2, 5, 100<<16, 2, 3, 4)
			has.Seq = [2]flow.SeqHint{{Next: 11, Ack: 12, Seen: true}, {Next: 21, Ack: 22}}
			h := b.put(has)
			come := session(1, 2, 5, 200<<16, 3, 1, 2)
			come.Flags = c.flags
			msg := syncwire.Message{Kind: syncwire.KindSession, Rec: record(come)}
			for i := range msg.Rec.Seq {
				msg.Rec.Seq[i] = syncwire.Seq{Next: 900, Ack: 901, Seen: 1}
			}
			b.Receive(b.now, nodeID(3), &msg)
			if e := b.events(syncer.ActAged, syncer.ActClosed); e[0] != c.aged || e[1] != c.closed || b.tombs() != c.tombs {
				t.Errorf("aged and closed %v, %d tombstones", e, b.tombs())
			}
			x := b.held(has)
			if c.closed == 1 {
				if x.Birth != 0 || !b.HasEnded(come) {
					t.Errorf("holds %+v", x)
				}
			} else {
				if b.handle(has) != h || x.Birth != come.Birth || x.Owner != nodeID(3) || x.Flags&flow.Tomb != c.flags {
					t.Errorf("holds %+v", x)
				}
				if x.Seq[0] != has.Seq[0] || x.Seq[1].Next != 900 {
					t.Errorf("sequence numbers %+v", x.Seq)
				}
			}
			b.sumsHold(t)
			b.Done()
			b.Resend(b.now, nodeID(2), 1, syncer.Ref{Birth: has.Birth, Handle: h})
			if m := b.sends(); len(m) != 1 || m[0].Msg.Kind != c.again || c.closed == 0 && flow.Birth(m[0].Msg.Rec.Birth) != come.Birth {
				t.Errorf("sent again %+v", m)
			}
		})
	}
}

// Two nodes gave one port to two clients. The later life has it, and the owner of the earlier one must close that.
func TestTheOwnerOfADisplacedLifeHearsOfTheLater(t *testing.T) {
	for _, c := range []struct {
		name        string
		owner, from uint32
		to          uint32 // 0: nobody
	}{
		{"from a node that got it elsewhere", 2, 3, 2},
		{"not from the owner itself, which has it from there", 2, 2, 0},
		{"not if it is gone", 9, 3, 0},
		{"not if it is this node", 1, 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			has, come := session(1, 2, 5, 100<<16, c.owner, 1, 2), session(2, 2, 5, 200<<16, 3, 1, 2)
			h := b.put(has)
			b.hear(c.from, syncwire.KindSession, come)
			if b.acts(syncer.ActRemoved) != 1 || b.held(come).Birth != come.Birth {
				t.Errorf("%d removed, holds %+v", b.acts(syncer.ActRemoved), b.held(come))
			}
			m := b.sends()
			if c.to == 0 && len(m) != 0 ||
				c.to != 0 && (len(m) != 1 || m[0].To != c.to || m[0].Msg.Kind != syncwire.KindNackVersion || flow.Birth(m[0].Msg.Rec.Birth) != come.Birth) {
				t.Errorf("told %+v", m)
			}
			b.sumsHold(t)
			b.Resend(b.now, nodeID(2), 1, syncer.Ref{Birth: has.Birth, Handle: h})
			if m := b.sends(); len(m) != 1 || flow.Birth(m[0].Msg.Rec.Birth) != come.Birth {
				t.Errorf("sent again %+v", m)
			}
		})
	}
}

func TestASessionFromElsewhereOnAPortOfThisNodeTakesThePort(t *testing.T) {
	for block, want := range map[byte]int{1: 1, 2: 0} {
		b := newBench(t, 0)
		s := session(1, block, 5, 100<<16, 2, 1, 2)
		b.hear(2, syncwire.KindSession, s)
		if len(b.ports.marked) != want || want == 1 && b.ports.marked[0] != s.Reply {
			t.Errorf("block %d: marked %v", block, b.ports.marked)
		}
		if x := b.held(s); x.Flags&flow.Synced == 0 {
			t.Error("its first packet here would pass as if one had been seen")
		}
	}
}

// What finds no room is what digests must bring once there is some.
func TestARecordThatFindsNoRoomBeginsARepair(t *testing.T) {
	b := newBench(t, 0)
	b.calmView()
	b.store.max = 0
	b.hear(2, syncwire.KindSession, session(1, 2, 5, 100<<16, 2, 1, 2))
	if !b.Repairing(nodeID(2)) || b.Repairing(nodeID(3)) || b.Count[syncer.InstallRefused] != 1 {
		t.Errorf("repairing %v and %v", b.Repairing(nodeID(2)), b.Repairing(nodeID(3)))
	}
	b.sumsHold(t)
}

// Two lives want one original tuple. Which of them may have it depends on what either is.
func TestWhoGetsTheOriginalTuple(t *testing.T) {
	old, young := flow.Birth(100<<16), flow.Birth(200<<16)
	const soft, ro = flow.SoftTomb, flow.ReplyOnly
	for _, c := range []struct {
		name               string
		has, come          flow.Birth
		hasFlags, comeFlag flow.Flags
		keeps, takes       flow.Flags
	}{
		{"a later one that is reply-only takes it, until its own successor comes", old, young, 0, ro, ro, ro},
		{"a later one that aged takes it", old, young, 0, soft, ro, soft},
		{"a later one that aged takes it from one that aged", old, young, soft, soft, ro | soft, soft},
		{"an earlier one yields to one that is reply-only", young, old, ro, 0, ro, ro},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			has, come := session(1, 2, 5, c.has, 2, 1, 2), session(1, 3, 6, c.come, 3, 1, 2)
			has.Flags, come.Flags = c.hasFlags, c.comeFlag
			has.Timeout, come.Timeout = 900, 900
			b.put(has)
			b.hear(3, syncwire.KindSession, come)
			const of = flow.Tomb | ro
			x, y := b.held(has), b.held(come)
			if x.Flags&of != c.keeps || y.Flags&of != c.takes {
				t.Errorf("flags %x and %x, want %x and %x", x.Flags&of, y.Flags&of, c.keeps, c.takes)
			}
			if b.servesClient(come) != (c.come > c.has) || b.servesClient(has) == b.servesClient(come) {
				t.Errorf("the client finds the held one: %v, the one that came: %v", b.servesClient(has), b.servesClient(come))
			}
			if got := x.Timeout; (got == 60) != (c.keeps&ro != 0 && c.hasFlags&ro == 0) {
				t.Errorf("the held one's timeout is %d", got)
			}
			b.sumsHold(t)
		})
	}
	t.Run("a closed one takes it from nobody, and hinders nobody", func(t *testing.T) {
		b := newBench(t, 0)
		closed, has, come := session(1, 4, 7, 300<<16, 2, 1, 2), session(1, 2, 5, old, 2, 1, 2), session(1, 3, 6, young, 3, 1, 2)
		closed.Flags = flow.HardTomb
		b.put(has)
		b.hear(2, syncwire.KindClose, closed)
		if x := b.held(has); x.Flags != 0 || !b.HasEnded(closed) {
			t.Errorf("holds %+v", x)
		}
		if b.hear(3, syncwire.KindSession, come); b.held(come).Flags&ro != 0 || b.held(has).Flags&ro == 0 {
			t.Errorf("holds %+v and %+v", b.held(has), b.held(come))
		}
	})
	t.Run("the loser lives for a minute, or less if it did", func(t *testing.T) {
		for timeout, want := range map[uint32]uint32{900: 60, 20: 20} {
			b := newBench(t, 0)
			has, come := session(1, 2, 5, young, 2, 1, 2), session(1, 3, 6, old, 3, 1, 2)
			come.Timeout = timeout
			b.put(has)
			b.hear(3, syncwire.KindSession, come)
			if x := b.held(come); x.Timeout != want || x.Flags&ro == 0 {
				t.Errorf("timeout %d became %d", timeout, x.Timeout)
			}
		}
	})
}

// A session of this node alone: Create must not undo what others may still hold.
func TestCreateOnWhatIsThere(t *testing.T) {
	old := flow.Birth(t0+1_000_000) << 16 // a birth from a clock that is ahead
	for _, c := range []struct {
		name  string
		mode  flow.Mode
		has   flow.Session
		flags flow.Flags
		err   error
		gone  bool
	}{
		{"the reply tuple is another's in a mode without ports", flow.NAT, session(2, 1, 5, old, 1, 1, 2), 0, flow.ErrReplyTaken, false},
		{"it is an earlier life of both tuples in such a mode", flow.NAT, session(1, 1, 5, old, 1, 1, 2), 0, nil, true},
		{"it is an earlier life of both tuples, but a port is leased", flow.FullNAT, session(1, 1, 5, old, 1, 1, 2), 0, flow.ErrReplyTaken, false},
		{"it is an aged one's, but a source port is leased", flow.SNAT, session(1, 1, 5, old, 1, 1, 2), flow.SoftTomb, flow.ErrReplyTaken, false},
		{"it is an aged one's in a mode without ports", flow.NAT, session(1, 1, 5, old, 1, 1, 2), flow.SoftTomb, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			c.has.Flags = c.flags
			h := b.put(c.has)
			x := session(1, 1, 5, 0, 0, 0, 0)
			x.Mode = c.mode
			_, err := b.Create(b.now, &x)
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if c.gone && (x.Birth <= old || b.held(x).Birth != x.Birth) {
				t.Errorf("birth %d, after %d", x.Birth, old)
			}
			b.sumsHold(t)
			b.Done()
			if b.Resend(b.now, nodeID(2), 1, syncer.Ref{Birth: old, Handle: h}); c.gone {
				if m := b.sends(); len(m) != 1 || flow.Birth(m[0].Msg.Rec.Birth) != x.Birth {
					t.Errorf("of the earlier life peers are told %+v", m)
				}
			}
		})
	}
	t.Run("who was to make way stays if there is no room", func(t *testing.T) {
		b := newBench(t, 0)
		has := session(1, 2, 5, 100<<16, 2, 1, 2)
		b.put(has)
		b.store.max = 1
		x := session(1, 1, 6, 0, 0, 0, 0)
		if _, err := b.Create(b.now, &x); !errors.Is(err, flow.ErrFull) {
			t.Fatal(err)
		}
		if got := b.held(has); got.Flags&flow.ReplyOnly != 0 || got.Timeout != has.Timeout {
			t.Errorf("it became %+v", got)
		}
		b.sumsHold(t)
	})
	t.Run("the flags of what the caller copied do not stay", func(t *testing.T) {
		b := newBench(t, 0)
		x := session(1, 1, 5, 0, 0, 0, 0)
		x.Flags = flow.ReplyOnly | flow.SoftTomb | flow.Synced | flow.Confirmed
		if _, err := b.Create(b.now, &x); err != nil || b.held(x).Flags != 0 {
			t.Errorf("flags %x, %v", b.held(x).Flags, err)
		}
		if m := b.sends(); len(m) != 1 || m[0].To != syncer.AllNodes || m[0].Msg.Kind != syncwire.KindSession {
			t.Errorf("told %+v", m)
		}
	})
}
