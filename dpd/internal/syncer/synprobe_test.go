package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// Nothing but the silence of its server lets a SYN displace a session whose server takes no new ones.
func TestASYNDisplacesWhatItsServerIsSilentOf(t *testing.T) {
	const answers, silent = true, false
	for _, c := range []struct {
		name    string
		owner   uint32
		outSeen bool
		server  bool
		times   []int64 // of SYNs
		want    syncer.SynVerdict
	}{
		{"the first one is passed on", 1, true, silent, []int64{0}, syncer.SynServe},
		{"one that comes too soon is passed on", 1, true, silent, []int64{0, 499}, syncer.SynServe},
		{"one after half a second of silence begins anew", 1, true, silent, []int64{0, 500}, syncer.SynNew},
		{"many at once are no silence", 1, true, silent, []int64{0, 1, 2, 3, 4, 5}, syncer.SynServe},
		{"many do not put it off", 1, true, silent, []int64{0, 100, 200, 300, 400, 500}, syncer.SynNew},
		{"never, where the server answers", 1, true, answers, []int64{0, 500, 1000, 60_000}, syncer.SynServe},
		{"an owner judges what it saw no packet of", 1, false, silent, []int64{0, 500}, syncer.SynNew},
		{"whoever sees one side of another's session does not", 2, false, silent, []int64{0, 500, 5000}, syncer.SynServe},
		{"whoever sees both sides of another's session does", 2, true, silent, []int64{0, 500}, syncer.SynNew},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, c.owner, 3, 4)
			s.Flags = flow.Confirmed
			s.Seq = [2]flow.SeqHint{{Next: 5000, Seen: true}, {Next: 7000, Seen: c.outSeen}}
			h := b.put(s)
			if c.owner != 1 {
				b.agree(c.owner)
			}
			start := b.now
			var got syncer.SynVerdict
			for i, at := range c.times {
				b.now = start + at
				if got = b.Syn(b.now, h, 9000+uint32(i), false); i+1 < len(c.times) && got != syncer.SynServe {
					t.Fatalf("SYN %d: verdict %d", i, got)
				}
				if c.server {
					x := b.held(s)
					x.Flags &^= flow.Probed // as the table does for a packet of the server
					if err := b.store.Update(h, &x); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got != c.want {
				t.Errorf("verdict %d, want %d", got, c.want)
			}
			if x := b.held(s); x.Birth != s.Birth || x.State != s.State || x.Bits != s.Bits || x.Seq != s.Seq {
				t.Errorf("it changed to %+v", x)
			}
		})
	}
}

func TestOnlyWhatNobodyElseKnowsIsAbandoned(t *testing.T) {
	for name, c := range map[string]struct {
		owner uint32
		ver   uint32
		flags flow.Flags
		want  bool
	}{
		"half open":                  {1, 1, flow.Embryonic, true},
		"half open, of another node": {2, 1, flow.Embryonic, false},
		"half open, a peer asked":    {1, 1, flow.Embryonic | flow.Confirmed, false},
		"told":                       {1, 2, flow.Embryonic, false},
		"established":                {1, 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, c.owner, 1, c.ver)
			s.Flags = c.flags
			h := b.put(s)
			if got := b.Abandon(b.now, h); got != c.want {
				t.Errorf("abandoned: %v", got)
			}
			if _, _, ok := b.store.Find(&s.Orig); ok == c.want {
				t.Errorf("its record is there: %v", ok)
			}
			b.sumsHold(t)
		})
	}
}

// A server's first answer tells peers of its session; the node that it passes must learn of it first, also in quiet times.
func TestADatagramToALocalAddressIsAlwaysAskedFor(t *testing.T) {
	b := newBench(t, 0)
	s := session(1, 2, 5, 100<<16, 2, 1, 1)
	s.Reply.Meta = s.Reply.Meta&^0xff00 | flow.ProtoUDP<<8
	b.now += 60_000
	if got := b.MissReply(b.now, &s.Reply, s.Bucket); got != syncer.MissWait {
		t.Errorf("verdict %d", got)
	}
}
