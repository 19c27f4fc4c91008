package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

const (
	probeSize = 1024 // power of two
	// probeWait is how long, in milliseconds, a server has to answer a SYN on its session.
	probeWait = 500
)

// probe is a SYN that was passed to a server to learn whether it still has the session. They lie in a direct-mapped array by handle; a
// collision forgets the older one, and its client must send its SYN once more. 24 bytes.
type probe struct {
	birth flow.Birth
	at    int64
	h     flow.Handle
}

// probe decides about a SYN on a session whose server takes no new ones. Anybody can send it, with any number, so it displaces nothing
// by itself. It goes to the server: one that lives answers with an ACK (RFC 5961, section 4), to which a client that did begin anew
// says RST. If the next SYN finds that the server has been silent since, the session is over. The table takes the flag Probed away when
// a packet of the server comes.
//
// Whose server's packets pass another node can't be judged here: such a session stays with its owner.
func (s *Shard) probe(h flow.Handle, x *flow.Session) SynVerdict {
	switch {
	case x.Flags&flow.Embryonic != 0:
		return SynNew
	case x.Owner != s.self && !x.Seq[flow.Out].Seen:
		return SynServe
	}
	p := &s.probes[uint32(h)&(probeSize-1)]
	mine := p.h == h && p.birth == x.Birth
	switch {
	case mine && s.now-p.at < probeWait:
		return SynServe
	case mine && x.Flags&flow.Probed != 0:
		*p = probe{}
		return SynNew
	case !s.rebirth.take(s.now):
		s.Count[RebirthLimited]++
		return SynDrop
	}
	*p = probe{birth: x.Birth, at: s.now, h: h}
	x.Flags |= flow.Probed
	s.update(h, x)
	s.Count[SynProbed]++
	return SynServe
}
