// Package syncer is the session sync protocol as pure machines: a Shard for each worker, which owns the rules about
// records, and a Sync with one Peer for each remote node, which owns the links. Neither has a goroutine, a clock, a map
// whose order matters, or randomness of its own: time, nonces and events are handed in, actions are handed out, so a
// simulator drives the very code that runs in production.
//
//	worker k:  packets, table events ──> Shard k ──Actions──> ring ──> Sync.Queue ──> Peer ──> sealed datagrams
//	           Shard k <── ring <── routed by bucket <── Sync.Datagram <── sealed datagrams
//
// Shards are told the time as unix milliseconds that never go back. Every node holds every session; a Shard holds those
// of its buckets, in the Store that the worker's packets use too.
//
// The rules in short. A session's life is its birth and both tuples; of two lives that want one tuple the higher birth
// wins, and the loser of an original tuple stays reply-only for the packets of its server. Within a life, CLOSE beats
// all, then term, then (owner incarnation, owner id), then version. Only the owner ages and closes. Who serves packets
// that another owns tells the owner by HINT, and takes the session over when the owner is gone, suspected, or clearly
// not on the path. An AGE of a served session is refuted. Orphans are adopted by the winner of a rendezvous. Digests of
// everything that is held find what messages missed. A closed session leaves the table at once and is remembered in the
// ended cache (package ended); an aged one keeps its record, since a packet may revive it. Both stay until nobody can bring
// them back (see collect). A node that was
// fenced claims what it serves in its new life, and is let in again once members have that.
// Of a dead node's blocks of local addresses each Sync tells its peers what is held here, and keeps what they tell.
package syncer
