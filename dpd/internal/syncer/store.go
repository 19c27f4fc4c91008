package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// Store holds the records that a Shard works on; conntrack.Table is one. The Shard keeps no map of sessions of its own.
//
// A record is live or an aged session; the closed ones are in the ended cache. It is found by its
// reply tuple (direction Out) always, and by its original tuple (direction In) unless another one
// took that: a live record from an aged one, either from a reply-only one, and of reply-only ones
// the later birth from the earlier. Who lost it so gets it back by an Update when it is free. A
// handle stays valid until Remove; a handle that names no record loads the zero Session, whose
// Birth is 0.
type Store interface {
	// Near says that these tuples will be asked for soon.
	Near(orig, reply flow.Key)
	Find(k *flow.Key) (h flow.Handle, d flow.Direction, ok bool)
	Load(h flow.Handle, s *flow.Session)
	// Insert fails with flow.ErrOrigTaken, flow.ErrReplyTaken or flow.ErrFull.
	Insert(s *flow.Session) (flow.Handle, error)
	// Update replaces everything but the tuples, and files the record anew when its flags ask for it.
	Update(h flow.Handle, s *flow.Session) error
	Remove(h flow.Handle)
	// Scan visits up to n slots from cursor on and returns the next cursor; 0 begins, and 0 returned means the end. A
	// record present throughout a pass is visited in it. visit may change or remove the record it is given.
	Scan(cursor uint32, n int, visit func(h flow.Handle)) (next uint32)
}

// Ports is the pool of local ports of a Shard's buckets. Keys are reply tuples (server -> laddr:port).
type Ports interface {
	// Mark takes a port out of the pool because a session that came from elsewhere uses it.
	Mark(reply flow.Key)
	// Release gives a port back; the pool uses ports again oldest first.
	Release(reply flow.Key)
	// Holds says whether this node holds the lease of the port's block.
	Holds(reply *flow.Key) bool
	// Quarantine keeps the port of a session that ended from being given again until Free, and names what it is part of; 0:
	// there is nothing to keep. own says that the session had the port; else it is kept only if it is free.
	Quarantine(reply *flow.Key, own bool) (ref uint32)
	// Free ends what Quarantine began; port is that of the reply tuple.
	Free(ref uint32, port uint16)
}
