// Package conntrack is the session table of one worker: millions of records off the Go heap, found by either tuple,
// updated per packet, aged by a bounded sweep.
//
//	key --keyed hash--> bucket (64 B)            record (64 B, by handle)      address line (64 B, IPv6 only)
//	                   8 fingerprints, 16 bit    both IPv4 tuples or the       both tuples' addresses
//	                   8 references: handle,     first address words, ports,   cold part (24 B)
//	                   direction                 state, sequence hints         birth, term, version, service, server
//	                   overflow count            last-seen tick                deadline (4 B, dense, for the sweep)
//
// An entry lives in its home bucket or, when that is full, in one other bucket that its fingerprint names; the home counts
// such entries, so that a look-up reads a second bucket only where there are some. The hash has a secret of the
// process: who can't guess it can't aim at a bucket.
//
// A look-up of random keys is nothing but cache misses, so LookupBatch takes a burst through stages (hash all, prefetch
// all buckets, match all, prefetch all records, compare all) in which the misses overlap.
//
// The table belongs to one goroutine: no locks, no clock (Advance and the now arguments bring the time), no allocation
// after New except when a node or an override is seen for the first time.
//
// Memory of a session, all in: 64 record + 24 cold + 4 deadline + 18.8 index (two entries at 0.85 load of 64-byte buckets of 8)
// = 111 bytes for IPv4, 64 more for IPv6.
package conntrack
