package conntrack

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// ordinary is what Touch compares a record's word with to know that nothing about it needs thought.
type ordinary struct{ mask, want uint64 }

// plainTCP is ordinaryTCP of a session with IPv4 on both sides and a reply tuple.
func plainTCP(self uint16) ordinary {
	o := ordinaryTCP(self)
	more := record{kind: 1<<flow.In | 1<<flow.Out | kindNoReply}
	o.mask |= more.word()
	return o
}

// ordinaryTCP describes an established TCP session of node self, both directions of which were seen here, with no doubt, no
// repeated ACKs and no unusual flag.
func ordinaryTCP(self uint16) ordinary {
	mask := record{state: 0xff, local: localSeenIn | localSeenOut | localDoubt | localDupMask, flags: unusual, owner: 0xffff, proto: 0xff}
	want := record{state: flow.TCPEstablished, local: localSeenIn | localSeenOut, owner: self, proto: flow.ProtoTCP}
	return ordinary{mask.word(), want.word()}
}
