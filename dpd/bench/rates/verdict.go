package main

import "fmt"

// criterion is one thing that must hold.
type criterion struct {
	name  string
	holds bool
	why   string // figures, for one that does not
}

// verdict judges a run. The first five hold whatever goes wrong elsewhere; the others where nothing
// does.
func verdict(s scenario, r *result) (list []criterion) {
	c, t := &r.during, &r.tally
	say := func(name string, holds bool, format string, args ...any) {
		list = append(list, criterion{name, holds, fmt.Sprintf(format, args...)})
	}
	say("the generator kept its rate", c.missed == 0 && t.Waiting == 0 && t.Begun == uint64(s.rate)*uint64(s.length)/1000,
		"%d lives begun, %d without room, %d frames missed", t.Begun, t.Waiting, c.missed)
	say("no new session and no record is refused", c.refused+c.evicted == 0, "%d refused, %d evicted", c.refused, c.evicted)
	a, b := &r.marked, &r.end
	say("memory is flat", flat(a.heap, b.heap, heapSlack) && flat(uint64(a.records), uint64(b.records), recordSlack),
		"live heap %d then %d bytes, records %d then %d", a.heap, b.heap, a.records, b.records)
	say(fmt.Sprintf("no closed session is kept for more than %d s, and no aged one for more than %d s", s.closed/1000, s.aged/1000),
		r.oldestClosed <= s.closed && max(r.oldestAged, r.held) <= s.aged,
		"closed %.1f s, aged %.1f s, by their number %.1f s", seconds(r.oldestClosed), seconds(r.oldestAged), seconds(r.held))
	say("in the end all is quiet", r.left == 0 && r.differ == 0 && !r.stillRepairing,
		"%d ended sessions left, %d sessions differ, repairing %v", r.left, r.differ, r.stillRepairing)
	if !s.sound {
		return list
	}
	unseen := s.rate * sample / 1000 // between two samples
	say("a closed session takes 32 bytes", r.end.ended <= 32*(r.closed()+unseen*len(s.healthy))+endedSlack*s.workers*len(s.healthy),
		"%.1f bytes, %d of them", r.bytesOfEnded(), r.closed())
	say("none is forgotten early", c.early == 0, "%d", c.early)
	say("no life is broken", t.Broken == 0 && t.Again == 0, "%d broken, %d packets sent again", t.Broken, t.Again)
	say("no repair begins", r.repairing == 0, "in %d of %d samples", r.repairing, r.samples)
	say("digests are equal", c.equal > 0 && c.unequal == 0, "%d equal, %d unequal", c.equal, c.unequal)
	say("no packet waits for peers", t.LateUDP+c.held+c.asked == 0,
		"%d first datagrams late, %d packets held, %d queries", t.LateUDP, c.held, c.asked)
	say("no ring overflows", c.overflows == 0, "%d times", c.overflows)
	return list
}

// What may come on top of a twentieth: bytes of live heap, such as a queue that doubled, and
// records. In the ended cache each worker may have begun a chunk.
const (
	heapSlack   = 8 << 20
	recordSlack = 2000
	endedSlack  = 128 << 10
)

// flat says whether b is no more than a, but for a twentieth and slack.
func flat(a, b, slack uint64) bool { return b <= a+a/20+slack }

func passed(list []criterion) bool {
	for _, c := range list {
		if !c.holds {
			return false
		}
	}
	return true
}
